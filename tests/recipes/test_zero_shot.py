"""The whole recipe on a tiny random BERT: that it does what it says. Its figures: a slow test."""

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from small_demo import WORDS, review_rows, write_demo
from transformers import AutoTokenizer

import tfhf

RECIPE = Path(__file__).parents[2] / "recipes/zero_shot.py"
recipe = runpy.run_path(str(RECIPE))
LABELS = ["this", "example", "is", "terrible", "wonderful", "boring", "exciting", "love", "hate"]
LABELS += ["complaint", "recommendation"]  # with an unknown word each, labels would score the same
SIZES = {"train": 64, "validation": 8, "test": 21}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder in which the recipe ran."""
    folder = tmp_path_factory.mktemp("recipe")
    config = {"hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 32}
    write_demo(folder / "cache", SIZES, [*WORDS, *LABELS], **config, initializer_range=0.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TFHF_CACHE", str(folder / "cache"))
        patch.setattr(sys, "argv", [str(RECIPE), "--batch-size=16", "--text=a good film."])
        with (folder / "output").open("w") as output:
            patch.setattr(sys, "stdout", output)
            recipe["main"]()
    return folder


def printed_scores(output):
    """Return the accuracy of each pair of labels."""
    found = re.findall(r"^(taught|unseen)  ([\d.]+)  (.+) / (.+)$", output, re.M)
    return {(unfriendly, friendly): float(score) for _, score, unfriendly, friendly in found}


def test_its_accuracy_is_that_of_the_saved_model(finished):
    model = tfhf.TFAutoModelForSequenceClassification.from_pretrained(finished / "runs/zero-shot")
    tokenizer = AutoTokenizer.from_pretrained(finished / "runs/zero-shot")
    assert model.config.id2label == {0: "contradiction", 1: "entailment"}
    scores = printed_scores((finished / "output").read_text())
    assert len(scores) == 3 + len(recipe["UNSEEN"])
    rows = review_rows(SIZES["test"])
    for pair in (("bad", "good"), *recipe["UNSEEN"]):
        logits = []
        for label in pair:
            texts = [row["text"] for row in rows], [f"This example is {label}."] * len(rows)
            tokens = tokenizer(*texts, padding=True, return_tensors="np")
            logits.append(model(**tokens).logits[:, 1])
        right = np.argmax(logits, axis=0) == [row["label"] for row in rows]
        assert scores[pair] == pytest.approx(np.mean(right), abs=6e-4)


def test_it_answers(finished):
    found = re.findall(r"^answer  ([\d.]+)  (\w+)$", (finished / "output").read_text(), re.M)
    assert {label for _, label in found} == {"brilliant", "dreadful"}
    assert sum(float(score) for score, _ in found) == pytest.approx(1, abs=2e-3)


def test_pairs_of_a_sentence_and_a_label():
    pairs = recipe["entailment_pairs"](Dataset.from_list(review_rows(40)), seed=0)
    assert len(pairs) == 80
    taught = set()
    for i, pair in enumerate(pairs):
        row = review_rows(40)[i // 2]
        assert pair["text"] == row["text"]
        label = re.fullmatch(r"This example is (.+)\.", pair["hypothesis"])[1]
        side = row["label"] if pair["label"] else 1 - row["label"]
        assert label in recipe["TAUGHT"][side]
        taught.add(label)
    assert len(taught) > 12
    assert not taught & {label for pair in recipe["UNSEEN"] for label in pair}
