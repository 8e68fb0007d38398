"""Summarization: teach a model to say in a sentence what a text is about.

    python recipes/summarization.py

trains a small T5 from scratch on reports made here, of a race: 8 sentences in any order, some of
them beside the point. The summary is who won, where, when, and before whom:

    The flowers were in bloom. In Rome it rained. Silver went to Ada. Ida won. They met in Cairo.
    Monday was the day. On Tuesday they had rested. Eve fell.
    ->  Ida won the race in Cairo on Monday, before Ada.

After each epoch, within `fit`, the model summarizes the validation reports: beside the losses there
are the ROUGE scores of what it generates, 0 to 100. At the end it summarizes the test reports by
beam search, and the recipe saves the model with its tokenizer. The score to beat is that of the
text's own first words, as many as a summary has on average.

Expected on 1,000 reports that are not trained on:

                  ROUGE-1   ROUGE-2   ROUGE-L
    model         100.0     100.0     100.0
    first words   26.2      3.0       20.5

Run time: 3 minutes on 2 CPU cores.

With access to the Hugging Face Hub, the recipe goes on training any checkpoint on any dataset; a
folder with files train.jsonl, validation.jsonl and test.jsonl, of lines as
{"document": "…", "summary": "…"}, is a dataset, too:

    python recipes/summarization.py --model t5-small --epochs 1 --learning-rate 3e-4 \
        --dataset cnn_dailymail 3.0.0 --document-column article --summary-column highlights \
        --prefix "summarize: " --max-source-length 512 --max-target-length 128
"""

import argparse
import calendar
import textwrap
from pathlib import Path

import keras
import numpy as np
import tokenizers
from datasets import Dataset, DatasetDict, load_dataset
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast, T5Config

import tfhf

SCORES = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L"}

PEOPLE = "Ada Ben Cleo Dan Eve Finn Gil Hugo Ida Jan Kim Leo Mia Nils Olga Paul"
PLACES = "Athens Bern Cairo Dakar Lima Oslo Paris Quito Rome Seoul Tunis Vienna"
#: How a report tells each fact, in one of these ways.
TOLD = {
    "winner": ["{winner} won.", "Nobody was faster than {winner}.", "First came {winner}."],
    "second": ["{second} came second.", "Only {second} was close.", "Silver went to {second}."],
    "place": ["They met in {place}.", "{place} was proud of its runners.", "{place} saw them run."],
    "day": ["They ran on {day}.", "It was a fine {day}.", "{day} was the day."],
}
#: What a report tells besides; some of it could be mistaken for the facts.
ASIDES = [
    "{other} had a cold.",
    "{other} fell.",
    "In {elsewhere} it rained.",
    "{elsewhere} will be the next.",
    "The last race was on {earlier}.",
    "On {earlier} they had rested.",
    "Many had come to see it.",
    "The flowers were in bloom.",
]
NEWS = "{winner} won the race in {place} on {day}, before {second}."


def main() -> None:
    """Run the seven steps of the job."""
    options = parse_options()
    keras.utils.set_random_seed(options.seed)
    if options.mixed_precision:
        keras.config.set_dtype_policy(options.mixed_precision)

    # 1. The texts with their summaries, and a tokenizer: the checkpoint's, or one made for them.
    data = load_dataset(*options.dataset) if options.dataset else made_reports(options.seed)
    data = data.rename_columns(
        {options.document_column: "document", options.summary_column: "summary"}
    )
    if options.model:
        tokenizer = tfhf.AutoTokenizer.from_pretrained(options.model)
    else:
        tokenizer = train_tokenizer([*data["train"]["document"], *data["train"]["summary"]])

    # 2. Text to ids: of the document as the input, of the summary as the labels.
    def encode(documents, **kwargs):
        documents = [options.prefix + document for document in documents]
        return tokenizer(documents, truncation=True, max_length=options.max_source_length, **kwargs)

    def tokenize(rows):
        labels = tokenizer(
            text_target=rows["summary"], truncation=True, max_length=options.max_target_length
        )
        return {**encode(rows["document"]), "labels": labels.input_ids}

    ids = data.map(tokenize, batched=True, remove_columns=data["train"].column_names)

    # 3. The model.
    if options.model:
        model = tfhf.TFAutoModelForSeq2SeqLM.from_pretrained(options.model)
    else:
        model = tfhf.TFAutoModelForSeq2SeqLM.from_config(small_config(tokenizer))

    # 4. Batches. What the decoder reads is the labels, each one place later.
    def batches(split, shuffle=False):
        return model.prepare_tf_dataset(
            ids[split],
            batch_size=options.batch_size,
            shuffle=shuffle,
            collate_fn=tfhf.DataCollatorForSeq2Seq(tokenizer, model=model),
        )

    train, validation = batches("train", shuffle=True), batches("validation")

    # 5. Training. After each epoch, the validation texts are summarized: greedily, for speed.
    def judge(predictions_and_labels):
        predictions, labels = predictions_and_labels
        labels = np.where(labels < 0, tokenizer.pad_token_id, labels)
        return rouge(decode(predictions), decode(labels))

    def decode(rows):
        return tokenizer.batch_decode(np.asarray(rows), skip_special_tokens=True)

    generation = tfhf.KerasMetricCallback(
        judge,
        validation,
        predict_with_generate=True,
        generate_kwargs={"max_new_tokens": options.max_target_length, "num_beams": 1},
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

    # 6. The judgement, on texts it has not seen.
    split = "test" if "test" in data else "validation"
    documents, references = data[split]["document"], data[split]["summary"]
    summaries = []
    for start in range(0, len(documents), options.batch_size):
        tokens = encode(
            documents[start : start + options.batch_size], padding=True, return_tensors="np"
        )
        answers = model.generate(
            **tokens,
            max_new_tokens=options.max_target_length,
            num_beams=options.num_beams,
            no_repeat_ngram_size=3,
        )
        summaries += decode(answers)

    # 7. What others take: a checkpoint for any Hugging Face library.
    tokenizer.save_pretrained(options.output_dir)
    model.save_pretrained(options.output_dir)

    words = round(np.mean([len(summary.split()) for summary in data["train"]["summary"]]))
    first_words = [" ".join(document.split()[:words]) for document in documents]
    print(f"document     {textwrap.shorten(documents[0], 300)}")
    print(f"summary      {summaries[0]}")
    print(f"reference    {references[0]}")
    for name, texts in {"model": summaries, "first words": first_words}.items():
        found = rouge(texts, references)
        print(f"{name:12} {', '.join(f'{SCORES[key]} {found[key]:.1f}' for key in SCORES)}")
    print(f"judged on    {len(documents):,} texts of {split}")
    print(f"checkpoint   {options.output_dir}")


def rouge(summaries: list[str], references: list[str]) -> dict[str, float]:
    """Return the mean F-measures of ROUGE, 0 to 100."""
    metric = tfhf.load_metric("rouge", rouge_types=list(SCORES), use_stemmer=True)
    found = metric.compute(predictions=summaries, references=references)
    return {name: 100 * score for name, score in found.items()}


def made_reports(seed: int) -> DatasetDict:
    """Return reports, each of 8 sentences in any order, and their news."""
    rng = np.random.default_rng(seed)

    def report():
        winner, second, other = rng.choice(PEOPLE.split(), 3, replace=False)
        place, elsewhere = rng.choice(PLACES.split(), 2, replace=False)
        day, earlier = rng.choice(list(calendar.day_name), 2, replace=False)
        facts = {"winner": winner, "second": second, "place": place, "day": day}
        others = {"other": other, "elsewhere": elsewhere, "earlier": earlier}
        told = [rng.choice(ways) for ways in TOLD.values()]
        told = rng.permutation([*told, *rng.choice(ASIDES, 4, replace=False)])
        return {
            "document": " ".join(told).format(**facts, **others),
            "summary": NEWS.format(**facts),
        }

    sizes = {"train": 10_000, "validation": 500, "test": 1_000}
    return DatasetDict(
        {split: Dataset.from_list([report() for _ in range(size)]) for split, size in sizes.items()}
    )


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerBase:
    """Make a byte-level BPE tokenizer with a vocabulary of up to 1,000 for the texts."""
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=1000,
        special_tokens=["<pad>", "</s>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    bpe.post_processor = tokenizers.processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<pad>",
        eos_token="</s>",
        model_input_names=["input_ids", "attention_mask"],
    )


def small_config(tokenizer: PreTrainedTokenizerBase) -> T5Config:
    """Describe a T5 of 2 + 2 layers, 64 wide."""
    return T5Config(
        vocab_size=len(tokenizer),
        d_model=64,
        d_kv=16,
        d_ff=256,
        num_layers=2,
        num_heads=4,
        dropout_rate=0.0,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Train a model to summarize texts, judge it by ROUGE, save it.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--model", help="checkpoint: a folder or a name on the Hub (default: a small new T5)")
    add("--dataset", nargs="+", help="folder, or NAME [CONFIG] on the Hub (default: made here)")
    add("--document-column", default="document", help="its name in the dataset")
    add("--summary-column", default="summary", help="its name in the dataset")
    add("--prefix", default="", help="before each document: the task's name for T5")
    add("--epochs", type=int, default=5)
    add("--batch-size", type=int, default=32)
    add("--learning-rate", type=float, default=2e-3)
    add("--max-source-length", type=int, default=128, help="tokens; the rest is cut off")
    add("--max-target-length", type=int, default=32, help="tokens; the rest is cut off")
    add("--num-beams", type=int, default=4, help="for the last judgement")
    add("--mixed-precision", choices=["mixed_bfloat16", "mixed_float16"], help="for GPUs")
    add("--seed", type=int, default=0)
    add("--output-dir", type=Path, default=Path("runs/summarization"), help="checkpoint")
    return parser.parse_args()


if __name__ == "__main__":
    main()
