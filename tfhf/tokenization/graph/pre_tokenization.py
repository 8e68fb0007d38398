"""The pre-tokenizers of `tokenizers`: spaces between words, or before them."""

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf
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


class Prefix(tf.Module):
    """Puts a character before each text that does not begin with it or with a space.

    Args:
        character: the character.
        only_first: whether only the beginning of an input gets it, and no later part.

    Example:
        >>> Prefix(" ")(tf.constant(["a", " a", ""]), tf.constant([True] * 3)).numpy().tolist()
        [b' a', b' a', b'']
    """

    def __init__(self, character: str, *, only_first: bool = False) -> None:
        super().__init__()
        self._pattern = f"^([^ {character}])"
        self._prefixed = rf"{character}\1"
        self._only_first = only_first

    def __call__(self, text: tf.Tensor, begins: tf.Tensor) -> tf.Tensor:
        """Prefix `text`, a vector of strings; `begins` says which are beginnings of inputs."""
        prefixed = tf.strings.regex_replace(
            text, self._pattern, self._prefixed, replace_global=False
        )
        return tf.where(begins, prefixed, text) if self._only_first else prefixed

    def with_source(self, text: tf.Tensor, begins: tf.Tensor) -> tuple[tf.Tensor, tf.RaggedTensor]:
        """Prefix `text`, and say where characters come from, as `Rewriter` does."""
        prefixed = self(text, begins)
        lengths = tf.strings.length(prefixed, "UTF8_CHAR")
        added = lengths - tf.strings.length(text, "UTF8_CHAR")
        places = tf.ragged.range(lengths)
        # The prefix counts as part of the first character.
        source = tf.maximum(places.values - tf.gather(added, places.value_rowids()), 0)
        return prefixed, places.with_values(source)
