"""Weight matrices laid out anew for products with few rows: those of a loop that writes tokens.

A product with few rows has to read the whole matrix, and on a CPU oneDNN reads one that lies row by
row in small pieces, far from one another. Of columns that lie together, a few dozen at a time, it
reads half as fast again (docs/performance.md). The layout costs a copy of each matrix, and as much
time as four or five tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import keras
import tensorflow as tf


class _Packing(NamedTuple):
    """The graph that lays matrices out, and what it made of them, by their identity."""

    graph: tf.Graph
    blocks: dict[int, tf.Tensor]


_packing: ContextVar[_Packing | None] = ContextVar("packing", default=None)


@contextmanager
def packing() -> Iterator[None]:
    """Have each matrix that :func:`product` reads laid out once, in the present graph.

    It is for a loop of that graph: the matrices that its body reads, and no others, are laid out
    before the loop begins.

    Example:
        >>> matrix = keras.Variable(tf.ones([2, 2]))
        >>> @tf.function
        ... def power(x):
        ...     with packing():
        ...         _, x = tf.while_loop(
        ...             lambda i, x: i < 3, lambda i, x: (i + 1, product(x, matrix)), (0, x)
        ...         )
        ...     return x
        >>> power(tf.constant([[1.0, 0.0]])).numpy().tolist()
        [[4.0, 4.0]]
    """
    token = _packing.set(_Packing(tf.compat.v1.get_default_graph(), {}))
    try:
        yield
    finally:
        _packing.reset(token)


def is_packing() -> bool:
    """Whether matrices are laid out anew for what is traced now."""
    return _packing.get() is not None


def product(x: tf.Tensor, matrix: keras.Variable | tf.Tensor, transpose: bool = False) -> tf.Tensor:
    """Return ``x`` [rows, size] times ``matrix`` [size, columns].

    With ``transpose``, the matrix is [columns, size].
    """
    packing = _packing.get()
    if packing is None or not isinstance(matrix, keras.Variable):
        return tf.matmul(x, tf.cast(matrix, x.dtype), transpose_b=transpose)
    if id(matrix) not in packing.blocks:
        with packing.graph.as_default(), tf.control_dependencies(None):
            value = tf.cast(tf.convert_to_tensor(matrix), x.dtype)
            packing.blocks[id(matrix)] = _in_blocks(tf.transpose(value) if transpose else value)
    blocks = packing.blocks[id(matrix)]
    y = tf.transpose(tf.matmul(x[None], blocks), [1, 0, 2])
    y = tf.reshape(y, [-1, blocks.shape[0] * blocks.shape[2]])
    columns = matrix.shape[0 if transpose else 1]
    return y if y.shape[1] == columns else y[:, :columns]


def _in_blocks(matrix: tf.Tensor) -> tf.Tensor:
    """Return [size, columns] as [blocks, size, columns of a block], filled up with zeros."""
    size, columns = matrix.shape
    width = 48 if matrix.dtype == tf.float32 else 64
    matrix = tf.pad(matrix, [[0, 0], [0, -columns % width]])
    return tf.transpose(tf.reshape(matrix, [size, -1, width]), [1, 0, 2])
