"""Positions as waves, and relative positions in buckets that widen with the distance.

The buckets are T5's, which MPNet has too (Raffel et al., 2020), and those of DeBERTa v2 (He et al.,
2020).
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def sinusoidal_positions(position_ids: tf.Tensor, size: int) -> tf.Tensor:
    """Return sines, then cosines, of positions in wavelengths from 2π to 20,000π.

    Args:
        position_ids: int [batch or 1, length].
        size: of the vectors.

    Returns:
        float32 [batch or 1, length, size].

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762; as in CTRL, sines come first.

    Example:
        >>> sinusoidal_positions(tf.constant([[0]]), 4).numpy().tolist()
        [[[0.0, 0.0, 1.0, 1.0]]]
    """
    exponents = np.arange(0, size, 2, dtype=np.float32) / np.float32(size)
    frequencies = np.float32(1.0) / np.power(np.float32(10000.0), exponents)
    angles = tf.cast(position_ids, tf.float32)[..., None] * frequencies
    return tf.concat([tf.sin(angles), tf.cos(angles[..., : size // 2])], axis=-1)


def relative_position_buckets(
    length: tf.Tensor | int, *, num_buckets: int, max_distance: int
) -> tf.Tensor:
    """Return the bucket of every key, seen from every query.

    Half of the buckets are for keys up to the query, half for keys after it. Half of each half are
    single distances; the others grow evenly in logarithm until ``max_distance``, and the last one
    takes all that is farther.

    Args:
        length: number of queries, and of keys.
        num_buckets: number of buckets, a multiple of 4.
        max_distance: where the last bucket's logarithmic range ends.

    Returns:
        int32 [query, key].

    Example:
        >>> relative_position_buckets(3, num_buckets=32, max_distance=128).numpy().tolist()
        [[0, 17, 18], [1, 0, 17], [2, 1, 0]]
    """
    half = num_buckets // 2
    exact = half // 2
    # Limits that are whole numbers must not miss by a rounding: a logarithm in float32 may.
    steps = np.arange(1, half - exact) / (half - exact)
    limits = np.round(exact * (max_distance / exact) ** steps, decimals=9)
    distances = np.arange(max_distance)
    far = exact + np.searchsorted(limits, distances, side="right")
    buckets = tf.constant(np.where(distances < exact, distances, far), tf.int32)
    positions = tf.range(length)
    offsets = positions[None, :] - positions[:, None]
    near = tf.minimum(tf.abs(offsets), max_distance - 1)
    return tf.gather(buckets, near) + tf.where(offsets > 0, half, 0)


def signed_position_buckets(
    offsets: tf.Tensor, *, num_buckets: int, max_distance: int
) -> tf.Tensor:
    """Return the bucket of every offset: the offset itself where it is small.

    Distances up to ``num_buckets // 2`` keep their value; beyond, buckets grow evenly in logarithm
    until ``max_distance``, and the last one, ±``num_buckets``, takes all that is farther.

    Args:
        offsets: integers, query position - key position.
        num_buckets: number of buckets to one side, at least 4.
        max_distance: the logarithmic range ends just before it.

    Returns:
        int32, of the same shape.

    Raises:
        ValueError: there are too few buckets, or no distances for those beyond the first half.

    Example:
        >>> offsets = tf.constant([-20, -3, 0, 4, 5, 6, 10])
        >>> signed_position_buckets(offsets, num_buckets=8, max_distance=12).numpy().tolist()
        [-8, -3, 0, 4, 5, 6, 7]
    """
    exact = num_buckets // 2
    if exact < 2 or max_distance <= exact + 1:
        raise ValueError(
            "num_buckets must be at least 4, and max_distance more than num_buckets // 2 + 1, but "
            f"they are {num_buckets} and {max_distance}"
        )
    # Where each bucket after the exact ones starts. As above, whole numbers are to stay whole.
    steps = np.arange(num_buckets - exact) / (exact - 1)
    last = np.round(exact * ((max_distance - 1) / exact) ** steps, decimals=9)
    distances = tf.abs(offsets)
    passed = distances[..., None] > tf.constant(np.floor(last), distances.dtype)
    buckets = tf.minimum(tf.cast(distances, tf.int32), exact)
    buckets += tf.reduce_sum(tf.cast(passed, tf.int32), axis=-1)
    return tf.sign(tf.cast(offsets, tf.int32)) * buckets
