"""Zero-shot classification: teach a model to say whether a label fits, whatever the label is.

    python recipes/zero_shot.py

fine-tunes all-MiniLM-L6-v2, a BERT of 6 layers, to tell whether "This example is LABEL." follows
from a sentence about a film. Each of 8,421 labelled sentences comes with a label that fits, such as
"delightful", and one that does not, such as "tedious". Then ``tfhf.pipeline`` sorts 1,114 other
sentences by pairs of labels, and that by one pair after the other: some that it was taught with,
others that it has never seen.

Expected test accuracy: 0.83, in the mean of the pairs, with labels that it was taught and with
others alike. Run time: 6 minutes on 2 CPU cores.

With access to the Hugging Face Hub, it takes any checkpoint by name:

    python recipes/zero_shot.py --model distilbert-base-uncased
"""

import argparse
import random
from pathlib import Path

import keras
import numpy as np
from datasets import Dataset, DatasetDict
from film_reviews import checkpoint, film_reviews

import tfhf

TEMPLATE = "This example is {}."

#: Labels for unfriendly (0) and friendly (1) sentences.
TAUGHT = (
    ("negative", "bad", "tedious", "a failure", "disappointing", "annoying", "stale", "a waste"),
    ("positive", "good", "delightful", "a success", "satisfying", "pleasant", "fresh", "a gem"),
)
#: Pairs of such labels that are never taught.
UNSEEN = (
    ("terrible", "wonderful"),
    ("boring", "exciting"),
    ("a complaint", "a recommendation"),
    ("hate", "love"),
)


def main() -> None:
    """Run the five steps of the job."""
    options = parse_options()
    keras.utils.set_random_seed(options.seed)
    if options.mixed_precision:
        keras.config.set_dtype_policy(options.mixed_precision)

    # 1. Labelled sentences become pairs: a label that fits is entailed, one that does not is not.
    sentences = film_reviews()
    pairs = DatasetDict(
        {split: entailment_pairs(sentences[split], options.seed) for split in sentences}
    )

    # 2. Pairs of texts to ids.
    tokenizer = tfhf.AutoTokenizer.from_pretrained(options.model)

    def tokenize(rows):
        return tokenizer(
            rows["text"], rows["hypothesis"], truncation="only_first", max_length=options.max_length
        )

    pairs = pairs.map(tokenize, batched=True)

    # 3. Training. The pipeline finds what it needs by the name of the label.
    labels = ["contradiction", "entailment"]
    model = tfhf.TFAutoModelForSequenceClassification.from_pretrained(
        options.model,
        num_labels=2,
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
    )
    train, validation = (
        model.prepare_tf_dataset(
            pairs[split], batch_size=options.batch_size, shuffle=shuffle, tokenizer=tokenizer
        )
        for split, shuffle in (("train", True), ("validation", False))
    )
    optimizer, _ = tfhf.create_optimizer(
        init_lr=options.learning_rate,
        num_train_steps=len(train) * options.epochs,
        num_warmup_steps=0,
        weight_decay_rate=0.01,
    )
    model.compile(optimizer, metrics=["accuracy"])
    model.fit(train, validation_data=validation, epochs=options.epochs)

    # 4. What the pipeline, and any Hugging Face library, takes.
    model.save_pretrained(options.output_dir)
    tokenizer.save_pretrained(options.output_dir)

    # 5. The judgement, on sentences that it has not seen.
    classifier = tfhf.pipeline("zero-shot-classification", str(options.output_dir))
    for kind, label_pairs in (("taught", list(zip(*TAUGHT))[:3]), ("unseen", UNSEEN)):
        scores = [accuracy(classifier, sentences["test"], pair) for pair in label_pairs]
        for (unfriendly, friendly), score in zip(label_pairs, scores):
            print(f"{kind}  {score:.3f}  {unfriendly} / {friendly}")
        print(f"{kind} labels: test accuracy {np.mean(scores):.3f}")
    found = classifier(options.text, candidate_labels=options.labels)
    for label, score in zip(found["labels"], found["scores"]):
        print(f"answer  {score:.3f}  {label}")
    print(f"checkpoint  {options.output_dir}")


def entailment_pairs(sentences: Dataset, seed: int) -> Dataset:
    """Return each sentence twice: with a label that fits (1), with one that does not (0)."""
    choose = random.Random(seed).choice
    rows = [
        {"text": row["text"], "hypothesis": TEMPLATE.format(choose(TAUGHT[side])), "label": fits}
        for row in sentences
        for side, fits in ((row["label"], 1), (1 - row["label"], 0))
    ]
    return Dataset.from_list(rows)


def accuracy(classifier: tfhf.Pipeline, sentences: Dataset, labels: tuple[str, str]) -> float:
    """Return how many sentences get the right one of two labels, that for 0 and that for 1."""
    found = classifier(
        list(sentences["text"]), candidate_labels=list(labels), hypothesis_template=TEMPLATE
    )
    right = [labels[row["label"]] == one["labels"][0] for row, one in zip(sentences, found)]
    return float(np.mean(right))


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Fine-tune a zero-shot classifier, judge it and save it.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--model", help="checkpoint: a folder or a name on the Hub (default: the demo's MiniLM)")
    add("--epochs", type=int, default=1)
    add("--batch-size", type=int, default=32)
    add("--learning-rate", type=float, default=5e-5)
    add("--max-length", type=int, default=128, help="tokens; the rest of a sentence is cut off")
    add("--mixed-precision", choices=["mixed_bfloat16", "mixed_float16"], help="for GPUs")
    add("--seed", type=int, default=0)
    add("--text", default="A moving, beautifully acted film.", help="ask the model about this")
    add("--labels", default="brilliant, dreadful", help="with these labels")
    add("--output-dir", type=Path, default=Path("runs/zero-shot"))
    options = parser.parse_args()
    options.model = options.model or checkpoint()
    return options


if __name__ == "__main__":
    main()
