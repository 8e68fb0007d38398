"""Translation: train on pairs of sentences, judged all along by what the model generates.

    python recipes/translation.py

trains a small BART from scratch, for a language made here: English from the last word to the first,
each word spelled backwards, but names as they are.

    the old king met Ada  ->  Ada tem gnik dlo eht

After each epoch, within `fit`, the model translates the validation sentences: beside the losses
there are BLEU (sacreBLEU's) and the share of translations that equal their references. At the end
it translates the test sentences by beam search, and the recipe saves the model with its tokenizer.

Expected on 1,000 sentences that are not trained on: BLEU 100.0, exact match 1.000. Run time: 2
minutes on 2 CPU cores.

With access to the Hugging Face Hub, the recipe goes on training a checkpoint on any dataset of
translations: Marian's, T5's, or another that needs not be told its languages, as mBART's tokenizer
must; a folder with files train.jsonl, validation.jsonl and test.jsonl, of lines as
{"translation": {"en": "…", "ro": "…"}}, is a dataset, too:

    python recipes/translation.py --model t5-small --epochs 1 --learning-rate 3e-4 \
        --dataset wmt/wmt16 ro-en --target-lang ro --prefix "translate English to Romanian: "
"""

import argparse
from pathlib import Path

import keras
import numpy as np
import tokenizers
from datasets import Dataset, DatasetDict, load_dataset
from transformers import BartConfig, PreTrainedTokenizerBase, PreTrainedTokenizerFast

import tfhf

WORDS = """
    a the my this that one two many old young big small red green good bad fast slow
    king cook child dog cat bird horse fish house tree boat road river hill book song
    met saw heard found lost took gave made left and with under near before after not
"""
NAMES = "Ada Ben Cleo Dan Eve Finn Gil Hugo Ida Jan Kim Leo"


def main() -> None:
    """Run the seven steps of the job."""
    options = parse_options()
    keras.utils.set_random_seed(options.seed)
    if options.mixed_precision:
        keras.config.set_dtype_policy(options.mixed_precision)

    # 1. The pairs, and a tokenizer: that of the checkpoint, or one made for their words.
    data = load_dataset(*options.dataset) if options.dataset else made_language(options.seed)

    def texts(pairs):
        sources = [options.prefix + pair[options.source_lang] for pair in pairs]
        return sources, [pair[options.target_lang] for pair in pairs]

    if options.model:
        tokenizer = tfhf.AutoTokenizer.from_pretrained(options.model)
    else:
        sources, targets = texts(data["train"]["translation"])
        tokenizer = train_tokenizer([*sources, *targets])

    # 2. Text to ids: of the source as the input, of the target as the labels.
    def tokenize(rows):
        sources, targets = texts(rows["translation"])
        limits = {"truncation": True, "max_length": options.max_length}
        return tokenizer(sources, text_target=targets, **limits)

    ids = data.map(tokenize, batched=True, remove_columns=data["train"].column_names)

    # 3. The model.
    if options.model:
        model = tfhf.TFAutoModelForSeq2SeqLM.from_pretrained(options.model)
    else:
        model = tfhf.TFAutoModelForSeq2SeqLM.from_config(small_config(tokenizer, options))

    # 4. Batches. What the decoder reads is the labels, each one place later.
    def batches(split, shuffle=False):
        return model.prepare_tf_dataset(
            ids[split],
            batch_size=options.batch_size,
            shuffle=shuffle,
            collate_fn=tfhf.DataCollatorForSeq2Seq(tokenizer, model=model),
        )

    train, validation = batches("train", shuffle=True), batches("validation")

    # 5. Training. After each epoch, the validation sentences are translated: greedily, for speed.
    def judge(predictions_and_labels):
        predictions, labels = predictions_and_labels
        labels = np.where(labels < 0, tokenizer.pad_token_id, labels)
        return scores(decode(predictions), decode(labels))

    def decode(rows):
        return tokenizer.batch_decode(np.asarray(rows), skip_special_tokens=True)

    generation = tfhf.KerasMetricCallback(
        judge,
        validation,
        predict_with_generate=True,
        generate_kwargs={"max_new_tokens": options.max_length, "num_beams": 1},
    )
    steps = len(train) * options.epochs
    optimizer, _ = tfhf.create_optimizer(
        init_lr=options.learning_rate,
        num_train_steps=steps,
        num_warmup_steps=steps // 10,
        weight_decay_rate=0.01,
        adam_global_clipnorm=1.0,
    )
    model.compile(optimizer)
    model.fit(train, validation_data=validation, epochs=options.epochs, callbacks=[generation])

    # 6. The judgement, on sentences it has not seen.
    split = "test" if "test" in data else "validation"
    sources, references = texts(data[split]["translation"])
    translations = []
    for start in range(0, len(sources), options.batch_size):
        tokens = tokenizer(
            sources[start : start + options.batch_size],
            padding=True,
            truncation=True,
            max_length=options.max_length,
            return_tensors="np",
        )
        answers = model.generate(
            **tokens, max_new_tokens=options.max_length, num_beams=options.num_beams
        )
        translations += decode(answers)
    found = scores(translations, references)

    # 7. What others take: a checkpoint for any Hugging Face library.
    tokenizer.save_pretrained(options.output_dir)
    model.save_pretrained(options.output_dir)

    print(f"source       {sources[0]}")
    print(f"translation  {translations[0]}")
    print(f"reference    {references[0]}")
    print(f"BLEU         {found['bleu']:.1f} on {len(sources):,} sentences of {split}")
    print(f"exact match  {found['exact_match']:.3f}")
    print(f"checkpoint   {options.output_dir}")


def scores(translations: list[str], references: list[str]) -> dict[str, float]:
    """Return BLEU, 0 to 100, and the share of translations that equal their references."""
    bleu = tfhf.load_metric("sacrebleu").compute(predictions=translations, references=references)
    return {
        "bleu": bleu["score"],
        "exact_match": np.mean(np.equal(translations, references)),
    }


def made_language(seed: int) -> DatasetDict:
    """Return sentences of 3 to 10 random words, a fifth of them names, and their translations."""
    rng = np.random.default_rng(seed)

    def pair():
        length = rng.integers(3, 11)
        names = rng.random(length) < 0.2
        others = rng.choice(WORDS.split(), length)
        words = np.where(names, rng.choice(NAMES.split(), length), others)
        backwards = [word if word.istitle() else word[::-1] for word in words[::-1]]
        return {"en": " ".join(words), "backwards": " ".join(backwards)}

    sizes = {"train": 20_000, "validation": 500, "test": 1_000}
    return DatasetDict(
        {
            split: Dataset.from_dict({"translation": [pair() for _ in range(size)]})
            for split, size in sizes.items()
        }
    )


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerBase:
    """Make a tokenizer whose vocabulary is the words of both languages."""
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(unk_token="<unk>"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = tokenizers.trainers.WordLevelTrainer(special_tokens=special, show_progress=False)
    words.train_from_iterator(texts, trainer)
    words.post_processor = tokenizers.processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_input_names=["input_ids", "attention_mask"],
    )


def small_config(tokenizer: PreTrainedTokenizerBase, options: argparse.Namespace) -> BartConfig:
    """Describe a BART of 2 + 2 layers, 64 wide."""
    return BartConfig(
        vocab_size=len(tokenizer),
        d_model=64,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=256,
        decoder_ffn_dim=256,
        max_position_embeddings=options.max_length,
        dropout=0.0,
        init_std=0.1,  # BART's own, 0.02, is for wide models: narrow ones hardly start to learn
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.eos_token_id,
        forced_eos_token_id=None,
    )


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Train a translator, judge it by BLEU and exact match, save it.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--model", help="checkpoint: a folder or a name on the Hub (default: a small new BART)")
    add("--dataset", nargs="+", help="folder, or NAME [CONFIG] on the Hub (default: made here)")
    add("--source-lang", default="en", help="its name in the dataset")
    add("--target-lang", default="backwards", help="its name in the dataset")
    add("--prefix", default="", help="before each source: the task's name for T5")
    add("--epochs", type=int, default=4)
    add("--batch-size", type=int, default=64)
    add("--learning-rate", type=float, default=2e-3)
    add("--max-length", type=int, default=128, help="tokens of a sentence; the rest is cut off")
    add("--num-beams", type=int, default=4, help="for the last judgement")
    add("--mixed-precision", choices=["mixed_bfloat16", "mixed_float16"], help="for GPUs")
    add("--seed", type=int, default=0)
    add("--output-dir", type=Path, default=Path("runs/translation"), help="checkpoint")
    return parser.parse_args()


if __name__ == "__main__":
    main()
