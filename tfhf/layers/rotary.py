"""Rotary position embeddings: vectors turned by their positions (Su et al., 2021).

https://arxiv.org/abs/2104.09864. The product of a turned query and a turned key depends on how far
apart they are, not on where.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf


class Rotation(NamedTuple):
    """What turns vectors: float32 [batch or 1, 1, length, head_size] each."""

    cos: tf.Tensor
    sin: tf.Tensor


def rotary_angles(
    position_ids: tf.Tensor, head_size: int, rope_parameters: Mapping[str, Any]
) -> Rotation:
    """Return the rotation of every position.

    Args:
        position_ids: int [batch or 1, length].
        head_size: size of a head's vectors; even.
        rope_parameters: as configurations have them: ``rope_type`` and ``rope_theta``, the base of
            the wavelengths, which reach from 2π to nearly 2π·theta positions.

    Raises:
        ValueError: ``rope_type`` is not "default", or ``head_size`` is odd.

    Example:
        >>> angles = rotary_angles(tf.constant([[0, 1]]), 2, {"rope_theta": 10000.0})
        >>> angles.cos[0, 0].numpy().round(3).tolist()
        [[1.0, 1.0], [0.5400000214576721, 0.5400000214576721]]
    """
    kind = rope_parameters.get("rope_type", "default")
    if kind != "default":
        raise ValueError(f'rope_type must be "default", not {kind!r}')
    if head_size % 2:
        raise ValueError(f"head_size must be even for rotary positions, not {head_size}")
    # Rounded to float32 where PyTorch rounds: far positions multiply what differs here.
    exponents = np.arange(0, head_size, 2, dtype=np.float32) / np.float32(head_size)
    wavelengths = np.power(rope_parameters["rope_theta"], exponents, dtype=np.float64)
    frequencies = np.float32(1.0) / wavelengths.astype(np.float32)
    angles = tf.cast(position_ids, tf.float32)[:, None, :, None] * frequencies
    angles = tf.concat([angles, angles], axis=-1)
    return Rotation(tf.cos(angles), tf.sin(angles))


def rotate(x: tf.Tensor, rotation: Rotation) -> tf.Tensor:
    """Turn vectors [batch, heads, length, head_size]: number i of the first half with number i of
    the second.

    Example:
        >>> quarter = Rotation(tf.constant([0.0, 0.0]), tf.constant([1.0, 1.0]))
        >>> rotate(tf.constant([3.0, 4.0]), quarter).numpy().tolist()
        [-4.0, 3.0]
    """
    exact = tf.cast(x, tf.float32)
    first, second = tf.split(exact, 2, axis=-1)
    turned = tf.concat([-second, first], axis=-1)
    return tf.cast(exact * rotation.cos + turned * rotation.sin, x.dtype)
