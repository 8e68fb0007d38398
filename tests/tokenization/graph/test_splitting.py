"""Splitting by patterns against the pre-tokenizers of the library."""

import pytest
import tensorflow as tf
from tokenizers import Regex, pre_tokenizers

from tfhf.tokenization.graph import UnsupportedTokenizerError
from tfhf.tokenization.graph.byte_level import BYTE_CHARACTERS, read_pattern
from tfhf.tokenization.graph.characters import unicode_pages
from tfhf.tokenization.graph.splitting import GPT2, LLAMA3, PATTERNS, QWEN2, PatternSplitter

SEAMS = [
    "it'ſ",
    "IT'S",
    "a'LL b'Re",
    "x \n\n y",
    " \n \r\n  \tz",
    "a\n b\r\n\r\n",
    "  \u3000\n\u3000x",
]
SEAMS += [
    "1234567 7890",
    "'s's",
    "''S",
    "!\n\n x",
    "!\n  x",
    "! \n x",
    "\x01\x02\x03\x04\x05",
    "\x7f",
]


@pytest.mark.parametrize("pattern", PATTERNS, ids=["GPT-2", "Llama-3", "Qwen2"])
def test_words(pattern, odd_texts):
    split = pre_tokenizers.Split(Regex(pattern), behavior="isolated").pre_tokenize_str
    texts = [*unicode_pages(), *(f"a{page} b" for page in unicode_pages()), *SEAMS]
    texts += odd_texts(1500, seed=80)
    splitter = PatternSplitter(pattern)
    for start in range(0, len(texts), 2000):
        some = texts[start : start + 2000]
        for text, words in zip(some, splitter(tf.constant(some)).to_list(), strict=True):
            words = [word.decode() for word in words if word]
            assert words == [word for word, _ in split(text)], ascii(text)


def test_the_characters_of_bytes():
    assert sorted(BYTE_CHARACTERS) == sorted(pre_tokenizers.ByteLevel.alphabet())
    text = "".join(map(chr, range(0x250)))
    characters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    ((expected, _),) = characters.pre_tokenize_str(text)
    assert "".join(BYTE_CHARACTERS[byte] for byte in text.encode()) == expected


def split(pattern, behavior="Isolated"):
    pattern = {"Regex": pattern}
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": False}


def byte_level(*, use_regex=False, add_prefix_space=False):
    return {"type": "ByteLevel", "use_regex": use_regex, "add_prefix_space": add_prefix_space}


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


def test_patterns_of_pre_tokenizers():
    assert read_pattern(byte_level(use_regex=True)) == GPT2
    assert read_pattern(sequence(split(LLAMA3), byte_level())) == LLAMA3
    assert read_pattern(sequence(split(QWEN2), byte_level())) == QWEN2


@pytest.mark.parametrize(
    "spec",
    [
        byte_level(),
        sequence(split(GPT2), byte_level(use_regex=True)),
        sequence(split(GPT2), byte_level(add_prefix_space=True)),
        sequence(split(GPT2, "Removed"), byte_level()),
        sequence(split(r"\w+"), byte_level()),
        sequence({"type": "Digits", "individual_digits": True}, byte_level()),
        sequence(split(GPT2), split(QWEN2), byte_level()),
        {"type": "Whitespace"},
    ],
    ids=str,
)
def test_others_are_refused(spec):
    with pytest.raises(UnsupportedTokenizerError, match="pre_tokenizer is .*, expected ByteLevel"):
        read_pattern(spec)
