"""Rewriting text in steps, and where the characters of the result come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import tensorflow as tf


class Rewriter(Protocol):
    """What rewrites a vector of valid UTF-8 strings."""

    def __call__(self, text: tf.Tensor) -> tf.Tensor:
        """Rewrite `text`."""

    def with_source(self, text: tf.Tensor) -> tuple[tf.Tensor, tf.RaggedTensor]:
        """Rewrite `text`, and say where the characters of the new text come from.

        Returns:
            The new text, and int32 [n, (characters)]: the place in `text` of the character that the
            `tokenizers` library sees behind each new one.
        """


class Steps(tf.Module):
    """Rewrites text in several steps, at least one."""

    def __init__(self, steps: Sequence[Rewriter]) -> None:
        super().__init__()
        self._steps = steps

    def __call__(self, text: tf.Tensor) -> tf.Tensor:
        """Rewrite `text`, a vector of valid UTF-8 strings."""
        for step in self._steps:
            text = step(text)
        return text

    def with_source(self, text: tf.Tensor) -> tuple[tf.Tensor, tf.RaggedTensor]:
        """Rewrite `text`, and say where characters come from, as `Rewriter` does."""
        first, *others = self._steps
        text, source = first.with_source(text)
        for step in others:
            text, places = step.with_source(text)
            source = places.with_values(look_up(source, places.value_rowids(), places.values))
        return text, source


def look_up(source: tf.RaggedTensor, rows: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """Give the sources of the characters at int32 `places` of `rows`.

    Example:
        >>> source = tf.ragged.constant([[0, 0, 1], [4]], tf.int32)
        >>> look_up(source, tf.constant([0, 1]), tf.constant([2, 0])).numpy().tolist()
        [1, 4]
    """
    first = tf.cast(tf.gather(source.row_starts(), rows), tf.int32)
    return tf.gather(source.values, first + places)
