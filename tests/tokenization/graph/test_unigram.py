"""The best way to cut words into pieces, as the `tokenizers` library finds it."""

import random

import numpy as np
import pytest
import tensorflow as tf
from tokenizers import models

from tfhf.tokenization.graph import UnsupportedTokenizerError
from tfhf.tokenization.graph.unigram import Unigram, WordCutter

METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}


def spec_of(vocab, unk_id=0, **parts):
    return {"vocab": vocab, "unk_id": unk_id, "byte_fallback": False, **parts}


def random_vocab(rng):
    """Make pieces with scores of which many sums are equal."""
    pieces = {"".join(rng.choices("abcé漢", k=rng.randrange(1, 5))) for _ in range(60)}
    pieces |= {f"▁{piece}" for piece in rng.sample(sorted(pieces), 20)} | {"▁"}
    scores = [
        -1.0,
        -2.0,
        -2.5,
        -4.0,
        -7.25,
        *(float(np.float32(rng.uniform(-9, -1))) for _ in "ab"),
    ]
    return [("<unk>", 0.0), *((piece, rng.choice(scores)) for piece in sorted(pieces))]


def test_random_vocabularies():
    rng = random.Random(7)
    words = ["".join(rng.choices("abcé漢?", k=rng.randrange(1, 90))) for _ in range(400)]
    for _ in range(20):
        vocab = random_vocab(rng)
        library = models.Unigram(vocab, unk_id=0)
        found = Unigram(spec_of(vocab), METASPACE)(tf.constant(words)).to_list()
        for word, ids in zip(words, found, strict=True):
            assert ids == [token.id for token in library.tokenize(f"▁{word}")], word


def test_the_text_of_the_unknown_piece():
    vocab = [("▁", -1.0), ("<unk>", 0.0), ("a", -2.0), ("<", -3.0)]
    library = models.Unigram(vocab, unk_id=1)
    words = ["a<unk>a", "<unk>", "a?a", "??"]
    found = Unigram(spec_of(vocab, unk_id=1), METASPACE)(tf.constant(words)).to_list()
    assert found == [[token.id for token in library.tokenize(f"▁{word}")] for word in words]


def test_cut_words_are_the_words():
    rng = random.Random(8)
    cut = WordCutter(["▁", "a", "ab", "b", "bc"])
    rows = [
        ["".join(rng.choices("▁abcdé", k=rng.randrange(150))) for _ in range(rng.randrange(4))]
        for _ in range(100)
    ]
    words = tf.ragged.constant([*rows, []], tf.string)
    parts = cut(words)
    assert ["".join(part.decode() for part in row) for row in parts.to_list()] == [
        *map("".join, rows),
        "",
    ]
    assert max(map(len, parts.to_list())) > 50
    assert not any(b"ba" in part for row in parts.to_list() for part in row), "no piece goes across"
    short = tf.ragged.constant([["ba", ""], ["▁a"]])
    assert cut(short).to_list() == short.to_list()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (spec_of([("a", 0.1)]), "vocabulary is one with float64 scores"),
        (spec_of([("a", 0.0), ("a", 0.0)]), "vocabulary is one with empty, repeated"),
        (spec_of([("", 0.0)]), "vocabulary is one with empty"),
        (spec_of([("\0", 0.0)]), "vocabulary is one with empty, repeated or zero-holding pieces"),
        (spec_of([("a", 0.0)], unk_id=None), "vocabulary is without unk_id"),
        (spec_of([("a", 0.0)], byte_fallback=True), "model is Unigram with byte_fallback"),
    ],
)
def test_models_that_are_refused(spec, message):
    with pytest.raises(UnsupportedTokenizerError, match=message):
        Unigram(spec, METASPACE)


@pytest.mark.parametrize(
    ("part", "value"), [("replacement", "_"), ("prepend_scheme", "first"), ("split", False)]
)
def test_metaspaces_that_are_refused(part, value):
    with pytest.raises(UnsupportedTokenizerError, match=f"Metaspace's {part} is {value!r}"):
        Unigram(spec_of([("a", 0.0)]), {**METASPACE, part: value})
    with pytest.raises(UnsupportedTokenizerError, match="pre_tokenizer is Whitespace, expected"):
        Unigram(spec_of([("a", 0.0)]), {"type": "Whitespace"})
