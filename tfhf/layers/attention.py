"""Multi-head attention and its masks (Vaswani et al., 2017)."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfhf.layers.checks import require
from tfhf.layers.core import Block, Dense
from tfhf.layers.rotary import Rotation, rotate


def attention_bias(
    attention_mask: tf.Tensor | None,
    *,
    causal: bool = False,
    window: int | None = None,
    length: tf.Tensor | int | None = None,
) -> tf.Tensor | None:
    """Turn a mask into what is added to attention scores: 0 if seen, the lowest float if not.

    Args:
        attention_mask: [batch, key] or [batch, query, key], 1 for what is seen; or ``None``.
        causal: whether a token sees only itself and those before it.
        window: how many tokens before and after itself a token sees; default: all.
        length: number of keys, and of queries; needed with ``causal`` and ``window``.

    Returns:
        float32 [batch, 1, 1, key] or [batch, 1, query, key], or ``None`` where all is seen.

    Raises:
        ValueError: the mask has another rank.
        tf.errors.InvalidArgumentError: the mask is not for ``length`` keys.

    Example:
        >>> attention_bias(tf.constant([[1, 0]])).shape
        TensorShape([1, 1, 1, 2])
    """
    seen = None
    if attention_mask is not None:
        rank = attention_mask.shape.rank
        if rank not in (2, 3):
            raise ValueError(
                "attention_mask must be [batch, length] or [batch, query, key], "
                f"but its shape is {tuple(attention_mask.shape)}"
            )
        if length is not None:
            same = tf.equal(tf.shape(attention_mask)[-1], length)
            message = ["attention_mask must have", length, "as its last size, but its shape is"]
            message += [tf.shape(attention_mask)]
            attention_mask = require(same, message, attention_mask)
        seen = tf.cast(attention_mask, tf.bool)
        seen = seen[:, None, None, :] if rank == 2 else seen[:, None, :, :]
    if causal or window is not None:
        positions = tf.range(length)
        ahead = positions[None, :] - positions[:, None]
        near = ahead <= (0 if causal else window)
        if window is not None:
            near &= ahead >= -window
        seen = near[None, None] if seen is None else seen & near
    return None if seen is None else tf.where(seen, 0.0, tf.float32.min)


class MultiHeadAttention(Block):
    """Scaled dot-product attention over several heads, queries, keys and values in one product.

    Reference: ``BertSelfAttention`` followed by the dense layer of ``BertSelfOutput``.
    """

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        dropout: float = 0.0,
        stddev: float = 0.02,
        use_bias: bool = True,
        cross_attention: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if hidden_size % num_heads:
            raise ValueError(
                f"hidden_size must be a multiple of the number of attention heads, "
                f"but {hidden_size} is not a multiple of {num_heads}"
            )
        self.num_heads = num_heads
        self.head_size = hidden_size // num_heads
        self.cross_attention = cross_attention
        options = {"stddev": stddev, "use_bias": use_bias, "dtype": self.dtype_policy}
        if cross_attention:
            self.query = Dense(hidden_size, hidden_size, name="query", **options)
            self.key_value = Dense(hidden_size, 2 * hidden_size, name="key_value", **options)
        else:
            self.qkv = Dense(hidden_size, 3 * hidden_size, name="qkv", **options)
        self.out = Dense(hidden_size, hidden_size, name="out", **options)
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def split_heads(self, x: tf.Tensor, parts: int) -> list[tf.Tensor]:
        """Split [batch, length, parts * hidden_size] into tensors [batch, heads, length, size]."""
        shape = tf.shape(x)
        x = tf.reshape(x, [shape[0], shape[1], parts, self.num_heads, self.head_size])
        return tf.unstack(tf.transpose(x, [2, 0, 3, 1, 4]), num=parts)

    def join_heads(self, x: tf.Tensor) -> tf.Tensor:
        """Turn [batch, heads, length, size] into [batch, length, hidden_size]."""
        x = tf.transpose(x, [0, 2, 1, 3])
        shape = tf.shape(x)
        return tf.reshape(x, [shape[0], shape[1], self.num_heads * self.head_size])

    def call(
        self,
        hidden_states: tf.Tensor,
        bias: tf.Tensor | None = None,
        key_value_states: tf.Tensor | None = None,
        head_mask: tf.Tensor | None = None,
        rotation: Rotation | None = None,
        training: bool = False,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Attend from [batch, query, hidden_size] to itself or to ``key_value_states``.

        ``rotation`` turns queries and keys by their positions: see `rotary_angles`.

        Returns:
            The mixed values [batch, query, hidden_size]; the weights [batch, heads, query, key].
        """
        if self.cross_attention:
            (query,) = self.split_heads(self.query(hidden_states), 1)
            key, value = self.split_heads(self.key_value(key_value_states), 2)
        else:
            query, key, value = self.split_heads(self.qkv(hidden_states), 3)
        if rotation is not None:
            query, key = rotate(query, rotation), rotate(key, rotation)
        mixed, weights = self.attend(query, key, value, bias, head_mask, training)
        return self.out(mixed), weights

    def attend(
        self,
        query: tf.Tensor,
        key: tf.Tensor,
        value: tf.Tensor,
        bias: tf.Tensor | None,
        head_mask: tf.Tensor | None,
        training: bool,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Mix values, all [batch, heads, length, size], into [batch, query, hidden_size]."""
        scores = tf.matmul(query * self.head_size**-0.5, key, transpose_b=True)
        scores = tf.cast(scores, tf.float32)
        if bias is not None:
            scores += bias
        weights = tf.cast(tf.nn.softmax(scores), value.dtype)
        weights = self.dropout(weights, training=training)
        if head_mask is not None:
            weights *= tf.cast(head_mask, weights.dtype)
        return self.join_heads(tf.matmul(weights, value)), weights
