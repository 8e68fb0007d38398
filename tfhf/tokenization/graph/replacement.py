"""Regular expressions of RE2, TensorFlow's engine, in vectors of strings."""

from __future__ import annotations

import re

import tensorflow as tf

# The White_Space property of Unicode, which has not changed since 2013, as RE2 writes it.
WHITE_SPACE = (
    r"[\t-\r \x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}]"
)

# Valid UTF-8 never holds this byte, so it can part matches from text.
MARK = b"\xff"


def escape(text: str) -> str:
    """Write text as a regular expression of RE2."""
    return "".join(f"\\x{{{ord(character):x}}}" for character in text)


def split_at(text: tf.Tensor, pattern: str) -> tf.RaggedTensor:
    """Split texts at the matches of a pattern, and keep these.

    Args:
        text: a vector of n valid UTF-8 strings.
        pattern: matches at least one character.

    Returns:
        Strings [n, (pieces)]: text, match, text, ..., match, text. The texts may be empty.

    Example:
        >>> split_at(tf.constant(["a--b-", ""]), "-+").to_list()
        [[b'a', b'--', b'b', b'-', b''], [b'']]
    """
    marked = tf.strings.regex_replace(text, f"({pattern})", MARK + rb"\1" + MARK)
    return tf.strings.split(marked, MARK)


def is_match(pieces: tf.RaggedTensor) -> tf.Tensor:
    """Say of the pieces of `split_at` in a row which of them are matches."""
    return positions(pieces) % 2 == 1


def positions(pieces: tf.RaggedTensor) -> tf.Tensor:
    """Give the position of each piece in its row."""
    places = tf.range(tf.size(pieces.values, tf.int64))
    return places - tf.gather(pieces.row_splits, pieces.value_rowids())


class Replacement(tf.Module):
    r"""Replaces what matches a pattern.

    Args:
        pattern: one of RE2. Each match has at least one character and, where there is a group, one
            character in it.
        new: the new text, in which `\1` is the group and `\\` a backslash.

    Example:
        >>> one_space = Replacement(" {2,}", " ")
        >>> text, source = one_space.with_source(tf.constant(["a   b"]))
        >>> text.numpy().tolist(), source.to_list()
        ([b'a b'], [[0, 3, 4]])
    """

    def __init__(self, pattern: str, new: str) -> None:
        super().__init__()
        self._pattern, self._new = pattern, new
        self._new_length = len(re.sub(r"\\.", "?", new))

    def __call__(self, text: tf.Tensor) -> tf.Tensor:
        """Replace in `text`, a vector of strings."""
        return tf.strings.regex_replace(text, self._pattern, self._new)

    def with_source(self, text: tf.Tensor) -> tuple[tf.Tensor, tf.RaggedTensor]:
        """Replace in `text`, and say where characters come from, as `Rewriter` does."""
        pieces = split_at(text, self._pattern)
        matches = is_match(pieces)
        lengths = tf.strings.length(pieces.values, "UTF8_CHAR")
        ends = tf.cumsum(lengths)
        row_starts = tf.gather(tf.concat([[0], ends], axis=0), pieces.row_starts())
        ends -= tf.gather(row_starts, pieces.value_rowids())
        places = tf.ragged.range(tf.where(matches, self._new_length, lengths))
        # The library takes the last character of a match for the source of all new ones.
        first, step = tf.where(matches, ends - 1, ends - lengths), tf.where(matches, 0, 1)
        piece = places.value_rowids()
        source = tf.gather(first, piece) + tf.gather(step, piece) * places.values
        return self(text), pieces.with_values(places.with_values(source)).merge_dims(1, 2)
