"""Words that begin with "▁", which SentencePiece writes for a space."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfhf.tokenization.graph.errors import UnsupportedTokenizerError
from tfhf.tokenization.graph.replacement import MARK, WHITE_SPACE, Replacement
from tfhf.tokenization.graph.rewriting import Steps

SPACE = "▁"  # U+2581

NEITHER = WHITE_SPACE.replace("[", f"[^{SPACE}", 1)


class Metaspace(Steps):
    """Writes a "▁" for each space and before each text, or for all white space between words.

    Args:
        spec: the `pre_tokenizer` entry of a tokenizer.json.

    Raises:
        UnsupportedTokenizerError: if it is neither `Metaspace`, which takes a space for "▁" and
            puts one before the text, nor that after `WhitespaceSplit`.

    Example:
        >>> spec = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"}
        >>> metaspace = Metaspace({**spec, "split": True})
        >>> [word.decode() for word in split_words(metaspace(tf.constant(["a  b"])))[0].numpy()]
        ['', '▁a', '▁', '▁b']
    """

    def __init__(self, spec: dict[str, Any]) -> None:
        parts = spec["pretokenizers"] if spec["type"] == "Sequence" else [spec]
        kinds = [part["type"] for part in parts]
        any_white_space = kinds == ["WhitespaceSplit", "Metaspace"]
        if kinds != ["Metaspace"] and not any_white_space:
            raise UnsupportedTokenizerError(
                "pre_tokenizer", " and ".join(kinds), "Metaspace, after WhitespaceSplit or not"
            )
        for name, expected in (
            ("replacement", SPACE),
            ("prepend_scheme", "always"),
            ("split", True),
        ):
            if parts[-1][name] != expected:
                found = repr(parts[-1][name])
                raise UnsupportedTokenizerError(f"Metaspace's {name}", found, repr(expected))
        if any_white_space:
            replacements = {
                f"{WHITE_SPACE}+$": "",
                f"{WHITE_SPACE}+{SPACE}": SPACE,
                f"{WHITE_SPACE}+({NEITHER})": rf"{SPACE}\1",
            }
        else:
            replacements = {" ": SPACE}
        replacements[f"^([^{SPACE}])"] = rf"{SPACE}\1"
        super().__init__([Replacement(old, new) for old, new in replacements.items()])


def split_words(text: tf.Tensor) -> tf.RaggedTensor:
    """Split texts into words [n, (words)] that begin with "▁"; some may be empty."""
    marked = tf.strings.regex_replace(text, SPACE, MARK + SPACE.encode())
    return tf.strings.split(marked, MARK)
