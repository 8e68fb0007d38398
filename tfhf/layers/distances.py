"""Attention by content and by distance, and layers of it: Transformer-XL (Dai et al., 2019).

https://arxiv.org/abs/1901.02860
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfhf.layers.core import Block, Dense, LayerNorm
from tfhf.layers.dropout import Dropout
from tfhf.layers.initializers import Normal


class Distances(keras.layers.Layer):
    """Sines, then cosines, of the distances to what is seen; their wavelengths are 2π to 20000π.

    Args:
        size: of the vectors, an even number.
        **kwargs: ``dtype`` and ``name``.

    Example:
        >>> print(Distances(4)(tf.constant([0.0, 1.0])).numpy().round(2))
        [[0.   0.   1.   1.  ]
         [0.84 0.01 0.54 1.  ]]
    """

    def __init__(self, size: int, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.size = size

    def frequencies_initializer(self, shape: Any, dtype: Any = None) -> tf.Tensor:
        """Return the frequencies [size / 2]."""
        return tf.constant(10000.0 ** (-np.arange(0, self.size, 2) / self.size), dtype)

    def build(self, input_shape: Any = None) -> None:
        """Create ``frequencies``, which checkpoints have though nothing trains them."""
        self.frequencies = self.add_weight(
            name="frequencies",
            shape=(self.size // 2,),
            initializer=self.frequencies_initializer,
            trainable=False,
            dtype="float32",
        )
        self.built = True

    def call(self, distances: tf.Tensor) -> tf.Tensor:
        """Map float32 [keys] to [keys, size]."""
        angles = distances[:, None] * tf.convert_to_tensor(self.frequencies)[None]
        vectors = tf.concat([tf.sin(angles), tf.cos(angles)], axis=-1)
        return tf.cast(vectors, self.compute_dtype)


class QueryBiases(keras.layers.Layer):
    """What is added to queries that meet contents, and to those that meet distances."""

    def __init__(self, num_heads: int, head_size: int, *, stddev: float, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.bias_shape = (num_heads, head_size)
        self.content_initializer = self.position_initializer = Normal(stddev)

    def build(self, input_shape: Any = None) -> None:
        """Create ``content`` and ``position``, both [heads, head_size]."""
        self.content, self.position = (
            self.add_weight(name=name, shape=self.bias_shape, initializer=self.content_initializer)
            for name in ("content", "position")
        )
        self.built = True

    def call(self, query: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return both queries of one, [batch, heads, query, head_size] each."""
        content = tf.cast(self.content, query.dtype)[:, None]
        return query + content, query + tf.cast(self.position, query.dtype)[:, None]


def shift_to_keys(scores: tf.Tensor) -> tf.Tensor:
    """Turn scores by distance, the largest first, into scores by key.

    The last query's scores need no shift, those of each query before it need one more. What lies
    beyond a query's own position is meaningless. Reference: ``_rel_shift``.

    Args:
        scores: [batch, heads, query, distance].

    Returns:
        [batch, heads, query, key], as many keys as there were distances.

    Example:
        >>> shift_to_keys(tf.constant([[[[3, 2, 1, 0], [3, 2, 1, 0]]]])).numpy()[0, 0].tolist()
        [[2, 1, 0, 0], [3, 2, 1, 0]]
    """
    shape = tf.shape(scores)
    padded = tf.pad(scores, [[0, 0], [0, 0], [0, 0], [1, 0]])
    padded = tf.reshape(padded, [shape[0], shape[1], shape[3] + 1, shape[2]])
    return tf.reshape(padded[:, :, 1:], shape)


class RelativeAttention(Block):
    """Multi-head attention to a memory and to itself; nothing but distances tells positions.

    Reference: ``RelPartialLearnableMultiHeadAttn`` of Transformers 4.
    """

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        head_size: int,
        *,
        dropout: float,
        stddev: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads, self.head_size = num_heads, head_size
        size = num_heads * head_size
        options = {"use_bias": False, "stddev": stddev, "dtype": self.dtype_policy}
        self.qkv = Dense(hidden_size, 3 * size, name="qkv", **options)
        self.relative = Dense(hidden_size, size, name="relative", **options)
        self.out = Dense(size, hidden_size, name="out", **options)
        self.dropout = Dropout(dropout, dtype=self.dtype_policy)

    def call(
        self,
        states: tf.Tensor,
        memory_length: tf.Tensor | int,
        distances: tf.Tensor,
        bias: tf.Tensor,
        biases: QueryBiases,
        head_mask: tf.Tensor | None = None,
        training: bool = False,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Attend from each state that is not remembered to all.

        Args:
            states: [batch, key, hidden_size], the remembered ones first.
            memory_length: how many are remembered; the others are the queries.
            distances: vectors [key, hidden_size] of the distances from the last state to each.
            bias: float32 [query, key], added to scores.
            biases: those of the queries.
            head_mask: 0 silences a head; [1, heads, 1, 1].
            training: apply dropout.

        Returns:
            The mixed values [batch, query, hidden_size]; the weights [batch, heads, query, key].
        """
        batch, keys = tf.unstack(tf.shape(states)[:2])
        qkv = tf.reshape(self.qkv(states), [batch, keys, 3, self.num_heads, self.head_size])
        query, key, value = tf.unstack(tf.transpose(qkv, [2, 0, 3, 1, 4]), num=3)
        relative = tf.reshape(self.relative(distances), [1, keys, self.num_heads, self.head_size])
        by_content, by_distance = biases(query[:, :, memory_length:])
        scores = tf.matmul(by_content, key, transpose_b=True)
        scores += shift_to_keys(tf.matmul(by_distance, tf.transpose(relative, [0, 2, 3, 1])))
        scores = tf.cast(scores * self.head_size**-0.5, tf.float32) + bias
        weights = self.dropout(tf.cast(tf.nn.softmax(scores), value.dtype), training=training)
        if head_mask is not None:
            weights *= tf.cast(head_mask, weights.dtype)
        mixed = tf.transpose(tf.matmul(weights, value), [0, 2, 1, 3])
        mixed = tf.reshape(mixed, [batch, -1, self.num_heads * self.head_size])
        return self.out(mixed), weights


class RelativeLayer(Block):
    """Attention and feed-forward network, normalised after each or, with ``pre_norm``, before.

    Reference: ``RelPartialLearnableDecoderLayer`` of Transformers 4.

    Args:
        hidden_size: size of the states.
        num_heads: number of heads.
        head_size: size of a head's vectors.
        intermediate_size: size between the two dense layers of the feed-forward network.
        epsilon: of the normalisations.
        dropout: rate for what is added to the states, and within the feed-forward network.
        attention_dropout: rate for the attention weights.
        stddev: of the kernels' first values.
        pre_norm: whether the parts read normalised states, and add to the states themselves.
        biases: those of the queries, if all layers share them; ``None``: the layer has its own.
        **kwargs: those of a Keras layer.
    """

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        head_size: int,
        intermediate_size: int,
        *,
        epsilon: float,
        dropout: float,
        attention_dropout: float,
        stddev: float,
        pre_norm: bool,
        biases: QueryBiases | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        dtype = self.dtype_policy
        options = {"stddev": stddev, "dtype": dtype}
        self.pre_norm = pre_norm
        self.attention = RelativeAttention(
            hidden_size,
            num_heads,
            head_size,
            dropout=attention_dropout,
            name="attention",
            **options,
        )
        if biases is None:
            biases = QueryBiases(num_heads, head_size, name="biases", **options)
        self.biases = biases
        self.attention_norm = LayerNorm(hidden_size, epsilon, name="attention_norm", dtype=dtype)
        self.intermediate = Dense(
            hidden_size, intermediate_size, activation=tf.nn.relu, name="intermediate", **options
        )
        self.out = Dense(intermediate_size, hidden_size, name="out", **options)
        self.output_norm = LayerNorm(hidden_size, epsilon, name="output_norm", dtype=dtype)
        self.dropout = Dropout(dropout, dtype=dtype)

    def call(
        self,
        hidden_states: tf.Tensor,
        memory: tf.Tensor,
        distances: tf.Tensor,
        bias: tf.Tensor,
        head_mask: tf.Tensor | None = None,
        training: bool = False,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the new hidden states [batch, query, hidden_size] and the attention weights.

        ``memory`` is [batch, memory, hidden_size]; the others are those of `RelativeAttention`.
        """
        states = tf.concat([memory, hidden_states], axis=1)
        mixed, weights = self.attention(
            self.attention_norm(states) if self.pre_norm else states,
            memory_length=tf.shape(memory)[1],
            distances=distances,
            bias=bias,
            biases=self.biases,
            head_mask=head_mask,
            training=training,
        )
        x = hidden_states + self.dropout(mixed, training=training)
        if not self.pre_norm:
            x = self.attention_norm(x)
        expanded = self.intermediate(self.output_norm(x) if self.pre_norm else x)
        expanded = self.out(self.dropout(expanded, training=training))
        x += self.dropout(expanded, training=training)
        return x if self.pre_norm else self.output_norm(x), weights
