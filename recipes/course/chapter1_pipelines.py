"""Chapter 1: what can be done with ``pipeline()``, all nine tasks.

    python recipes/course/chapter1_pipelines.py --hub      # the default checkpoints of the Hub
    python recipes/course/chapter1_pipelines.py            # tiny random ones, made on the spot

The second needs no network and shows the same calls and shapes, but what a random model says means
nothing. Run time: half a minute on 2 CPU cores.
"""

import argparse

import tokenizers
from tokenizers import models, pre_tokenizers, processors
from transformers import (
    BartConfig,
    BertConfig,
    GPT2Config,
    PretrainedConfig,
    PreTrainedTokenizerFast,
)

import tfhf

COURSE = "I've been waiting for a HuggingFace course my whole life."
CONTEXT = "My name is Sylvain and I work at Hugging Face in Brooklyn."
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def main() -> None:
    """Ask each pipeline something."""
    options = parse_options()
    tiny = {} if options.hub else tiny_models()

    def pipeline(task: str, **settings):
        return tfhf.pipeline(task, **tiny.get(task, {}), **settings)

    show("sentiment-analysis", pipeline("sentiment-analysis")([COURSE, "I hate this so much!"]))
    show(
        "zero-shot-classification",
        pipeline("zero-shot-classification")(
            "This is a course about the Transformers library",
            candidate_labels=["education", "politics", "business"],
        ),
    )
    generator = pipeline("text-generation")
    show(
        "text-generation",
        generator(
            "In this course, we will teach you how to",
            max_new_tokens=10,
            num_return_sequences=2,
            do_sample=True,
        ),
    )
    fill = pipeline("fill-mask")
    mask = fill.tokenizer.mask_token
    show("fill-mask", fill(f"This course will teach you all about {mask} models.", top_k=2))
    show("ner", pipeline("ner", aggregation_strategy="simple")(CONTEXT))
    answer = pipeline("question-answering")(question="Where do I work?", context=CONTEXT)
    show("question-answering", answer)
    show("summarization", pipeline("summarization")(CONTEXT * 3, min_length=3, max_length=12))
    show("translation", pipeline("translation_en_to_fr")(COURSE, max_length=12))
    vectors = pipeline("feature-extraction")(COURSE)
    show("feature-extraction", f"{len(vectors[0])} tokens of {len(vectors[0][0])} numbers")


def show(task: str, answer: object) -> None:
    """Print what a pipeline answered."""
    print(f"{task:25} {answer}")


def tiny_models() -> dict[str, dict]:
    """Return for each task a random model and a tokenizer."""
    tokenizer = word_tokenizer()
    size = len(tokenizer)
    bert = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    labels = dict(enumerate(["contradiction", "neutral", "entailment"]))
    configs: dict[str, tuple[str, PretrainedConfig]] = {
        "sentiment-analysis": (
            "TFBertForSequenceClassification",
            BertConfig(vocab_size=size, **bert),
        ),
        "zero-shot-classification": (
            "TFBertForSequenceClassification",
            BertConfig(
                vocab_size=size,
                **bert,
                id2label=labels,
                label2id={name: i for i, name in labels.items()},
            ),
        ),
        "fill-mask": ("TFBertForMaskedLM", BertConfig(vocab_size=size, **bert)),
        "ner": ("TFBertForTokenClassification", BertConfig(vocab_size=size, **bert)),
        "question-answering": ("TFBertForQuestionAnswering", BertConfig(vocab_size=size, **bert)),
        "feature-extraction": ("TFBertModel", BertConfig(vocab_size=size, **bert)),
        "text-generation": (
            "TFGPT2LMHeadModel",
            GPT2Config(
                vocab_size=size, n_embd=16, n_layer=1, n_head=2, bos_token_id=2, eos_token_id=3
            ),
        ),
    }
    small = {"encoder_layers": 1, "decoder_layers": 1, "d_model": 16, "encoder_ffn_dim": 16}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "decoder_ffn_dim": 16}
    ends = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 2}
    bart = BartConfig(vocab_size=size, **small, **heads, **ends, forced_eos_token_id=3)
    for task in ("summarization", "translation_en_to_fr"):
        configs[task] = ("TFBartForConditionalGeneration", bart)
    return {
        task: {"model": getattr(tfhf, name)(config), "tokenizer": tokenizer}
        for task, (name, config) in configs.items()
    }


def word_tokenizer() -> PreTrainedTokenizerFast:
    """Make a tokenizer of single characters, which knows every text."""
    letters = [chr(i) for i in range(33, 127)]
    words = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters)]
    tokenizer = tokenizers.Tokenizer(
        models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    named = {f"{n}_token": f"[{n.upper()}]" for n in ("pad", "unk", "cls", "sep", "mask")}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=512, **named)


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Ask the nine pipelines.")
    parser.add_argument("--hub", action="store_true", help="use the default checkpoints")
    return parser.parse_args()


if __name__ == "__main__":
    main()
