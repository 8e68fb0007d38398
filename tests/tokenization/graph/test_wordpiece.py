"""Word pieces, as the `tokenizers` library finds them."""

import random

import pytest
import tensorflow as tf
from tokenizers import models

from tfhf.tokenization.graph import UnsupportedTokenizerError
from tfhf.tokenization.graph.characters import CharacterRules
from tfhf.tokenization.graph.wordpiece import WordPiece

SPACES_ONLY = CharacterRules.of({})


def spec_of(vocab, prefix="##", limit=100):
    if not isinstance(vocab, dict):
        vocab = {token: token_id for token_id, token in enumerate(vocab)}
    return {
        "vocab": vocab,
        "unk_token": "[UNK]",
        "continuing_subword_prefix": prefix,
        "max_input_chars_per_word": limit,
    }


def assert_same_ids(spec, words, rules=SPACES_ONLY):
    library = models.WordPiece(**spec)
    found = WordPiece(spec, rules)(tf.constant(words)).to_list()
    for word, ids in zip(words, found, strict=True):
        assert ids == [token.id for token in library.tokenize(word)], ascii(word)


@pytest.mark.parametrize("prefix", ["##", "@@", "", "▁x"])
def test_random_vocabularies(prefix):
    rng = random.Random(5)

    def some(low, high):
        return "".join(rng.choices("abcé漢😀", k=rng.randrange(low, high)))

    for _ in range(10):
        vocab = {"[UNK]", *(rng.choice(["", prefix]) + some(1, 5) for _ in range(60))}
        assert_same_ids(spec_of(sorted(vocab), prefix), [some(1, 12) for _ in range(300)])


@pytest.mark.parametrize("limit", [1, 5, 100])
def test_longest_word(limit):
    vocab = ["[UNK]", *(p + c for p in ("", "##") for c in "aé漢😀")]
    words = [c * n for c in "aé漢😀" for n in range(max(1, limit - 2), limit + 3)]
    assert_same_ids(spec_of(vocab, limit=limit), [*words, "a" * 1000, "😀" * 1000])


def test_text_is_parted_by_spaces():
    spec = spec_of(["[UNK]", "a", "##b", "!"])
    word_piece = WordPiece(spec, CharacterRules.of({"!": " ! ", "\u3000": " "}))
    texts = ["ab!a", "", "  ", "a\u3000a!!", "c a"]
    expected = [[1, 2, 3, 1], [], [], [1, 1, 3, 3], [0, 1]]
    assert word_piece(tf.constant(texts)).to_list() == expected
    assert word_piece(tf.constant([], tf.string)).to_list() == []


def test_ids_without_tokens_and_empty_tokens():
    assert_same_ids(
        spec_of({"a": 7, "[UNK]": 3, "##b": 1, "": 5, "##": 4}), ["a", "ab", "b", "abb"]
    )


def test_tokens_of_any_length():
    assert_same_ids(
        spec_of(["[UNK]", "a" * 100, "##" + "b" * 99, "a"]), ["a" * 100, "a" + "b" * 99]
    )
    with pytest.raises(UnsupportedTokenizerError, match="refused by TensorFlow Text"):
        WordPiece(spec_of(["[UNK]", "漢" * 90]), SPACES_ONLY)


@pytest.mark.parametrize("reserved", ["\0", "\x11"])
def test_characters_that_the_op_reserves(reserved):
    """In a vocabulary they crash the process, and NUL ends words, so they must not get there."""
    words = [reserved, f"a{reserved}", f"{reserved}a", f"a{reserved}b", reserved * 3, "ab"]
    assert_same_ids(spec_of(["[UNK]", "a", "##b", "##a"]), words)
    spec = spec_of(["[UNK]", "a", reserved, f"##{reserved}b"])
    with pytest.raises(UnsupportedTokenizerError, match=r"\\x"):
        WordPiece(spec, SPACES_ONLY)
    removing = CharacterRules.of({"\0": "", "\x11": ""})  # as BertNormalizer does by default
    assert WordPiece(spec, removing)(tf.constant([f"a{reserved}"])).to_list() == [[1]]


def test_unknown_token_that_is_none():
    with pytest.raises(UnsupportedTokenizerError, match=r"without '\[UNK\]'"):
        WordPiece(spec_of(["a"]), SPACES_ONLY)
