"""Rotary position embeddings: vectors turned by their positions (Su et al., 2021).

https://arxiv.org/abs/2104.09864. The product of a turned query and a turned key depends on how far
apart they are, not on where.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf


class Rotation(NamedTuple):
    """What turns vectors: float32 [batch or 1, 1, length, rotary_size] each."""

    cos: tf.Tensor
    sin: tf.Tensor


class InterleavedRotation(Rotation):
    """A rotation of neighbours, not of numbers from two halves.

    This is told by the type, for Keras takes no tuple of tensors and other things.
    """


def rotary_angles(
    position_ids: tf.Tensor,
    head_size: int,
    rope_parameters: Mapping[str, Any],
    max_positions: int,
    *,
    interleaved: bool = False,
) -> Rotation:
    """Return the rotation of every position.

    Args:
        position_ids: int [batch or 1, length].
        head_size: size of a head's vectors.
        rope_parameters: as configurations have them: ``rope_theta``, the base of the wavelengths,
            which reach from 2π to nearly 2π·theta positions; ``partial_rotary_factor``, the part of
            a vector that is turned, its first one; ``rope_type``, how the wavelengths are stretched
            for long texts, and what that takes.
        max_positions: number of positions that the model is made for.
        interleaved: whether neighbours are turned together, not numbers of two halves (GPT-J).

    Raises:
        ValueError: ``rope_type`` is unknown, or ``head_size`` is odd.

    Reference: ``transformers.modeling_rope_utils``. There, "dynamic" keeps the wavelengths of the
    longest text so far; here they depend on nothing but this text, or this batch of texts.

    Example:
        >>> angles = rotary_angles(tf.constant([[0, 1]]), 2, {"rope_theta": 10000.0}, 2)
        >>> angles.cos[0, 0].numpy().round(3).tolist()
        [[1.0, 1.0], [0.5400000214576721, 0.5400000214576721]]
    """
    kind = rope_parameters.get("rope_type", "default")
    if kind not in FREQUENCIES:
        raise ValueError(f"rope_type must be one of {sorted(FREQUENCIES)}, not {kind!r}")
    size = int(head_size * rope_parameters.get("partial_rotary_factor", 1.0))
    if size == head_size and size % 2:
        raise ValueError(f"head_size must be even for rotary positions, not {head_size}")
    frequencies = FREQUENCIES[kind](rope_parameters, size, max_positions, position_ids)
    angles = tf.cast(position_ids, tf.float32)[:, None, :, None] * frequencies
    angles = tf.repeat(angles, 2, -1) if interleaved else tf.concat([angles, angles], axis=-1)
    length = _LENGTHS[kind](rope_parameters, max_positions) if kind in _LENGTHS else 1.0
    rotation_type = InterleavedRotation if interleaved else Rotation
    return rotation_type(tf.cos(angles) * length, tf.sin(angles) * length)


# The frequencies are float32 [size / 2], in radians per position. They are rounded where PyTorch
# rounds: far positions multiply what differs here.


def _exponents(size: int) -> np.ndarray:
    return np.arange(0, size, 2, dtype=np.float32) / np.float32(size)


def _wavelengths(theta: float, size: int) -> np.ndarray:
    """Return how many positions it takes to turn by one radian."""
    return np.power(theta, _exponents(size), dtype=np.float64).astype(np.float32)


def _default(rope: Mapping[str, Any], size: int, *_: Any) -> np.ndarray:
    return np.float32(1.0) / _wavelengths(rope["rope_theta"], size)


def _linear(rope: Mapping[str, Any], size: int, *_: Any) -> np.ndarray:
    return _default(rope, size) / np.float32(rope["factor"])


def _dynamic(
    rope: Mapping[str, Any], size: int, max_positions: int, position_ids: tf.Tensor
) -> tf.Tensor:
    """Stretch long waves more than short ones, and as far as this text is too long."""
    excess = tf.nn.relu(tf.reduce_max(position_ids) + 1 - max_positions)
    stretch = 1.0 + rope["factor"] * tf.cast(excess, tf.float32) / max_positions
    theta = rope["rope_theta"] * stretch ** (size / (size - 2))
    return 1.0 / theta ** _exponents(size)


def _yarn(rope: Mapping[str, Any], size: int, max_positions: int, *_: Any) -> np.ndarray:
    """Stretch long waves only (Peng et al., 2023): https://arxiv.org/abs/2309.00071."""
    theta, original = rope["rope_theta"], rope["original_max_position_embeddings"]

    def index_of(turns: float) -> float:
        return size * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low, high = index_of(rope.get("beta_fast") or 32), index_of(rope.get("beta_slow") or 1)
    if rope.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, size - 1)
    high += 0.001 if low == high else 0.0
    ramp = (np.arange(size // 2, dtype=np.float32) - np.float32(low)) / np.float32(high - low)
    kept = np.float32(1.0) - np.clip(ramp, 0, 1)
    wavelengths = _wavelengths(theta, size)
    stretched = np.float32(1.0) / (np.float32(_factor(rope, max_positions)) * wavelengths)
    return stretched * (np.float32(1.0) - kept) + np.float32(1.0) / wavelengths * kept


def _longrope(
    rope: Mapping[str, Any], size: int, max_positions: int, position_ids: tf.Tensor
) -> tf.Tensor:
    """Stretch each wave by a factor of its own, and another in long texts (Ding et al., 2024).

    https://arxiv.org/abs/2402.13753
    """
    wavelengths = _wavelengths(rope["rope_theta"], size)
    short, long = (
        np.float32(1.0) / (np.array(rope[name], np.float32) * wavelengths)
        for name in ("short_factor", "long_factor")
    )
    is_long = tf.reduce_max(position_ids) >= rope["original_max_position_embeddings"]
    return tf.where(is_long, long, short)


def _llama3(rope: Mapping[str, Any], size: int, *_: Any) -> np.ndarray:
    """Stretch long waves, keep short ones, and blend between: Llama 3.1."""
    frequencies = _default(rope, size)
    turns = rope["original_max_position_embeddings"] * frequencies / np.float32(2 * math.pi)
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    kept = np.clip((turns - low) / (high - low), 0, 1).astype(np.float32)
    return (1 - kept) * frequencies / np.float32(rope["factor"]) + kept * frequencies


FREQUENCIES = {
    "default": _default,
    "dynamic": _dynamic,
    "linear": _linear,
    "llama3": _llama3,
    "longrope": _longrope,
    "yarn": _yarn,
}


# By what factor turned vectors grow.


def _factor(rope: Mapping[str, Any], max_positions: int) -> float:
    factor = rope.get("factor")
    return max_positions / rope["original_max_position_embeddings"] if factor is None else factor


def _yarn_length(rope: Mapping[str, Any], max_positions: int) -> float:
    factor, given = _factor(rope, max_positions), rope.get("attention_factor")
    if given is not None or factor <= 1:
        return 1.0 if given is None else given

    def growth(scale: float) -> float:
        return 0.1 * scale * math.log(factor) + 1.0

    scale, scale_of_all = rope.get("mscale"), rope.get("mscale_all_dim")
    return growth(scale) / growth(scale_of_all) if scale and scale_of_all else growth(1.0)


def _longrope_length(rope: Mapping[str, Any], max_positions: int) -> float:
    factor, given = _factor(rope, max_positions), rope.get("attention_factor")
    if given is not None or factor <= 1:
        return 1.0 if given is None else given
    return math.sqrt(1 + math.log(factor) / math.log(rope["original_max_position_embeddings"]))


_LENGTHS = {"longrope": _longrope_length, "yarn": _yarn_length}


def rotate(x: tf.Tensor, rotation: Rotation) -> tf.Tensor:
    """Turn vectors [batch, heads, length, head_size], or the first ``rotary_size`` of each.

    Number i of the first half is turned with number i of the second, or neighbours are.

    Example:
        >>> quarter = Rotation(tf.constant([0.0, 0.0]), tf.constant([1.0, 1.0]))
        >>> rotate(tf.constant([3.0, 4.0, 5.0]), quarter).numpy().tolist()
        [-4.0, 3.0, 5.0]
    """
    size = rotation.cos.shape[-1]
    if size < x.shape[-1]:
        turned, kept = tf.split(x, [size, -1], axis=-1)
        return tf.concat([rotate(turned, rotation), kept], axis=-1)
    exact = tf.cast(x, tf.float32)
    if isinstance(rotation, InterleavedRotation):
        turned = tf.stack([-exact[..., 1::2], exact[..., ::2]], axis=-1)
        turned = tf.reshape(turned, tf.shape(exact))
    else:
        first, second = tf.split(exact, 2, axis=-1)
        turned = tf.concat([-second, first], axis=-1)
    return tf.cast(exact * rotation.cos + turned * rotation.sin, x.dtype)
