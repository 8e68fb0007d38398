"""Pipelines with what real people have: MiniLM as it is, and what recipes make of it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tfhf

pytestmark = pytest.mark.slow
RECIPES = Path(__file__).parents[2] / "recipes"
PAIRS = [
    ("A man is eating food.", "Someone has a meal."),
    ("The stock market fell sharply today.", "Share prices dropped a lot this afternoon."),
    ("How do I reset my password?", "I forgot my login details and need new ones."),
    ("A cheetah is running behind its prey.", "A big cat chases an animal."),
    ("She plays the violin in an orchestra.", "The woman is a musician with a string instrument."),
    ("It will rain all weekend.", "The forecast says wet weather on Saturday and Sunday."),
]
TEXTS = [text for pair in PAIRS for text in pair] + ["", "cinéma 🎬 " * 100]


@pytest.fixture(scope="module")
def states(minilm_folder):
    """The states [tokens, 384] of each text, by feature-extraction."""
    extractor = tfhf.pipeline("feature-extraction", str(minilm_folder))
    options = {"truncation": True, "tokenize_kwargs": {"max_length": 256}}
    return [np.array(found[0]) for found in extractor(TEXTS, **options)]


def test_nearest_sentences_make_sense(states):
    vectors = np.stack([own.mean(axis=0) for own in states[: 2 * len(PAIRS)]])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    likeness = vectors @ vectors.T - 2 * np.eye(len(vectors))
    partners = np.arange(len(vectors)) ^ 1
    assert likeness.argmax(axis=1).tolist() == partners.tolist()


def test_states_are_those_of_the_sentence_encoder(states, minilm_folder):
    encoder = tfhf.SentenceEncoder.from_pretrained(str(minilm_folder))
    means = np.stack([own.mean(axis=0) for own in states])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(means, encoder.encode(TEXTS), rtol=0, atol=1e-5)


@pytest.mark.oracle
def test_states_are_those_of_pytorch(states, minilm_folder):
    import torch
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(minilm_folder)
    tokenizer = AutoTokenizer.from_pretrained(minilm_folder)
    for text, own in zip(TEXTS, states):
        tokens = tokenizer(text, truncation=True, max_length=256, return_tensors="pt")
        with torch.no_grad():
            theirs = model(**tokens).last_hidden_state[0].numpy()
        np.testing.assert_allclose(own, theirs, rtol=0, atol=2e-5)


def run_recipe(name, folder):
    """Run a recipe as it is in a folder, and return what it prints."""
    run = subprocess.run(
        [sys.executable, RECIPES / name], cwd=folder, env=os.environ, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def reviews(movie_reviews):
    """Sentences that no recipe learns from, and what they are: 0 unfriendly, 1 friendly."""
    rows = [json.loads(line) for line in (movie_reviews / "test.jsonl").read_text().splitlines()]
    return [row["text"] for row in rows], np.array([row["label"] for row in rows])


def test_sentiment_after_the_recipe(reviews, tmp_path):
    output = run_recipe("text_classification.py", tmp_path)
    printed = float(re.search(r"test accuracy +([\d.]+)", output)[1])
    texts, labels = reviews
    classifier = tfhf.pipeline("sentiment-analysis", str(tmp_path / "runs/movie-sentiment"))
    found = classifier(texts)
    friendly = np.array([one["label"] == "positive" for one in found])
    accuracy = np.mean(friendly == labels)
    print(f"sentiment accuracy {accuracy:.4f}")
    assert accuracy == pytest.approx(printed, abs=1e-3)
    assert accuracy > 0.84
    exported = tfhf.pipeline(model=tmp_path / "saved_models/movie-sentiment/1")
    served = exported(texts)
    assert [one["label"] for one in served] == [one["label"] for one in found]
    scores = ([one["score"] for one in results] for results in (served, found))
    np.testing.assert_allclose(*scores, rtol=0, atol=1e-5)


def test_zero_shot_after_the_recipe(reviews, tmp_path):
    output = run_recipe("zero_shot.py", tmp_path)
    kinds = dict(re.findall(r"^(\w+) labels: test accuracy ([\d.]+)$", output, re.M))
    promised = re.search(
        r"Expected test accuracy: ([\d.]+)", (RECIPES / "zero_shot.py").read_text()
    )
    for kind in ("taught", "unseen"):
        assert float(kinds[kind]) == pytest.approx(float(promised[1].rstrip(".")), abs=0.02)
    texts, labels = reviews
    classifier = tfhf.pipeline("zero-shot-classification", str(tmp_path / "runs/zero-shot"))
    names = ["a disaster", "a masterpiece"]  # the recipe has neither
    found = classifier(texts, names)
    accuracy = np.mean(
        [names.index(one["labels"][0]) == label for one, label in zip(found, labels)]
    )
    print(f"zero-shot accuracy {accuracy:.4f}")
    assert accuracy > 0.8
