"""Chapter 3: processing the data: pairs of sentences, ``map``, and padding batch by batch.

    python recipes/course/chapter3_processing_the_data.py            # pairs made of film reviews
    python recipes/course/chapter3_processing_the_data.py --hub      # MRPC

Run time: 20 seconds on 2 CPU cores.
"""

import argparse
import sys
from pathlib import Path

from datasets import Dataset, load_dataset

import tfhf

sys.path.insert(0, str(Path(__file__).parents[1]))
from film_reviews import checkpoint as minilm
from film_reviews import film_reviews


def main() -> None:
    """Tokenize pairs, and compare ways to pad them."""
    parser = argparse.ArgumentParser(description="Tokenize pairs, and compare ways to pad them.")
    parser.add_argument("--hub", action="store_true", help="take MRPC")
    on_hub = parser.parse_args().hub
    pairs = load_dataset("glue", "mrpc", split="train") if on_hub else made_pairs()
    tokenizer = tfhf.AutoTokenizer.from_pretrained(minilm())
    print(pairs)

    # A pair is one row: the second sentence's tokens have the type 1.
    row = tokenizer(pairs[0]["sentence1"], pairs[0]["sentence2"])
    print(tokenizer.decode(row["input_ids"]), row["token_type_ids"])

    # map works in batches, and keeps its result on disk. No padding yet.
    tokenized = pairs.map(
        lambda rows: tokenizer(rows["sentence1"], rows["sentence2"], truncation=True), batched=True
    )

    # A collator pads each batch to its own longest row: dynamic padding.
    columns = [*tokenizer.model_input_names, "label"]
    samples = [{name: tokenized[i][name] for name in columns} for i in range(8)]
    print("lengths", [len(sample["input_ids"]) for sample in samples])
    collate = tfhf.DataCollatorWithPadding(tokenizer=tokenizer, return_tensors="tf")
    print({name: values.shape for name, values in collate(samples).items()})

    # The same as a tf.data.Dataset, for fit; rows of like length in a batch leave less padding.
    model = tfhf.TFAutoModelForSequenceClassification.from_pretrained(minilm())
    for name, options in {
        "in order": {"shuffle": False},
        "shuffled": {"shuffle": True, "group_by_length": False},
        "grouped by length": {"shuffle": True, "group_by_length": True},
    }.items():
        batches = model.prepare_tf_dataset(tokenized, batch_size=32, tokenizer=tokenizer, **options)
        masks = [inputs["attention_mask"].numpy() for inputs, _ in batches]
        padding = 1 - sum(mask.sum() for mask in masks) / sum(mask.size for mask in masks)
        print(f"{name:18} {padding:.0%} of the tokens are padding")


def made_pairs() -> Dataset:
    """Return pairs of neighbouring film reviews; the label says whether they have one mood."""
    reviews = film_reviews()["train"].shuffle(0).select(range(400))
    first, second = reviews.select(range(0, 400, 2)), reviews.select(range(1, 400, 2))
    return Dataset.from_dict(
        {
            "sentence1": first["text"],
            "sentence2": second["text"],
            "label": [int(a == b) for a, b in zip(first["label"], second["label"])],
        }
    )


if __name__ == "__main__":
    main()
