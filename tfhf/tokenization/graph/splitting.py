"""Splitting text into words by the regular expressions of byte-level tokenizers.

The library's engine and TensorFlow's (RE2) know different versions of Unicode, and RE2 has no
lookahead. So each character becomes a single byte that says which class it is of, and RE2 splits
the text of these bytes; where it does, the text itself is split.
"""

from __future__ import annotations

import functools

import numpy as np
import tensorflow as tf
from tokenizers import Regex, pre_tokenizers

from tfhf.tokenization.graph.characters import (
    NUM_CODE_POINTS,
    PAGE_SIZE,
    CharacterTable,
    unicode_pages,
)

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")

# ASCII stands for itself but for control characters, of which five stand for everything else.
OTHER, LETTER, DIGIT, SPACE, LONG_S = range(1, 6)  # "ſ" is an "s" where case is ignored
LETTERS = rf"A-Za-z\x{LETTER:02}\x{LONG_S:02}"
DIGITS = rf"0-9\x{DIGIT:02}"
SPACES = rf"\t-\r \x{SPACE:02}"

PUNCTUATION = rf"[^{SPACES}{LETTERS}{DIGITS}]+"

GPT2_WORDS = rf"'(?:[stmd]|re|ve|ll)| ?[{LETTERS}]+| ?[{DIGITS}]+| ?{PUNCTUATION}|[{SPACES}]+"
QWEN2_WORDS = (
    rf"'(?:[sS\x{LONG_S:02}tTmMdD]|(?i:re|ve|ll))|[^\r\n{LETTERS}{DIGITS}]?[{LETTERS}]+|[{DIGITS}]"
    rf"| ?{PUNCTUATION}[\r\n]*|[{SPACES}]*[\r\n]+|[{SPACES}]+"
)
LLAMA3_WORDS = QWEN2_WORDS.replace(f"|[{DIGITS}]|", f"|[{DIGITS}]{{1,3}}|")

# By pattern of a tokenizer: the same for RE2 but for `\s+(?!\S)`, and the white space which that
# leaves to the word after it. Of other spaces a barrier parts it beforehand.
PATTERNS = {
    GPT2: (GPT2_WORDS, SPACES),
    LLAMA3: (LLAMA3_WORDS, rf"\t\v\f \x{SPACE:02}"),
    QWEN2: (QWEN2_WORDS, rf"\t\v\f \x{SPACE:02}"),
}

BARRIER = b"\xff"  # which no class has


class PatternSplitter(tf.Module):
    """Splits text into the matches of a pattern, one of `PATTERNS`.

    Example:
        >>> PatternSplitter(GPT2)(tf.constant(["It's  42!"])).to_list()
        [[b'It', b"'s", b' ', b'', b' 42', b'!', b'']]
    """

    def __init__(self, pattern: str) -> None:
        super().__init__()
        words, last_spaces = PATTERNS[pattern]
        self._words = f"({words})"
        self._last_space = rf"([{SPACES}])([{last_spaces}][^{SPACES}])"
        self._classes = CharacterTable(_character_classes())

    def __call__(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Split `text`, a vector of n valid UTF-8 strings, into words [n, (words)].

        The words of a text, joined, are the text; some may be empty.
        """
        characters = tf.strings.unicode_decode(text, "UTF-8")
        classes = characters.with_values(self._classes(characters.values))
        classes = tf.strings.unicode_encode(classes, "UTF-8")
        classes = tf.strings.regex_replace(classes, self._last_space, rb"\1" + BARRIER + rb"\2")
        classes = tf.strings.regex_replace(classes, self._words, rb"\1" + BARRIER)
        words = tf.strings.split(classes, BARRIER)
        lengths = tf.strings.length(words.values)
        words_of_characters = tf.RaggedTensor.from_row_lengths(
            characters.values, lengths, validate=False
        )
        return words.with_values(tf.strings.unicode_encode(words_of_characters, "UTF-8"))


@functools.lru_cache
def _character_classes() -> np.ndarray:
    """Ask the library which characters are letters, digits and spaces."""
    classes = np.full(NUM_CODE_POINTS, OTHER, np.int32)
    for number, name in ((LETTER, r"\p{L}"), (DIGIT, r"\p{N}"), (SPACE, r"\s")):
        others = pre_tokenizers.Split(Regex(f"{name}+"), behavior="removed")
        for page in unicode_pages():
            inside = np.ones(PAGE_SIZE, bool)
            for _, (start, end) in others.pre_tokenize_str(page):
                inside[start:end] = False
            classes[ord(page[0]) : ord(page[0]) + PAGE_SIZE][inside] = number
    printable = [*b"\t\n\v\f\r", *range(ord(" "), 0x7F)]
    classes[printable] = printable
    classes[ord("ſ")] = LONG_S
    return classes
