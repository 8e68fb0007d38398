"""The normalizers of `tokenizers` as character rules."""

from __future__ import annotations

import functools
import unicodedata
from typing import Any

from tokenizers import normalizers

from tfhf.tokenization.graph.characters import (
    REMOVED_STARTER,
    CharacterRules,
    probe_characters,
    unicode_pages,
)
from tfhf.tokenization.graph.errors import UnsupportedTokenizerError

# Two marks that BERT takes for no accents, and that canonical ordering swaps.
LATER_MARK, EARLIER_MARK = "\u302e", "\U0001d165"


def normalizer_rules(spec: dict[str, Any] | None) -> CharacterRules:
    """Read the `normalizer` entry of a tokenizer.json.

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
    return _bert_normalizer_rules(**{name: spec[name] for name in spec if name != "type"})


@functools.lru_cache
def _bert_normalizer_rules(**flags: Any) -> CharacterRules:
    normalize = normalizers.BertNormalizer(**flags).normalize_str
    replacements = probe_characters(normalize)
    if normalize(LATER_MARK + EARLIER_MARK) == LATER_MARK + EARLIER_MARK:
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
