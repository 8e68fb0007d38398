"""Sliding-window and global attention, in memory linear in the length (Beltagy et al., 2020).

https://arxiv.org/abs/2004.05150. A token sees those up to half a window before and after it, and
the few tokens that are global; global tokens see all, by projections of their own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfhf.layers.attention import AttentionOutput, MultiHeadAttention
from tfhf.layers.checks import require_mask
from tfhf.layers.core import Dense


class WindowMask(NamedTuple):
    """Who sees whom, made once for all layers.

    Args:
        seen: bool [batch, length], false for padding.
        is_global: bool [batch, length].
        positions: int [batch, x], where the global tokens of each row are; x is the most that a
            row has, padding included. ``None``: nothing can be global.
        is_real: bool [batch, x], false where a row has fewer than x.
    """

    seen: tf.Tensor
    is_global: tf.Tensor
    positions: tf.Tensor | None = None
    is_real: tf.Tensor | None = None

    @property
    def is_local(self) -> tf.Tensor:
        """Bool [batch, length], true for tokens that see, and are seen within, a window only."""
        return self.seen & ~self.is_global


class WindowWeights(NamedTuple):
    """Attention weights as they are computed; :func:`window_layout` turns them into rows.

    ``local`` [batch, heads, blocks, half, 3 * half + x]: each block of queries over its three
    blocks of keys and over the global tokens; ``to_all`` [batch, heads, x, length] or ``None``.
    """

    local: tf.Tensor
    to_all: tf.Tensor | None


def window_mask(
    attention_mask: tf.Tensor | None,
    global_attention_mask: tf.Tensor | None,
    shape: tf.Tensor,
    padding: tf.Tensor | int = 0,
) -> WindowMask:
    """Merge the masks of padding and of global attention; padding is never global.

    Args:
        attention_mask: [batch, length], 0 for padding; or ``None``.
        global_attention_mask: [batch, length], 1 for global tokens (-1 is padding); or ``None``.
        shape: int [2], batch and length.
        padding: how many tokens that nobody sees follow those of the masks.

    Raises:
        ValueError: a mask of another rank.
        tf.errors.InvalidArgumentError: a mask of another shape.

    Example:
        >>> mask = window_mask(tf.constant([[1, 1, 0]]), tf.constant([[0, 1, 0]]), [1, 3])
        >>> mask.is_global.numpy().tolist(), mask.positions.numpy().tolist()
        ([[False, True, False]], [[1]])
    """
    added = [[0, 0], [0, padding]]
    mask = tf.ones(shape, tf.int32)
    if attention_mask is not None:
        mask = require_mask(attention_mask, "attention_mask", shape)
    seen = tf.pad(mask, added) > 0
    if global_attention_mask is None:
        return WindowMask(seen, tf.zeros_like(seen))
    marked = tf.pad(require_mask(global_attention_mask, "global_attention_mask", shape), added)
    seen &= marked >= 0
    is_global = seen & (marked > 0)
    # Sizes depend on the global mask alone: where a head makes it, XLA knows them.
    most = tf.reduce_max(tf.reduce_sum(tf.cast(marked > 0, tf.int32), axis=1))
    order = tf.argsort(tf.cast(is_global, tf.int32), direction="DESCENDING", stable=True)
    positions = order[:, :most]
    is_real = tf.gather(is_global, positions, batch_dims=1)
    return WindowMask(seen, is_global, positions, is_real)


def window_layout(
    weights: WindowWeights, mask: WindowMask, length: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Return weights of the first ``length`` tokens as Longformer shows them.

    Returns, with x as the most tokens that are global in a row:
        [batch, heads, length, x + window + 1]: weights on the global tokens, on those of the window
        before a token, on itself and on those after it. And [batch, heads, padded length, x], from
        each global token to all, or ``None`` where nothing could be global.
    """
    shape = tf.shape(weights.local)
    heads, half = weights.local.shape[1], weights.local.shape[3]
    local, to_global = weights.local[..., : 3 * half], weights.local[..., 3 * half :]
    # Row i has its window at i to i + 2 * half: rows longer by one set all windows to the left.
    rows = tf.reshape(local, [shape[0], heads, shape[2], 3 * half * half])
    rows = tf.pad(rows, [[0, 0], [0, 0], [0, 0], [0, half]])
    rows = tf.reshape(rows, [shape[0], heads, shape[2], half, 3 * half + 1])[..., : 2 * half + 1]
    most = tf.reduce_max(tf.reduce_sum(tf.cast(mask.is_global, tf.int32), axis=1))
    rows = tf.concat([to_global[..., :most], rows], axis=-1)
    rows = tf.reshape(rows, [shape[0], heads, shape[2] * half, tf.shape(rows)[-1]])[:, :, :length]
    if weights.to_all is None:
        return rows, None
    return rows, tf.transpose(weights.to_all[:, :, :most], [0, 1, 3, 2])


class SlidingWindowAttention(MultiHeadAttention):
    """Attention of each token to its neighbours and to global tokens.

    Queries come in blocks of half a window, which see their own block of keys and those beside it:
    no tensor is [length, length].
    Reference: ``LongformerSelfAttention`` followed by the dense layer of ``LongformerSelfOutput``.

    Args:
        hidden_size: size of what comes in and goes out.
        num_heads: number of heads.
        window: neighbours that a token sees, half of them before it; even.
        dropout: rate for attention weights.
        stddev: of the kernels' first values.
        **kwargs: those of a Keras layer.

    Raises:
        ValueError: ``window`` is not even, or not positive.
    """

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        window: int,
        dropout: float = 0.0,
        stddev: float = 0.02,
        **kwargs: Any,
    ) -> None:
        super().__init__(hidden_size, num_heads, dropout=dropout, stddev=stddev, **kwargs)
        if window < 2 or window % 2:
            raise ValueError(f"the attention window must be even and positive, not {window}")
        self.half = window // 2
        options = {"stddev": stddev, "dtype": self.dtype_policy}
        self.global_query = Dense(hidden_size, hidden_size, name="global_query", **options)
        self.global_key_value = Dense(
            hidden_size, (hidden_size, hidden_size), name="global_key_value", **options
        )

    def blocks(self, x: tf.Tensor) -> tf.Tensor:
        """Split [batch, heads, length, size] into [batch, heads, blocks, half, size]."""
        return tf.reshape(x, [tf.shape(x)[0], x.shape[1], -1, self.half, x.shape[3]])

    def neighbours(self, x: tf.Tensor) -> tf.Tensor:
        """Return each block between those beside it: [batch, heads, blocks, 3 * half, size]."""
        x = self.blocks(tf.pad(x, [[0, 0], [0, 0], [self.half, self.half], [0, 0]]))
        return tf.concat([x[:, :, :-2], x[:, :, 1:-1], x[:, :, 2:]], axis=3)

    def local_bias(self, mask: WindowMask) -> tf.Tensor:
        """Return what is added to local scores: float32 [batch, 1, blocks, half, 3 * half]."""
        # Global keys are seen on their own, not a second time in the window.
        keys = self.neighbours(tf.cast(mask.is_local, tf.int32)[:, None, :, None]) > 0
        distance = np.arange(3 * self.half) - np.arange(self.half)[:, None]
        band = (distance >= 0) & (distance <= 2 * self.half)
        return tf.where(band & tf.linalg.matrix_transpose(keys), 0.0, tf.float32.min)

    def call(  # type: ignore[override]
        self,
        hidden_states: tf.Tensor,
        bias: WindowMask,
        head_mask: tf.Tensor | None = None,
        training: bool = False,
    ) -> AttentionOutput:
        """Attend within [batch, length, hidden_size]; the length is a multiple of half a window.

        Args:
            hidden_states: what attends and is attended to.
            bias: who sees whom, of :func:`window_mask`.
            head_mask: [1, heads, 1, 1], 0 silences a head.
            training: apply dropout.
        """
        mixed, local = self.attend_nearby(hidden_states, bias, head_mask, training)
        to_all = None
        if bias.positions is not None:
            from_all, to_all = self.attend_to_all(hidden_states, bias, head_mask, training)
            mixed += from_all
        return AttentionOutput(self.out(mixed), WindowWeights(local, to_all))

    def attend_nearby(
        self,
        hidden_states: tf.Tensor,
        mask: WindowMask,
        head_mask: tf.Tensor | None,
        training: bool,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Mix what tokens see in their windows and of global tokens; 0 for global tokens."""
        query, key, value = self.split_heads(self.qkv(hidden_states), 3)
        query = self.blocks(query * self.head_size**-0.5)
        scores = tf.matmul(query, self.neighbours(key), transpose_b=True)
        scores = tf.cast(scores, tf.float32) + self.local_bias(mask)
        if mask.positions is not None:
            global_key = tf.gather(key, mask.positions, axis=2, batch_dims=1)[:, :, None]
            to_global = tf.cast(tf.matmul(query, global_key, transpose_b=True), tf.float32)
            to_global += tf.where(mask.is_real, 0.0, tf.float32.min)[:, None, None, None]
            scores = tf.concat([scores, to_global], axis=-1)
        is_local = self.blocks(mask.is_local[:, None, :, None])
        weights = tf.cast(tf.where(is_local, tf.nn.softmax(scores), 0.0), value.dtype)
        weights = self.dropout(weights, training=training)
        if head_mask is not None:
            weights *= tf.cast(head_mask, weights.dtype)[..., None]
        near = 3 * self.half
        mixed = tf.matmul(weights[..., :near], self.neighbours(value))
        if mask.positions is not None:
            global_value = tf.gather(value, mask.positions, axis=2, batch_dims=1)[:, :, None]
            mixed += tf.matmul(weights[..., near:], global_value)
        return self.join_heads(tf.reshape(mixed, tf.shape(value))), weights

    def attend_to_all(
        self,
        hidden_states: tf.Tensor,
        mask: WindowMask,
        head_mask: tf.Tensor | None,
        training: bool,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Mix what global tokens see, which is all; 0 for other tokens."""
        chosen = tf.gather(hidden_states, mask.positions, batch_dims=1)
        (query,) = self.split_heads(self.global_query(chosen), 1)
        key, value = self.split_heads(self.global_key_value(hidden_states), 2)
        seen = mask.seen[:, None, :] & tf.expand_dims(mask.is_real, 2)
        bias = tf.where(seen, 0.0, tf.float32.min)[:, None]
        mixed, weights = self.attend(query, key, value, bias, head_mask, training)
        # Global tokens are numbered from 1 on; all others take the row of zeros.
        is_global = tf.cast(mask.is_global, tf.int32)
        numbers = tf.cumsum(is_global, axis=1) * is_global
        return tf.gather(tf.pad(mixed, [[0, 0], [1, 0], [0, 0]]), numbers, batch_dims=1), weights
