"""Words that begin with "▁", which SentencePiece writes for a space."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfhf.tokenization.graph.added_tokens import MARK, WHITE_SPACE
from tfhf.tokenization.graph.errors import UnsupportedTokenizerError

SPACE = "▁"  # U+2581


class MetaspaceSplitter(tf.Module):
    """Splits text into words that begin with "▁".

    Args:
        spec: the `pre_tokenizer` entry of a tokenizer.json.

    Raises:
        UnsupportedTokenizerError: if it is neither `Metaspace`, which takes a space for "▁" and
            puts one before the text, nor that after `WhitespaceSplit`.

    Example:
        >>> metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"}
        >>> split = MetaspaceSplitter({**metaspace, "split": True})
        >>> [word.decode() for word in split(tf.constant(["a  b"])).values.numpy()]
        ['', '▁a', '▁', '▁b']
    """

    def __init__(self, spec: dict[str, Any]) -> None:
        super().__init__()
        steps = spec["pretokenizers"] if spec["type"] == "Sequence" else [spec]
        kinds = [step["type"] for step in steps]
        self._any_white_space = kinds == ["WhitespaceSplit", "Metaspace"]
        if kinds != ["Metaspace"] and not self._any_white_space:
            raise UnsupportedTokenizerError(
                "pre_tokenizer", " and ".join(kinds), "Metaspace, after WhitespaceSplit or not"
            )
        for name, expected in (
            ("replacement", SPACE),
            ("prepend_scheme", "always"),
            ("split", True),
        ):
            if steps[-1][name] != expected:
                found = repr(steps[-1][name])
                raise UnsupportedTokenizerError(f"Metaspace's {name}", found, repr(expected))

    def __call__(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Split `text`, a vector of n strings, into words [n, (words)]; some may be empty."""
        if self._any_white_space:
            text = tf.strings.regex_replace(text, f"{WHITE_SPACE}+$", "")
            text = tf.strings.regex_replace(text, f"{WHITE_SPACE}+{SPACE}?", SPACE)
        else:
            text = tf.strings.regex_replace(text, " ", SPACE)
        text = tf.strings.regex_replace(text, f"^([^{SPACE}])", rf"{SPACE}\1")
        marked = tf.strings.regex_replace(text, SPACE, MARK + SPACE.encode())
        return tf.strings.split(marked, MARK)
