"""Token classification: names of people, places and organisations in sentences.

    python recipes/token_classification.py

makes sentences with names in them, of parts that its test sentences do not share, trains a small
BERT from scratch to tag their words, and judges it by whole entities, as CoNLL does. A word may be
several tokens: the first one has the word's tag, and the others are not counted.

Expected on 500 sentences that are not trained on: F1 at least 0.97. Run time: 1 minute on 2 CPU
cores.

With access to the Hugging Face Hub:

    python recipes/token_classification.py --model bert-base-cased \
        --dataset unimelb-nlp/wikiann en --labels-column ner_tags --learning-rate 2e-5 --epochs 3
"""

import argparse
from pathlib import Path

import keras
import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, Features, Sequence, Value, load_dataset
from small_bert import small_config, trained_tokenizer

import tfhf

TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG"]
SENTENCES = """
    PER lives in LOC .
    yesterday PER left LOC for LOC .
    PER works for ORG in LOC .
    ORG has hired PER and PER .
    in LOC nobody knows ORG .
    the head of ORG , PER , was born in LOC .
"""
STARTS = "an bel cor dan el fin gar hol ir jas kel lor"
ENDS = "a o us is en ar"
KINDS = {"PER": ["mr {}", "{} {}son", "ms {}"], "LOC": ["{}ville", "new {}ton", "{} city"]}
KINDS["ORG"] = ["{} bank", "{} and sons", "university of {}"]


def main() -> None:
    """Make sentences, train, judge, and ask."""
    options = parse_options()
    keras.utils.set_random_seed(options.seed)
    data = (
        load_dataset(*options.dataset)
        if options.dataset
        else made_sentences(options.rows, options.seed)
    )
    names = data["train"].features[options.labels_column].feature.names

    # 1. Words to tokens; -100 is not counted.
    if options.model:
        tokenizer = tfhf.AutoTokenizer.from_pretrained(options.model, add_prefix_space=True)
    else:
        # It has few words whole, so that unknown names have known pieces.
        tokenizer = trained_tokenizer(map(" ".join, data["train"]["tokens"]), pieces=150)

    def tokenize(rows):
        tokens = tokenizer(rows["tokens"], is_split_into_words=True, truncation=True)
        tokens["labels"] = [
            align(tokens.word_ids(i), tags) for i, tags in enumerate(rows[options.labels_column])
        ]
        return tokens

    data = data.map(tokenize, batched=True, remove_columns=data["train"].column_names)

    # 2. The model.
    named = {"id2label": dict(enumerate(names)), "label2id": {n: i for i, n in enumerate(names)}}
    if options.model:
        model = tfhf.TFAutoModelForTokenClassification.from_pretrained(
            options.model, num_labels=len(names), **named
        )
    else:
        model = tfhf.TFBertForTokenClassification(small_config(tokenizer, **named))

    # 3. Training, judged by entities after each epoch.
    collate = tfhf.DataCollatorForTokenClassification(tokenizer, return_tensors="np")
    train, validation, test = (
        model.prepare_tf_dataset(
            data[split], options.batch_size, shuffle=split == "train", collate_fn=collate
        )
        for split in ("train", "validation", "test")
    )
    metric = tfhf.load_metric("seqeval")

    def entities(predictions_and_labels):
        predictions, labels = predictions_and_labels
        rows = zip(np.argmax(predictions, axis=-1), labels)
        pairs = [[(names[p], names[t]) for p, t in zip(*row) if t >= 0] for row in rows]
        found = metric.compute(
            predictions=[[p for p, _ in row] for row in pairs],
            references=[[t for _, t in row] for row in pairs],
        )
        return {name.removeprefix("overall_"): found[name] for name in found if "overall" in name}

    optimizer, _ = tfhf.create_optimizer(
        options.learning_rate, len(train) * options.epochs, num_warmup_steps=0
    )
    model.compile(optimizer)
    callback = tfhf.KerasMetricCallback(entities, validation)
    model.fit(train, validation_data=validation, epochs=options.epochs, callbacks=[callback])

    # 4. The judgement, a checkpoint, and a question.
    judge = tfhf.KerasMetricCallback(entities, test)
    judge.set_model(model)
    scores = {}
    judge.on_epoch_end(0, scores)
    model.save_pretrained(options.output_dir)
    tokenizer.save_pretrained(options.output_dir)
    ask = tfhf.pipeline("ner", model=str(options.output_dir), aggregation_strategy="first")
    for entity in ask(options.text):
        print(f"{entity['entity_group']:4} {entity['word']}")
    print(f"F1          {scores['f1']:.3f} of entities on {len(data['test'])} sentences")
    print(f"checkpoint  {options.output_dir}")


def align(word_ids: list[int | None], tags: list[int]) -> list[int]:
    """Return a label for each token: its word's for the first of a word, -100 for others."""
    return [
        -100 if word is None or (i and word == word_ids[i - 1]) else tags[word]
        for i, word in enumerate(word_ids)
    ]


def made_sentences(rows: int, seed: int) -> DatasetDict:
    """Return sentences as words and tags; the names of each split are its own."""
    rng = np.random.default_rng(seed)
    stems = rng.permutation([a + b for a in STARTS.split() for b in ENDS.split()])
    forms = [line.split() for line in SENTENCES.strip().splitlines()]

    def sentence(stems):
        tokens, tags = [], []
        for word in forms[rng.integers(len(forms))]:
            if word not in KINDS:
                tokens.append(word)
                tags.append("O")
                continue
            name = rng.choice(KINDS[word]).format(*rng.choice(stems, 2)).split()
            tokens += name
            tags += [f"B-{word}", *[f"I-{word}"] * (len(name) - 1)]
        return {"tokens": tokens, "labels": [TAGS.index(tag) for tag in tags]}

    sizes = {"train": (stems[:48], rows), "validation": (stems[48:60], 300)}
    sizes["test"] = (stems[60:], 500)
    features = Features(
        {"tokens": Sequence(Value("string")), "labels": Sequence(ClassLabel(names=TAGS))}
    )
    return DatasetDict(
        {
            split: Dataset.from_list([sentence(stems) for _ in range(size)], features)
            for split, (stems, size) in sizes.items()
        }
    )


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Train a model to find names.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--model", help="folder or name on the Hub (default: a small BERT from scratch)")
    add("--dataset", nargs="+", metavar="NAME", help="name and configuration on the Hub")
    add("--labels-column", default="labels")
    add("--rows", type=int, default=3000, help="how many are made to train on")
    add("--epochs", type=int, default=4)
    add("--batch-size", type=int, default=16)
    add("--learning-rate", type=float, default=2e-3)
    add("--seed", type=int, default=0)
    add("--text", default="yesterday mr lorus left danaville for the university of corus .")
    add("--output-dir", type=Path, default=Path("runs/token-classification"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
