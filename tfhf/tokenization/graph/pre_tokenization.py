"""The pre-tokenizers of `tokenizers` as rules that put spaces between words."""

from __future__ import annotations

import functools
from typing import Any

from tokenizers import pre_tokenizers

from tfhf.tokenization.graph.characters import probe_characters
from tfhf.tokenization.graph.errors import UnsupportedTokenizerError


def pre_tokenizer_replacements(spec: dict[str, Any] | None) -> dict[str, str]:
    """Read the `pre_tokenizer` entry of a tokenizer.json.

    Returns:
        The new text of each character that parts words, with spaces where it does.

    Raises:
        UnsupportedTokenizerError: for a pre-tokenizer other than `BertPreTokenizer`.

    Example:
        >>> pre_tokenizer_replacements({"type": "BertPreTokenizer"})["!"]
        ' ! '
    """
    if spec is None or spec["type"] != "BertPreTokenizer":
        found = "missing" if spec is None else spec["type"]
        raise UnsupportedTokenizerError("pre_tokenizer", found, "BertPreTokenizer")
    return _bert_pre_tokenizer_replacements()


@functools.lru_cache
def _bert_pre_tokenizer_replacements() -> dict[str, str]:
    split = pre_tokenizers.BertPreTokenizer().pre_tokenize_str

    def spaced(text: str) -> str:
        # A letter on both sides shows where a character parts words, and is not part of the answer.
        return " ".join(word for word, _ in split(f"a{text}a"))[1:-1]

    return probe_characters(spaced)
