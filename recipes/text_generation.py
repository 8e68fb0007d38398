"""Text generation: let a causal language model continue a prompt, in the usual ways.

    python recipes/text_generation.py --prompt 'The "while" statement' "A class is"

continues the prompts greedily, by sampling and by beam search, all of them in one batch, and then
the first prompt once more, word by word as the words come.

Without a model it first has recipes/language_modeling.py train one on the language reference that
comes with Python, once, and finds it in runs/causal-language-model from then on.

Expected of that model: sentences in the manner of the reference that mean little, for its
perplexity is 42 (a unigram model's is 384), and some hundred tokens/s on 2 CPU cores. Run time: 1
minute, and 4 more to train the model.

With access to the Hugging Face Hub, it takes any causal model by name:

    python recipes/text_generation.py --model HuggingFaceTB/SmolLM2-135M --prompt "Once upon a time"
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import tensorflow as tf

import tfhf

OWN_MODEL = Path("runs/causal-language-model")


def main() -> None:
    """Run the three steps of the job."""
    options = parse_options()

    # 1. The model as its file has it, bfloat16 where that is. Padding is on the left: what a model
    # continues is the end of a row.
    tokenizer = tfhf.AutoTokenizer.from_pretrained(options.model, padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model = tfhf.TFAutoModelForCausalLM.from_pretrained(options.model, dtype="auto")

    # 2. All prompts at once. The first call with new settings compiles them.
    tokens = tokenizer(options.prompt, padding=True, return_tensors="tf")
    ways = {
        "greedy": {"do_sample": False},
        "sampled": {"do_sample": True, "temperature": 0.8, "top_p": 0.95, "seed": options.seed},
        "4 beams": {"do_sample": False, "num_beams": 4, "no_repeat_ngram_size": 3},
    }
    for way, settings in ways.items():
        settings["max_new_tokens"] = options.max_new_tokens
        answers = model.generate(**tokens, **settings)
        start = time.perf_counter()
        answers = model.generate(**tokens, **settings)
        seconds = time.perf_counter() - start
        written = answers[:, tokens.input_ids.shape[1] :] != tokenizer.pad_token_id
        print(f"== {way}: {float(tf.math.count_nonzero(written)) / seconds:.0f} tokens/s")
        for text in tokenizer.batch_decode(answers, skip_special_tokens=True):
            print(f"{text}\n")

    # 3. One prompt, as it goes.
    print("== streamed")
    model.generate(
        **tokenizer(options.prompt[0], return_tensors="tf"),
        do_sample=False,
        max_new_tokens=options.max_new_tokens,
        streamer=tfhf.TextStreamer(tokenizer, skip_special_tokens=True),
    )


def train_model() -> None:
    """Have the recipe for language modelling train a small model, where it has not yet."""
    if not (OWN_MODEL / "config.json").exists():
        recipe = Path(__file__).with_name("language_modeling.py")
        options = ["--objective=causal", "--output-dir", OWN_MODEL]
        subprocess.run([sys.executable, recipe, *options], check=True)


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Continue prompts greedily, by sampling, by beam search, and as a stream.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--model", help="checkpoint: a folder or a name on the Hub (default: a small one, trained)")
    add("--prompt", nargs="+", default=['The "while" statement', "A class is"])
    add("--max-new-tokens", type=int, default=60)
    add("--seed", type=int, default=0, help="of the sampled texts")
    options = parser.parse_args()
    if options.model is None:
        train_model()
        options.model = OWN_MODEL
    return options


if __name__ == "__main__":
    main()
