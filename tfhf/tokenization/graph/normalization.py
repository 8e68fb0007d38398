"""The normalizers of `tokenizers` inside a TensorFlow graph."""

from __future__ import annotations

import functools
import json
import unicodedata
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tokenizers import Tokenizer
from tokenizers.normalizers import Normalizer

from tfhf.tokenization.graph.added_tokens import WHITE_SPACE, escape
from tfhf.tokenization.graph.characters import (
    REMOVED_STARTER,
    CharacterMap,
    CharacterRules,
    probe_characters,
    unicode_pages,
)
from tfhf.tokenization.graph.errors import UnsupportedTokenizerError
from tfhf.tokenization.graph.precompiled import Graphemes, precompiled_rules

# Two marks that BERT takes for no accents, and that canonical ordering swaps.
LATER_MARK, EARLIER_MARK = "\u302e", "\U0001d165"

# Regular expressions of normalizers, as RE2 has to write them.
REGEXES = {
    " {2,}": " {2,}",
    r"\n": r"\n",
    r"\s{2,}|[\n\r\t]": rf"{WHITE_SPACE}{{2,}}|[\n\r\t]",
}

EXPECTED = "Replace, Prepend, Strip, Lowercase, NFKD with StripAccents, or Precompiled"

Step = Callable[[tf.Tensor], tf.Tensor]


class Normalization(tf.Module):
    """Normalizes text in several steps.

    Args:
        spec: the `normalizer` entry of a tokenizer.json.

    Raises:
        UnsupportedTokenizerError: for normalizers that TensorFlow cannot reproduce.

    Example:
        >>> spaces = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
        >>> lowercase = {"type": "Lowercase"}
        >>> normalize = Normalization({"type": "Sequence", "normalizers": [spaces, lowercase]})
        >>> normalize(tf.constant(["A   B C"])).numpy().tolist()
        [b'a b c']
    """

    def __init__(self, spec: dict[str, Any]) -> None:
        super().__init__()
        self._steps = _read_steps(spec["normalizers"] if spec["type"] == "Sequence" else [spec])

    def __call__(self, text: tf.Tensor) -> tf.Tensor:
        """Normalize `text`, a vector of valid UTF-8 strings."""
        for step in self._steps:
            text = step(text)
        return text


class Replacement(tf.Module):
    """Replaces what matches a pattern of RE2."""

    def __init__(self, pattern: str, new: str) -> None:
        super().__init__()
        self._pattern, self._new = pattern, new

    def __call__(self, text: tf.Tensor) -> tf.Tensor:
        """Replace in `text`, a vector of strings."""
        return tf.strings.regex_replace(text, self._pattern, self._new)


def _read_steps(specs: list[dict[str, Any]]) -> list[Step]:
    steps: list[Step] = []
    while specs:
        spec, *specs = specs
        kind = spec["type"]
        following = specs[0]["type"] if specs else None
        if kind == "Lowercase":
            steps.append(CharacterMap(character_rules(json.dumps(spec))))
        elif kind == "NFKD" and following == "StripAccents":
            both = {"type": "Sequence", "normalizers": [spec, specs.pop(0)]}
            steps.append(CharacterMap(character_rules(json.dumps(both))))
        elif kind == "Precompiled":
            rules = precompiled_rules(spec["precompiled_charsmap"])
            steps += [Graphemes(rules), CharacterMap(CharacterRules.of(rules.characters))]
        elif kind == "Replace":
            steps.append(Replacement(_pattern(spec["pattern"]), _literal(spec["content"])))
        elif kind == "Strip":
            sides = [f"^{WHITE_SPACE}+"] * spec["strip_left"]
            sides += [f"{WHITE_SPACE}+$"] * spec["strip_right"]
            steps += [Replacement(side, "") for side in sides]
        elif kind == "Prepend":  # which leaves an empty text alone
            steps.append(Replacement("(?s)^(.)", _literal(spec["prepend"]) + r"\1"))
        else:
            raise UnsupportedTokenizerError("normalizer", kind, EXPECTED)
    return steps


def _pattern(pattern: dict[str, str]) -> str:
    if "String" in pattern:
        return escape(pattern["String"])
    if pattern["Regex"] not in REGEXES:
        found = f"Replace of {pattern['Regex']!r}"
        raise UnsupportedTokenizerError("normalizer", found, f"one of {sorted(REGEXES)}")
    return REGEXES[pattern["Regex"]]


def _literal(text: str) -> str:
    """Write text as RE2 wants a replacement."""
    return text.replace("\\", r"\\")


def normalizer_rules(spec: dict[str, Any] | None) -> CharacterRules:
    """Read the `normalizer` entry of a tokenizer.json that works character by character.

    Raises:
        UnsupportedTokenizerError: for a normalizer other than `BertNormalizer`.

    Example:
        >>> normalizer_rules(None)["É"]
        'É'
    """
    if spec is None:
        return CharacterRules.of({})
    if spec["type"] != "BertNormalizer":
        raise UnsupportedTokenizerError("normalizer", spec["type"], "BertNormalizer or none")
    return character_rules(json.dumps(spec))


@functools.lru_cache
def character_rules(spec: str) -> CharacterRules:
    """Ask the library what a normalizer makes of each character.

    Args:
        spec: the entry of a tokenizer.json, in JSON, of a normalizer that treats each character by
            itself, but for the order of the marks that it leaves.
    """
    normalize = _normalizer(spec).normalize_str
    replacements = probe_characters(normalize)
    if normalize(LATER_MARK + EARLIER_MARK) != EARLIER_MARK + LATER_MARK:
        return CharacterRules.of(replacements)

    # Accents are stripped after a canonical decomposition, which sorts marks. The library's idea of
    # an accent is an old one, so some marks stay, in sorted order.
    def is_sorted_across(character: str) -> bool:
        between = LATER_MARK + character + EARLIER_MARK
        return normalize(between) != LATER_MARK + normalize(character) + EARLIER_MARK

    for character, replacement in replacements.items():
        private = unicodedata.category(character) == "Co"
        if replacement == "" and not private and not is_sorted_across(character):
            replacements[character] = REMOVED_STARTER
    mark_order = {
        character: unicodedata.combining(character)
        for character in "".join(unicode_pages())
        if unicodedata.combining(character)
        and character not in replacements
        and is_sorted_across(character)
    }
    return CharacterRules.of(replacements, mark_order)


def _normalizer(spec: str) -> Normalizer:
    """Make a normalizer of its entry in a tokenizer.json."""
    model = {"type": "WordLevel", "vocab": {}, "unk_token": ""}
    tokenizer = {"version": "1.0", "normalizer": json.loads(spec), "model": model}
    return Tokenizer.from_str(json.dumps(tokenizer)).normalizer
