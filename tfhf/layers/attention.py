"""Multi-head attention and its masks (Vaswani et al., 2017)."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from tfhf.layers.cache import BeamKeyValues, KeyValues, extend
from tfhf.layers.checks import require
from tfhf.layers.core import Block, Dense, Normalization
from tfhf.layers.dropout import Dropout
from tfhf.layers.rotary import Rotation, rotate


def attention_bias(
    attention_mask: tf.Tensor | None,
    *,
    causal: bool = False,
    window: int | None = None,
    length: tf.Tensor | int | None = None,
    past_length: tf.Tensor | int = 0,
    key_length: tf.Tensor | int | None = None,
) -> tf.Tensor | None:
    """Turn a mask into what is added to attention scores: 0 if seen, the lowest float if not.

    Args:
        attention_mask: [batch, key] or [batch, query, key], 1 for what is seen; or ``None``.
        causal: whether a token sees only itself and those before it.
        window: how many tokens before and after itself a token sees; default: all.
        length: number of queries; needed with ``causal`` and ``window``.
        past_length: number of keys before that of the first query.
        key_length: number of keys; default: those of the past and of the queries.

    Returns:
        float32 [batch, 1, 1, key] or [batch, 1, query, key], or ``None`` where all is seen.

    Raises:
        ValueError: the mask has another rank.
        tf.errors.InvalidArgumentError: the mask is not for ``key_length`` keys.

    Example:
        >>> attention_bias(tf.constant([[1, 0]])).shape
        TensorShape([1, 1, 1, 2])
    """
    seen = None
    if length is not None and key_length is None:
        key_length = past_length + length
    if attention_mask is not None:
        rank = attention_mask.shape.rank
        if rank not in (2, 3):
            raise ValueError(
                "attention_mask must be [batch, length] or [batch, query, key], "
                f"but its shape is {tuple(attention_mask.shape)}"
            )
        if key_length is not None:
            same = tf.equal(tf.shape(attention_mask)[-1], key_length)
            message = ["attention_mask must have", key_length, "as its last size, but its shape is"]
            message += [tf.shape(attention_mask)]
            attention_mask = require(same, message, attention_mask)
        seen = tf.cast(attention_mask, tf.bool)
        seen = seen[:, None, None, :] if rank == 2 else seen[:, None, :, :]
    if causal or window is not None:
        ahead = tf.range(key_length)[None, :] - (past_length + tf.range(length))[:, None]
        near = ahead <= (0 if causal else window)
        if window is not None:
            near &= ahead >= -window
        seen = near[None, None] if seen is None else seen & near
    return None if seen is None else tf.where(seen, 0.0, tf.float32.min)


class AttentionOutput(NamedTuple):
    """What attention returns.

    ``mixed`` [batch, query, hidden_size]; ``weights`` [batch, heads, query, key];
    ``past_key_value`` is for the tokens that follow.
    """

    mixed: tf.Tensor
    weights: Any
    past_key_value: KeyValues | None = None


class MultiHeadAttention(Block):
    """Scaled dot-product attention over several heads, queries, keys and values in one product.

    Args:
        hidden_size: size of the states.
        num_heads: number of heads of queries.
        num_kv_heads: number of heads of keys and values, each of which serves as many heads of
            queries (Ainslie et al., 2023, https://arxiv.org/abs/2305.13245); default: as many.
        head_size: size of a head's vectors; default: that of the states, shared among the heads.
        dropout: rate for the weights.
        stddev: of the kernels' first values.
        use_bias: whether queries, keys and values have a bias.
        out_bias: whether what comes out has one; default: as ``use_bias``.
        scaling: factor of the scores; default: 1 / sqrt(head_size).
        softcap: scores become ``softcap * tanh(scores / softcap)`` (Gemma 2).
        query_norm: normalises each head's queries (Qwen 3).
        key_norm: normalises each head's keys.
        cross_attention: whether keys and values come from other states.
        **kwargs: those of a Keras layer.

    Raises:
        ValueError: the heads do not divide the states, or each other.

    Reference: ``BertSelfAttention`` followed by the dense layer of ``BertSelfOutput``;
    ``LlamaAttention``.
    """

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        num_kv_heads: int | None = None,
        head_size: int | None = None,
        dropout: float = 0.0,
        stddev: float = 0.02,
        use_bias: bool = True,
        out_bias: bool | None = None,
        scaling: float | None = None,
        softcap: float | None = None,
        query_norm: Normalization | None = None,
        key_norm: Normalization | None = None,
        cross_attention: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if head_size is None and hidden_size % num_heads:
            raise ValueError(
                f"hidden_size must be a multiple of the number of attention heads, "
                f"but {hidden_size} is not a multiple of {num_heads}"
            )
        self.num_heads = num_heads
        self.num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        if num_heads % self.num_kv_heads:
            raise ValueError(
                f"the number of attention heads must be a multiple of that of key and value heads, "
                f"but {num_heads} is not a multiple of {num_kv_heads}"
            )
        self.head_size = hidden_size // num_heads if head_size is None else head_size
        self.scaling = self.head_size**-0.5 if scaling is None else scaling
        self.softcap = softcap
        self.query_norm, self.key_norm = query_norm, key_norm
        self.cross_attention = cross_attention
        inner_size = num_heads * self.head_size
        kv_size = self.num_kv_heads * self.head_size
        options = {"stddev": stddev, "use_bias": use_bias, "dtype": self.dtype_policy}
        if cross_attention:
            self.query = Dense(hidden_size, inner_size, name="query", **options)
            self.key_value = Dense(hidden_size, (kv_size, kv_size), name="key_value", **options)
        else:
            self.qkv = Dense(hidden_size, (inner_size, kv_size, kv_size), name="qkv", **options)
        options["use_bias"] = use_bias if out_bias is None else out_bias
        self.out = Dense(inner_size, hidden_size, name="out", **options)
        self.dropout = Dropout(dropout, dtype=self.dtype_policy)

    def split_heads(self, x: tf.Tensor, parts: int) -> list[tf.Tensor]:
        """Split [batch, length, parts * size] into ``parts`` [batch, heads, length, head_size]."""
        shape = tf.shape(x)
        heads = x.shape[-1] // (parts * self.head_size)
        if x.shape[1] == 1:  # nothing changes places
            x = tf.reshape(x, [shape[0], parts, heads, 1, self.head_size])
            return tf.unstack(x, num=parts, axis=1)
        x = tf.reshape(x, [shape[0], shape[1], parts, heads, self.head_size])
        return tf.unstack(tf.transpose(x, [2, 0, 3, 1, 4]), num=parts)

    def join_heads(self, x: tf.Tensor) -> tf.Tensor:
        """Turn [batch, heads, length, size] into [batch, length, heads * size]."""
        size = self.num_heads * self.head_size
        if x.shape[2] == 1:
            return tf.reshape(x, [-1, 1, size])
        x = tf.transpose(x, [0, 2, 1, 3])
        shape = tf.shape(x)
        return tf.reshape(x, [shape[0], shape[1], size])

    def call(
        self,
        hidden_states: tf.Tensor,
        bias: tf.Tensor | None = None,
        key_value_states: tf.Tensor | None = None,
        head_mask: tf.Tensor | None = None,
        rotation: Rotation | None = None,
        past_key_value: KeyValues | BeamKeyValues | None = None,
        cache_position: tf.Tensor | None = None,
        num_queries: int | None = None,
        training: bool = False,
    ) -> AttentionOutput:
        """Attend from [batch, query, hidden_size] to itself, or to ``key_value_states``.

        Args:
            hidden_states: what attends.
            bias: what is added to scores: see `attention_bias`.
            key_value_states: [batch, key, hidden_size], for cross-attention.
            head_mask: [1, heads, 1, 1], 0 silences a head.
            rotation: turns queries and keys by their positions: see `rotary_angles`.
            past_key_value: keys and values of the tokens before; in cross-attention, of all
                ``key_value_states``, which are then not needed. Several rows of
                ``hidden_states``, next to each other, may share a row of these, and those of a
                prompt's beams do.
            cache_position: where in ``past_key_value`` there is room for what is new: see
                `extend`.
            num_queries: how many tokens, the first ones, attend; default: all. All are seen.
            training: apply dropout.
        """
        unfolded = None
        is_of_beams = isinstance(past_key_value, BeamKeyValues)
        if past_key_value is not None and (self.cross_attention or is_of_beams):
            # Rows that share keys are read as one, with more queries.
            unfolded = tf.shape(hidden_states)
            rows = tf.shape(past_key_value.key)[0]
            hidden_states = tf.reshape(hidden_states, [rows, -1, hidden_states.shape[-1]])
        if isinstance(past_key_value, BeamKeyValues):
            beams, past_key_value = past_key_value, KeyValues(*past_key_value[:2])
            bias, cache_position = beams.bias(bias), beams.place(cache_position)
            if rotation is not None:
                rotation = tf.nest.map_structure(beams.by_prompt, rotation)
        query, new = self.project(hidden_states, key_value_states, past_key_value)
        if num_queries is not None:
            # Queries that nobody asks cost less than a copy of the kernel without them.
            query = query[:, :, :num_queries]
            bias = None if bias is None else bias[:, :, :num_queries]
        if self.query_norm is not None:
            query = self.query_norm(query)
        if self.key_norm is not None:
            new = new._replace(key=self.key_norm(new.key))
        if rotation is not None:
            query = rotate(query, rotation)
            new = new._replace(key=rotate(new.key, rotation))
        present = new
        if past_key_value is not None and not self.cross_attention:
            present = extend(past_key_value, new, cache_position)
        mixed, weights = self.attend(query, *present, bias, head_mask, training)
        mixed = self.out(mixed)
        if unfolded is not None:
            mixed = tf.reshape(mixed, unfolded)
        return AttentionOutput(mixed, weights, present)

    def project(
        self,
        hidden_states: tf.Tensor,
        key_value_states: tf.Tensor | None,
        past_key_value: KeyValues | None,
    ) -> tuple[tf.Tensor, KeyValues]:
        """Return queries [batch, heads, length, head_size], keys and values likewise."""
        if self.cross_attention:
            (query,) = self.split_heads(self.query(hidden_states), 1)
            if past_key_value is not None:
                return query, past_key_value
            return query, KeyValues(*self.split_heads(self.key_value(key_value_states), 2))
        projected = self.qkv(hidden_states)
        if self.num_kv_heads == self.num_heads:
            query, key, value = self.split_heads(projected, 3)
        else:
            (heads,) = self.split_heads(projected, 1)
            sizes = [self.num_heads, self.num_kv_heads, self.num_kv_heads]
            query, key, value = tf.split(heads, sizes, axis=1)
        return query, KeyValues(key, value)

    def attend(
        self,
        query: tf.Tensor,
        key: tf.Tensor,
        value: tf.Tensor,
        bias: tf.Tensor | None,
        head_mask: tf.Tensor | None,
        training: bool,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Mix values, all [batch, heads, length, size], into [batch, query, heads * size]."""
        shape = tf.shape(query)
        query *= self.scaling
        if self.num_kv_heads != self.num_heads:  # the heads that share a key are rows of one matrix
            query = tf.reshape(query, [shape[0], self.num_kv_heads, -1, self.head_size])
        scores = tf.cast(tf.matmul(query, key, transpose_b=True), tf.float32)
        if self.num_kv_heads != self.num_heads:
            scores = tf.reshape(scores, [shape[0], self.num_heads, shape[2], tf.shape(key)[2]])
        if self.softcap is not None:
            scores = self.softcap * tf.tanh(scores / self.softcap)
        if bias is not None:
            scores += bias
        weights = tf.cast(tf.nn.softmax(scores), value.dtype)
        weights = self.dropout(weights, training=training)
        if head_mask is not None:
            weights *= tf.cast(head_mask, weights.dtype)
        shared = weights
        if self.num_kv_heads != self.num_heads:
            shared = tf.reshape(weights, [shape[0], self.num_kv_heads, -1, tf.shape(key)[2]])
        mixed = tf.matmul(shared, value)
        if self.num_kv_heads != self.num_heads:
            mixed = tf.reshape(mixed, shape)
        return self.join_heads(mixed), weights
