"""The normalizers of `tokenizers` inside a TensorFlow graph."""

from __future__ import annotations

import functools
import json
import unicodedata
from typing import Any

from tokenizers import Tokenizer
from tokenizers.normalizers import Normalizer

from tfhf.tokenization.graph.characters import (
    REMOVED,
    CharacterMap,
    CharacterRules,
    probe_characters,
    unicode_pages,
)
from tfhf.tokenization.graph.composition import Composition
from tfhf.tokenization.graph.errors import UnsupportedTokenizerError
from tfhf.tokenization.graph.precompiled import Precompiled
from tfhf.tokenization.graph.replacement import WHITE_SPACE, Replacement, escape
from tfhf.tokenization.graph.rewriting import Rewriter, Steps

# Two marks that BERT takes for no accents, and that canonical ordering swaps.
LATER_MARK, EARLIER_MARK = "\u302e", "\U0001d165"

# Regular expressions of normalizers, as RE2 has to write them.
REGEXES = {
    " {2,}": " {2,}",
    r"\n": r"\n",
    r"\s{2,}|[\n\r\t]": rf"{WHITE_SPACE}{{2,}}|[\n\r\t]",
}

# Those that treat each character by itself, but for the order of marks.
BY_CHARACTER = ("Lowercase", "StripAccents", "NFD", "NFKD")

EXPECTED = "Replace, Prepend, Strip, Lowercase, StripAccents, NFC, NFD, NFKC, NFKD or Precompiled"


def read_normalizer(spec: dict[str, Any] | None) -> Steps | None:
    """Compile the `normalizer` entry of a tokenizer.json; None if it leaves text as it is.

    Raises:
        UnsupportedTokenizerError: for normalizers that TensorFlow cannot reproduce.

    Example:
        >>> import tensorflow as tf
        >>> spaces = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
        >>> normalize = read_normalizer(
        ...     {"type": "Sequence", "normalizers": [spaces, {"type": "Lowercase"}]}
        ... )
        >>> normalize(tf.constant(["A   B C"])).numpy().tolist()
        [b'a b c']
    """
    if spec is None:
        return None
    steps = _read_steps(spec["normalizers"] if spec["type"] == "Sequence" else [spec])
    return Steps(steps) if steps else None


def _read_steps(specs: list[dict[str, Any]]) -> list[Rewriter]:
    steps: list[Rewriter] = []
    while specs:
        spec, *specs = specs
        kind = spec["type"]
        if kind == "NFKD" and specs and specs[0]["type"] == "StripAccents":  # faster than each
            both = {"type": "Sequence", "normalizers": [spec, specs.pop(0)]}
            steps.append(CharacterMap(character_rules(json.dumps(both))))
        elif kind in BY_CHARACTER:
            steps.append(CharacterMap(character_rules(json.dumps(spec))))
        elif kind in ("NFC", "NFKC"):
            decomposition = character_rules(json.dumps({"type": kind.replace("C", "D")}))
            steps.append(Composition(kind, decomposition))
        elif kind == "Precompiled":
            steps.append(Precompiled(spec["precompiled_charsmap"]))
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

    mark_order = {}
    for character in "".join(unicode_pages()):
        order, new = unicodedata.combining(character), replacements.get(character, character)
        is_removed = new == "" and unicodedata.category(character) != "Co"
        if order and new in ("", character) and is_sorted_across(character):
            if is_removed:
                replacements[character] = REMOVED[order]
            mark_order[replacements.get(character, character)] = order
        elif is_removed and not is_sorted_across(character):
            replacements[character] = REMOVED[0]
    return CharacterRules.of(replacements, mark_order)


def _normalizer(spec: str) -> Normalizer:
    """Make a normalizer of its entry in a tokenizer.json."""
    model = {"type": "WordLevel", "vocab": {}, "unk_token": ""}
    tokenizer = {"version": "1.0", "normalizer": json.loads(spec), "model": model}
    return Tokenizer.from_str(json.dumps(tokenizer)).normalizer
