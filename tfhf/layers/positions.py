"""Positions as waves, and relative positions, in buckets that widen with the distance.

The buckets are T5's, which MPNet has too (Raffel et al., 2020), and those of DeBERTa v2 (He et al.,
2020).
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfhf.layers.core import Embedding


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


class SinusoidalPositions(keras.initializers.Initializer):
    """A table of positions, [positions, size]: the waves of `sinusoidal_positions`, more exactly.

    Args:
        interleaved: whether sines are in the even columns, as in DistilBERT, and not before all
            cosines, as in Marian and Pegasus.

    Example:
        >>> print(SinusoidalPositions()((2, 4)).numpy().round(2))
        [[0.   0.   1.   1.  ]
         [0.84 0.01 0.54 1.  ]]
    """

    def __init__(self, *, interleaved: bool = False) -> None:
        self.interleaved = interleaved

    def __call__(self, shape: Any, dtype: Any = None) -> tf.Tensor:
        """Return the table."""
        positions, size = shape
        wavelengths = np.power(10000.0, 2 * (np.arange(size) // 2) / size)
        angles = np.arange(positions)[:, None] / wavelengths
        table = np.where(np.arange(size) % 2 == 0, np.sin(angles), np.cos(angles))
        if not self.interleaved:
            table = np.concatenate([table[:, 0::2], table[:, 1::2]], axis=1)
        return tf.cast(table, dtype or keras.config.floatx())


def relative_position_buckets(
    offsets: tf.Tensor, *, num_buckets: int, max_distance: int, bidirectional: bool = True
) -> tf.Tensor:
    """Return the bucket of every key, seen from its query.

    Half of the buckets are for keys up to the query, half for keys after it; where no key after the
    query is seen, all are for those up to it. Half of each side are single distances; the others
    grow evenly in logarithm until ``max_distance``, and the last one takes all that is farther.

    Args:
        offsets: integers, key position - query position.
        num_buckets: number of buckets, at least 4, or 2 for one side.
        max_distance: where the last bucket's logarithmic range ends.
        bidirectional: whether keys after the query are told from the query itself.

    Returns:
        int32, of the same shape.

    Raises:
        ValueError: there are too few buckets, or no distances for those beyond the first half.

    Reference: ``T5Attention._relative_position_bucket``.

    Example:
        >>> offsets = tf.constant([-100, -1, 0, 1, 2])
        >>> relative_position_buckets(offsets, num_buckets=32, max_distance=128).numpy().tolist()
        [15, 1, 0, 17, 18]
    """
    side = num_buckets // 2 if bidirectional else num_buckets
    exact = side // 2
    if exact < 1 or max_distance <= exact:
        raise ValueError(
            f"num_buckets must be at least {4 if bidirectional else 2}, and max_distance more than "
            f"{exact}, the distances with a bucket each, but they are {num_buckets} and "
            f"{max_distance}"
        )
    # Limits that are whole numbers must not miss by a rounding: a logarithm in float32 may.
    steps = np.arange(1, side - exact) / (side - exact)
    limits = np.round(exact * (max_distance / exact) ** steps, decimals=9)
    distances = np.arange(max_distance + 1)
    far = exact + np.searchsorted(limits, distances, side="right")
    buckets = tf.constant(np.where(distances < exact, distances, far), tf.int32)
    if not bidirectional:
        return tf.gather(buckets, tf.clip_by_value(-offsets, 0, max_distance))
    near = tf.minimum(tf.abs(offsets), max_distance)
    return tf.gather(buckets, near) + tf.where(offsets > 0, side, 0)


class RelativePositionBias(Embedding):
    """What each head adds to the score of a key, by the bucket of its distance from the query.

    Args:
        rows: of the table of buckets.
        num_heads: number of heads.
        max_distance: see `relative_position_buckets`.
        num_buckets: how many are used; default: all.
        bidirectional: whether keys after the query are told from the query itself.
        **kwargs: those of an `Embedding`.

    Reference: ``T5Attention.compute_bias``.

    Example:
        >>> bias = RelativePositionBias(32, 2, max_distance=128)
        >>> bias.between(length=3).shape, bias.between(1, past_length=3, key_length=9).shape
        (TensorShape([1, 2, 3, 3]), TensorShape([1, 2, 1, 9]))
    """

    def __init__(
        self,
        rows: int,
        num_heads: int,
        *,
        max_distance: int,
        num_buckets: int | None = None,
        bidirectional: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(rows, num_heads, ids_name="the bucket of a relative position", **kwargs)
        self.num_buckets = rows if num_buckets is None else num_buckets
        self.max_distance = max_distance
        self.bidirectional = bidirectional

    def between(
        self,
        length: tf.Tensor | int,
        past_length: tf.Tensor | int = 0,
        key_length: tf.Tensor | int | None = None,
    ) -> tf.Tensor:
        """Return what scores get, float32 [1, heads, query, key]; sizes as in `attention_bias`."""
        keys = tf.range(past_length + length if key_length is None else key_length)
        queries = past_length + tf.range(length)
        buckets = relative_position_buckets(
            keys[None] - queries[:, None],
            num_buckets=self.num_buckets,
            max_distance=self.max_distance,
            bidirectional=self.bidirectional,
        )
        bias = self(buckets)
        return tf.cast(tf.transpose(bias, [2, 0, 1])[None], tf.float32)


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
