"""Merging, as the `tokenizers` library does it, whatever the merges are."""

import random

import pytest
import tensorflow as tf
from tokenizers import models

from tfhf.tokenization.graph import UnsupportedTokenizerError
from tfhf.tokenization.graph.bpe import BytePairs


def random_model(rng, alphabet="abc"):
    """Make merges that no training would lead to: many of their tokens can never come about."""
    vocab = {character: index for index, character in enumerate(alphabet)}
    merges = []
    while len(merges) < 25:
        left, right = rng.choices(list(vocab), k=2)
        if left + right not in vocab and len(left + right) < 8:
            vocab[left + right] = len(vocab)
            merges.append((left, right))
    return vocab, merges


@pytest.mark.parametrize("ignore_merges", [False, True])
def test_random_merges(ignore_merges):
    rng = random.Random(6)
    words = ["".join(rng.choices("abc", k=rng.randrange(1, 30))) for _ in range(400)]
    never_merged = 0
    for _ in range(40):
        vocab, merges = random_model(rng)
        library = models.BPE(vocab, merges, ignore_merges=ignore_merges)
        never_merged += sum(len(models.BPE(vocab, merges).tokenize(token)) > 1 for token in vocab)
        model = {"vocab": vocab, "merges": merges, "ignore_merges": ignore_merges}
        texts = tf.ragged.constant([[*words, *vocab]])
        expected = [
            token.id for word in texts[0].numpy() for token in library.tokenize(word.decode())
        ]
        assert BytePairs(model)(texts).to_list() == [expected]
    assert never_merged > 40, "the merges were too easy"


def test_two_ways_to_a_token():
    """Llama's merges list all of them, side by side; then the rank of the token decides."""
    vocab = {token: index for index, token in enumerate(["a", "b", "c", "bc", "ab", "abc"])}
    merges = [("b", "c"), ("a", "b"), ("a", "bc"), ("ab", "c")]
    library = models.BPE(vocab, merges)
    words = ["abc", "ab", "bc", "abcab", "aabcc"]
    expected = [[token.id for token in library.tokenize(word)] for word in words]
    found = BytePairs({"vocab": vocab, "merges": merges})(tf.ragged.constant([[w] for w in words]))
    assert found.to_list() == expected
    merges = [("b", "c"), ("a", "bc"), ("a", "b"), ("ab", "c")]
    with pytest.raises(UnsupportedTokenizerError, match="two ways to 'abc'"):
        BytePairs({"vocab": vocab, "merges": merges})


def test_ids_without_tokens_and_empty_tokens():
    model = {"vocab": {"a": 7, "b": 2, "ab": 4, "": 0}, "merges": [("a", "b")]}
    words = tf.ragged.constant([["ab", ""], [], ["ba"]])
    assert BytePairs(model)(words).to_list() == [[4], [], [2, 7]]
    assert BytePairs({**model, "ignore_merges": True})(words).to_list() == [[4], [], [2, 7]]


@pytest.mark.parametrize(
    ("name", "value"),
    [("dropout", 0.1), ("continuing_subword_prefix", "##"), ("end_of_word_suffix", "</w>")],
)
def test_parts_that_are_refused(name, value):
    with pytest.raises(UnsupportedTokenizerError, match=f"its model's {name} is {value!r}"):
        BytePairs({"vocab": {"a": 0}, "merges": [], name: value})
