"""Disentangled attention: content and relative position each with vectors of their own.

https://arxiv.org/abs/2006.03654 (He et al., 2020). A position's vector depends on the offset
between two tokens alone, so a query meets the 2 * length vectors of all offsets in one matrix
product; :func:`relative_shift` then finds the pairs. Nothing is gathered per pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfhf.layers.activations import Activation
from tfhf.layers.attention import AttentionOutput, MultiHeadAttention, attention_bias
from tfhf.layers.core import Block, Dense, Embedding, LayerNorm
from tfhf.layers.dropout import Dropout
from tfhf.layers.embeddings import blank_unseen
from tfhf.layers.initializers import Normal
from tfhf.layers.positions import signed_position_buckets
from tfhf.layers.transformer import LayerOutput, StackOutput, TransformerLayer, TransformerStack


class RelativePositions(NamedTuple):
    """The vectors of relative positions, made once for all layers.

    Args:
        vectors: [rows, hidden_size].
        ahead: int [2 * length], the rows of the offsets (query - key) length, length - 1, …,
            1 - length.
        behind: int [2 * length], the rows of the opposite offsets.
    """

    vectors: tf.Tensor
    ahead: tf.Tensor
    behind: tf.Tensor


class DisentangledContext(NamedTuple):
    """What all layers of a stack are told; it takes the place of the attention bias.

    Args:
        seen: bool [batch, length], false for padding; ``None``: all is seen.
        bias: float32 [batch, 1, query, key], added to the scores, or ``None``.
        positions: the relative positions, or ``None``.
    """

    seen: tf.Tensor | None
    bias: tf.Tensor | None
    positions: RelativePositions | None


class RelativePositionTable(Embedding):
    """A vector for each relative position; those that are too far apart share the last one.

    Args:
        hidden_size: size of the vectors.
        max_distance: the largest distance that matters.
        num_buckets: with a positive number, distances are put in so many buckets, to each side.
        **kwargs: ``stddev`` and those of a Keras layer.
    """

    def __init__(
        self, hidden_size: int, *, max_distance: int, num_buckets: int = -1, **kwargs: Any
    ) -> None:
        self.span = num_buckets if num_buckets > 0 else max_distance
        super().__init__(2 * self.span, hidden_size, **kwargs)
        self.max_distance = max_distance
        self.num_buckets = num_buckets

    def call(self, length: tf.Tensor) -> RelativePositions:  # type: ignore[override]
        """Return the positions of ``length`` tokens, an int scalar, to each other."""
        vectors = tf.cast(self.embeddings, self.compute_dtype)
        offsets = length - tf.range(2 * length)
        return RelativePositions(vectors, self.rows(offsets), self.rows(-offsets))

    def rows(self, offsets: tf.Tensor) -> tf.Tensor:
        """Return the rows of offsets (query - key)."""
        if self.num_buckets > 0:
            offsets = signed_position_buckets(
                offsets, num_buckets=self.num_buckets, max_distance=self.max_distance
            )
        return tf.clip_by_value(offsets + self.span, 0, 2 * self.span - 1)


def relative_shift(scores: tf.Tensor) -> tf.Tensor:
    """Turn scores by offset into scores by key.

    Args:
        scores: [..., length, 2 * length]; in row i, column c is of key c + i - length.

    Returns:
        [..., length, length], row i with the keys 0 to length - 1.

    Example:
        >>> relative_shift(tf.constant([[-2, -1, 0, 1], [-1, 0, 1, 2]])).numpy().tolist()
        [[0, 1], [0, 1]]
    """
    # Key 0 of row i stands at i * (2 * length - 1) + length: shorter rows bring it to the front.
    shape = tf.shape(scores)
    length = shape[-2]
    rows = tf.reshape(scores, tf.concat([shape[:-2], [2 * length * length]], axis=0))
    rows = tf.reshape(rows[..., length:], tf.concat([shape[:-2], [length, 2 * length - 1]], axis=0))
    return rows[..., :length]


class QueryValueBias(Block):
    """Biases of queries and values, for attention whose keys have none."""

    def __init__(self, hidden_size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hidden_size = hidden_size
        self.query_bias_initializer = self.value_bias_initializer = keras.initializers.Zeros()

    def build(self, input_shape: Any = None) -> None:
        """Create ``query_bias`` and ``value_bias`` [hidden_size]."""
        options = {"shape": (self.hidden_size,), "initializer": self.query_bias_initializer}
        self.query_bias = self.add_weight(name="query_bias", **options)
        self.value_bias = self.add_weight(name="value_bias", **options)
        super().build()

    def call(self, projected: tf.Tensor) -> tf.Tensor:
        """Add to queries, keys and values [batch, length, 3 * hidden_size], side by side."""
        query_bias = tf.cast(self.query_bias, projected.dtype)
        value_bias = tf.cast(self.value_bias, projected.dtype)
        bias = tf.concat([query_bias, tf.zeros_like(query_bias), value_bias], axis=0)
        return tf.nn.bias_add(projected, bias)


class DisentangledAttention(MultiHeadAttention):
    """Attention by content, and by content and relative position.

    Args:
        hidden_size: size of the states.
        num_heads: number of heads.
        terms: the scores beside content to content: "c2p", the query's content to the key's
            position; "p2c", the query's position to the key's content.
        relative: whether there are relative positions; without, ``terms`` change the scale alone.
        share_projections: whether positions are projected as contents are, not by layers of
            their own.
        position_dropout: rate for the vectors of positions.
        key_bias: whether keys, those of positions too, have a bias, as queries do.
        **kwargs: those of `MultiHeadAttention`.

    Reference: ``DisentangledSelfAttention`` of DeBERTa and DeBERTa v2.
    """

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        terms: Sequence[str],
        relative: bool,
        share_projections: bool,
        position_dropout: float,
        key_bias: bool = True,
        stddev: float = 0.02,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            hidden_size, num_heads, stddev=stddev, use_bias=key_bias, out_bias=True, **kwargs
        )
        self.query_value_bias = None
        if not key_bias:
            self.query_value_bias = QueryValueBias(
                hidden_size, name="query_value_bias", dtype=self.dtype_policy
            )
        self.has_c2p, self.has_p2c = "c2p" in terms, "p2c" in terms
        # As many scores are added as there are terms, and content to content.
        self.scale = (1 + self.has_c2p + self.has_p2c) ** -0.5
        self.share_projections = share_projections
        self.position_dropout = Dropout(position_dropout, dtype=self.dtype_policy)
        self.position_key = self.position_query = None
        options = {"stddev": stddev, "dtype": self.dtype_policy}
        if relative and self.has_c2p and not share_projections:
            self.position_key = Dense(
                hidden_size, hidden_size, use_bias=key_bias, name="position_key", **options
            )
        if relative and self.has_p2c and not share_projections:
            self.position_query = Dense(hidden_size, hidden_size, name="position_query", **options)

    def call(  # type: ignore[override]
        self,
        hidden_states: tf.Tensor,
        bias: DisentangledContext,
        head_mask: tf.Tensor | None = None,
        training: bool = False,
    ) -> AttentionOutput:
        """Attend from [batch, length, hidden_size] to itself."""
        projected = self.qkv(hidden_states)
        if self.query_value_bias is not None:
            projected = self.query_value_bias(projected)
        query, key, value = self.split_heads(projected, 3)
        query *= self.scale
        if bias.seen is not None:
            # Padding sees all alike: its scores are constants, through which no gradient flows.
            query *= tf.cast(bias.seen, query.dtype)[:, None, :, None]
        added = bias.bias
        for scores in self.position_scores(query, key, bias, training):
            added = scores if added is None else added + scores
        mixed, weights = self.attend(query, key, value, added, head_mask, training)
        return AttentionOutput(self.out(mixed), weights)

    def position_scores(
        self, query: tf.Tensor, key: tf.Tensor, context: DisentangledContext, training: bool
    ) -> list[tf.Tensor]:
        """Return the scores of each term, float32 [batch, heads, query, key].

        ``query`` and ``key`` are [batch, heads, length, size], the former times ``scale`` and 0
        where it is not seen.
        """
        positions = context.positions
        if positions is None:
            return []
        vectors = self.position_dropout(positions.vectors, training=training)[None]
        position_query, position_key = self.project_positions(vectors)
        scores = []
        if self.has_c2p:
            keys = tf.gather(position_key, positions.ahead, axis=2)
            c2p = tf.matmul(query * self.head_size**-0.5, keys, transpose_b=True)
            scores.append(tf.cast(relative_shift(c2p), tf.float32))
        if self.has_p2c:
            queries = tf.gather(position_query, positions.behind, axis=2)
            queries *= self.scale * self.head_size**-0.5
            p2c = relative_shift(tf.matmul(key, queries, transpose_b=True))
            p2c = tf.cast(tf.linalg.matrix_transpose(p2c), tf.float32)
            if context.seen is not None:
                p2c *= tf.cast(context.seen, tf.float32)[:, None, :, None]
            scores.append(p2c)
        return scores

    def project_positions(self, vectors: tf.Tensor) -> tuple[tf.Tensor | None, tf.Tensor | None]:
        """Return queries and keys [1, heads, rows, size] of vectors [1, rows, hidden_size].

        ``None`` is for what no term needs.
        """
        if self.share_projections:
            query, key, _ = self.split_heads(self.qkv(vectors), 3)
            return query, key
        query = key = None
        if self.position_query is not None:
            (query,) = self.split_heads(self.position_query(vectors), 1)
        if self.position_key is not None:
            (key,) = self.split_heads(self.position_key(vectors), 1)
        return query, key


class NeighbourConvolution(Block):
    """A convolution over neighbouring tokens, added to states and normalised.

    Args:
        hidden_size: size of the states.
        kernel_size: how many tokens it sees, an odd number.
        groups: in how many parts it splits the states.
        activation: of what it adds.
        epsilon: of the normalisation.
        dropout: rate of what it adds.
        stddev: of the kernel's first values.
        **kwargs: ``dtype`` and ``name``.

    Raises:
        ValueError: ``kernel_size`` is even.

    Reference: ``ConvLayer`` of DeBERTa v2.
    """

    def __init__(
        self,
        hidden_size: int,
        kernel_size: int,
        *,
        groups: int,
        activation: Activation,
        epsilon: float,
        dropout: float,
        stddev: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if kernel_size % 2 == 0:
            raise ValueError(f"config.conv_kernel_size must be odd, but it is {kernel_size}")
        self.hidden_size = hidden_size
        self.activation = activation
        self.conv = keras.layers.Conv1D(
            hidden_size,
            kernel_size,
            padding="same",
            groups=groups,
            kernel_initializer=Normal(stddev),
            name="conv",
            dtype=self.dtype_policy,
        )
        self.norm = LayerNorm(hidden_size, epsilon, name="norm", dtype=self.dtype_policy)
        self.dropout = Dropout(dropout, dtype=self.dtype_policy)

    def build(self, input_shape: Any = None) -> None:
        """Create the variables."""
        self.conv.build((None, None, self.hidden_size))
        super().build()

    def call(
        self,
        inputs: tf.Tensor,
        hidden_states: tf.Tensor,
        seen: tf.Tensor | None,
        training: bool = False,
    ) -> tf.Tensor:
        """Return ``hidden_states`` with what the convolution makes of ``inputs``, normalised.

        Both are [batch, length, hidden_size]; the result is 0 where a token is not ``seen``.
        """
        x = blank_unseen(self.conv(inputs), seen)
        x = self.activation(self.dropout(x, training=training))
        return blank_unseen(self.norm(hidden_states + x), seen)


class ConvolvedLayer(TransformerLayer):
    """A layer beside which a convolution reads the same input, and adds to its output."""

    def __init__(self, *args: Any, convolution: NeighbourConvolution, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.convolution = convolution

    def call(  # type: ignore[override]
        self,
        hidden_states: tf.Tensor,
        bias: DisentangledContext,
        training: bool = False,
        **inputs: Any,
    ) -> LayerOutput:
        """Return the new hidden states and the attention weights; see `TransformerLayer`."""
        output = super().call(hidden_states, bias=bias, training=training, **inputs)
        states = self.convolution(hidden_states, output.hidden_states, bias.seen, training=training)
        return output._replace(hidden_states=states)


class DisentangledStack(TransformerStack):
    """Layers with `DisentangledAttention` that share one table of relative positions.

    Args:
        layers: the layers.
        positions: that table; ``None``: positions are not told here.
        position_norm: normalises its vectors.
        **kwargs: ``dtype`` and ``name``.
    """

    def __init__(
        self,
        layers: Sequence[TransformerLayer],
        *,
        positions: RelativePositionTable | None,
        position_norm: LayerNorm | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(layers, **kwargs)
        self.positions = positions
        self.position_norm = position_norm

    def call(  # type: ignore[override]
        self, hidden_states: tf.Tensor, seen: tf.Tensor | None, **inputs: Any
    ) -> StackOutput:
        """Run all layers on [batch, length, hidden_size]; ``seen`` is bool [batch, length]."""
        # Padding sees nothing, that is, all alike.
        bias = None if seen is None else attention_bias(seen[:, :, None] & seen[:, None, :])
        positions = None
        if self.positions is not None:
            positions = self.positions(tf.shape(hidden_states)[1])
            if self.position_norm is not None:
                positions = positions._replace(vectors=self.position_norm(positions.vectors))
        return super().call(
            hidden_states, bias=DisentangledContext(seen, bias, positions), **inputs
        )
