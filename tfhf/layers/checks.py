"""Checks of tensors: an error that names what is wrong, before it becomes a wrong number.

What is known when a graph is traced raises ValueError there. What only a batch can show raises
``tf.errors.InvalidArgumentError``, on every device; XLA leaves such checks out.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def require(condition: tf.Tensor, message: list[Any], tensor: tf.Tensor) -> tf.Tensor:
    """Return ``tensor``, which exists only where ``condition`` holds.

    Use the result: nothing that is computed from it can fail first, with a worse message.

    Args:
        condition: a boolean scalar.
        message: texts and tensors that the error shows.
        tensor: what is returned.

    Raises:
        tf.errors.InvalidArgumentError: the condition does not hold.

    Example:
        >>> lengths = tf.constant([3, 5])
        >>> int(require(tf.reduce_all(lengths > 0), ["lengths are", lengths], lengths)[0])
        3
    """
    if tf.executing_eagerly():
        if not condition:
            parts = [str(part.numpy()) if tf.is_tensor(part) else str(part) for part in message]
            raise tf.errors.InvalidArgumentError(None, None, " ".join(parts))
        return tensor
    with tf.control_dependencies([tf.debugging.Assert(condition, message)]):
        return tf.identity(tensor)


def require_range(values: tf.Tensor, size: tf.Tensor | int, argument: str) -> tf.Tensor:
    """Return integer ``values``, all of which are 0 to ``size`` - 1.

    Raises:
        tf.errors.InvalidArgumentError: a value is not.
    """
    message = [f"{argument} must be 0 to", size - 1, "but they reach from"]
    message += [tf.reduce_min(values), "to", tf.reduce_max(values)]
    return require(tf.reduce_all((values >= 0) & (values < size)), message, values)


def require_mask(mask: tf.Tensor, argument: str, shape: tf.Tensor) -> tf.Tensor:
    """Return ``mask``, which is [batch, length], as int32.

    Args:
        mask: integers, floats or booleans.
        argument: its name in messages.
        shape: int [2], batch and length.

    Raises:
        ValueError: it has another rank.
        tf.errors.InvalidArgumentError: it has another shape.
    """
    if mask.shape.rank != 2:
        raise ValueError(f"{argument} must be [batch, length], but its shape is {mask.shape}")
    message = [f"{argument} must be [batch, length] =", shape, "but its shape is", tf.shape(mask)]
    return tf.cast(require(tf.reduce_all(tf.shape(mask) == shape), message, mask), tf.int32)


def require_sequence(
    tensor: tf.Tensor, argument: str, *, vector_size: int | None = None, max_length: int | None
) -> tf.Tensor:
    """Return ids [batch, length], or vectors [batch, length, vector_size], that are short enough.

    Args:
        tensor: ids where ``vector_size`` is ``None``, else vectors.
        argument: its name in messages.
        vector_size: size of the vectors.
        max_length: the longest sequence that the model has positions for; ``None``: no limit.

    Raises:
        ValueError: another rank, ids that are no integers, vectors of another size, too long.
        tf.errors.InvalidArgumentError: the same, where the shape was unknown at tracing.
    """
    shape = [None, None] if vector_size is None else [None, None, vector_size]
    axes = "[batch, length]" if vector_size is None else f"[batch, length, {vector_size}]"
    if vector_size is None and not tensor.dtype.is_integer:
        raise ValueError(f"{argument} must be integers, but their type is {tensor.dtype.name}")
    if not tensor.shape.is_compatible_with(shape):
        raise ValueError(f"{argument} must be {axes}, but its shape is {tensor.shape}")
    if tensor.shape.rank is None:
        message = [f"{argument} must be {axes}, but its shape is", tf.shape(tensor)]
        tensor = require(tf.equal(tf.rank(tensor), len(shape)), message, tensor)
        tensor.set_shape(shape)
    if max_length is None:
        return tensor
    length = tensor.shape[1]
    if length is None:
        message = [f"{argument} must not be longer than max_position_embeddings = {max_length}"]
        message += ["but its shape is", tf.shape(tensor)]
        return require(tf.shape(tensor)[1] <= max_length, message, tensor)
    if length > max_length:
        raise ValueError(
            f"{argument} has {length} positions (shape {tensor.shape}), but the model has "
            f"max_position_embeddings = {max_length}: tokenize with truncation=True, "
            f"max_length={max_length}"
        )
    return tensor
