"""What one replica of a ``tf.distribute`` strategy must know of the others.

A loss is a mean over the global batch, of which a replica sees a part: its divisor is a sum over
all replicas.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import tensorflow as tf

_recorded: ContextVar[list[tf.Tensor] | None] = ContextVar("_recorded", default=None)
_known: ContextVar[Iterator[tf.Tensor] | None] = ContextVar("_known", default=None)


def replica_sum(value: tf.Tensor) -> tf.Tensor:
    """Return the sum of a tensor over all replicas; outside ``strategy.run``, the tensor itself.

    Example:
        >>> float(replica_sum(tf.constant(3.0)))
        3.0
    """
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return value
    known = _known.get()
    if known is not None:
        return next(known)
    total = context.all_reduce(tf.distribute.ReduceOp.SUM, value)
    recorded = _recorded.get()
    if recorded is not None:
        recorded.append(total)
    return total


@contextlib.contextmanager
def recorded_sums() -> Iterator[list[tf.Tensor]]:
    """Collect what :func:`replica_sum` returns within, in order."""
    sums: list[tf.Tensor] = []
    token = _recorded.set(sums)
    try:
        yield sums
    finally:
        _recorded.reset(token)


@contextlib.contextmanager
def known_sums(sums: list[tf.Tensor]) -> Iterator[None]:
    """Let :func:`replica_sum` return these, in order: XLA cannot ask other replicas itself."""
    token = _known.set(iter(sums))
    try:
        yield
    finally:
        _known.reset(token)


def weighted_mean(values: tf.Tensor, weights: tf.Tensor | None = None) -> tf.Tensor:
    """Return a replica's share of the mean over the global batch: the shares add up to the mean.

    Without a strategy the share is the whole. Where all weights are 0, the mean is 0.

    Args:
        values: of any shape.
        weights: how much each counts; ``None``: all the same.

    Example:
        >>> float(weighted_mean(tf.constant([1.0, 2.0, 9.0]), tf.constant([1.0, 1.0, 0.0])))
        1.5
    """
    if weights is None:
        weights = tf.ones_like(values)
    total = replica_sum(tf.reduce_sum(weights))
    return tf.math.divide_no_nan(tf.reduce_sum(values * weights), total)
