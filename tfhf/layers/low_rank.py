"""LowRankUpdate: what LoRA adds to a dense layer whose own matrix stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfhf.layers.core import Dense
from tfhf.layers.dropout import Dropout


class LowRankUpdate(keras.layers.Layer):
    """``scaling * dropout(x) @ a @ b`` for some parts of a dense layer's output, 0 for the others.

    ``b`` starts as 0, so that a new update changes nothing. Once :meth:`merge` has put it into the
    dense layer's matrix, the layer does not add it any more.

    Source: Hu et al., 2021, https://arxiv.org/abs/2106.09685.

    Args:
        input_size: the dense layer's.
        part_sizes: of the matrices that lie side by side in the dense layer's.
        parts: which of them are updated.
        rank: the size between ``a`` and ``b``.
        scaling: the factor.
        dropout: the share of inputs that are zeroed, anew for each part.
        **kwargs: those of a Keras layer.

    Example:
        >>> update = LowRankUpdate(4, [3, 2], parts=[1], rank=2, scaling=0.5)
        >>> update(tf.ones([1, 4])).numpy().tolist()
        [[0.0, 0.0, 0.0, 0.0, 0.0]]
        >>> [tuple(weight.shape) for weight in update.weights]
        [(4, 2), (2, 2)]
    """

    def __init__(
        self,
        input_size: int,
        part_sizes: Sequence[int],
        *,
        parts: Sequence[int],
        rank: int,
        scaling: float,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.input_size = input_size
        self.part_sizes = tuple(part_sizes)
        self.parts = tuple(parts)
        self.rank = rank
        self.scaling = scaling
        self.merged = False
        self.dropout = Dropout(dropout)
        self.build(None)

    def build(self, input_shape: Any = None) -> None:
        """Create ``a`` [input_size, rank] and ``b`` [rank, size] of each part."""
        limit = self.input_size**-0.5  # PyTorch's first values of a linear layer
        first = keras.initializers.RandomUniform(-limit, limit)
        self.a, self.b = {}, {}
        for part in self.parts:
            size = self.part_sizes[part]
            self.a[part] = self.add_weight((self.input_size, self.rank), first, name=f"a_{part}")
            self.b[part] = self.add_weight((self.rank, size), "zeros", name=f"b_{part}")
        self.built = True

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Map [rows, input_size] to [rows, sum of part_sizes]."""
        updates = []
        for part, size in enumerate(self.part_sizes):
            if part in self.parts:
                x = self.dropout(inputs, training=training)
                x = tf.matmul(tf.matmul(x, self.a[part]), self.b[part])
                updates.append(x * self.scaling)
            else:
                updates.append(tf.zeros([tf.shape(inputs)[0], size], inputs.dtype))
        return tf.concat(updates, axis=1)

    def merge(self, kernel: keras.Variable) -> None:
        """Add the update to the dense layer's matrix [input_size, sum of part_sizes]."""
        if not self.merged:
            self.merged = True
            kernel.assign(kernel + self._change(kernel.dtype))

    def unmerge(self, kernel: keras.Variable) -> None:
        """Take the update out of the matrix again, up to rounding."""
        if self.merged:
            self.merged = False
            kernel.assign(kernel - self._change(kernel.dtype))

    def _change(self, dtype: str) -> tf.Tensor:
        """Return what the update amounts to for the matrix."""
        parts = []
        for part, size in enumerate(self.part_sizes):
            if part in self.parts:
                a, b = (tf.cast(w[part].value, tf.float32) for w in (self.a, self.b))
                parts.append(self.scaling * tf.matmul(a, b))
            else:
                parts.append(tf.zeros([self.input_size, size]))
        return tf.cast(tf.concat(parts, axis=1), dtype)


def updates(model: keras.Model) -> list[tuple[Dense, LowRankUpdate]]:
    """Return the dense layers of a model that have an update, each with it."""
    layers = [layer for layer in model._flatten_layers() if isinstance(layer, Dense)]
    return [(layer, layer.update) for layer in layers if layer.update is not None]
