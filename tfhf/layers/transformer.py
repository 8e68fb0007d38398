"""Feed-forward network, transformer layer and the stack of layers (Vaswani et al., 2017)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfhf.layers.activations import Activation
from tfhf.layers.attention import MultiHeadAttention
from tfhf.layers.core import Block, Dense, LayerNorm
from tfhf.layers.rotary import Rotation


class FeedForward(Block):
    """Two dense layers with an activation between them."""

    def __init__(
        self,
        hidden_size: int,
        intermediate_size: int,
        activation: Activation,
        *,
        stddev: float = 0.02,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        options = {"stddev": stddev, "dtype": self.dtype_policy}
        self.intermediate = Dense(
            hidden_size, intermediate_size, activation=activation, name="intermediate", **options
        )
        self.out = Dense(intermediate_size, hidden_size, name="out", **options)

    def call(self, hidden_states: tf.Tensor) -> tf.Tensor:
        """Map [batch, length, hidden_size] to the same shape."""
        return self.out(self.intermediate(hidden_states))


class GatedFeedForward(Block):
    """``activation(x @ a) * (x @ b)``, then a dense layer (Shazeer, 2020).

    https://arxiv.org/abs/2002.05202. ``intermediate`` is both products in one: first a, then b.
    """

    def __init__(
        self,
        hidden_size: int,
        intermediate_size: int,
        activation: Activation,
        *,
        dropout: float = 0.0,
        use_bias: bool = True,
        stddev: float = 0.02,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        options = {"stddev": stddev, "use_bias": use_bias, "dtype": self.dtype_policy}
        self.activation = activation
        self.intermediate = Dense(
            hidden_size, 2 * intermediate_size, name="intermediate", **options
        )
        self.out = Dense(intermediate_size, hidden_size, name="out", **options)
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def call(self, hidden_states: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Map [batch, length, hidden_size] to the same shape."""
        x, gate = tf.split(self.intermediate(hidden_states), 2, axis=-1)
        return self.out(self.dropout(self.activation(x) * gate, training=training))


class TransformerLayer(Block):
    """Attention, optional cross-attention and feed-forward, each added and then normalised.

    ``attention_type`` makes the attention: a subclass of `MultiHeadAttention`, or a partial of one.
    Reference: ``BertLayer``, and ``TransformerBlock`` of DistilBERT.
    """

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        intermediate_size: int,
        activation: Activation,
        *,
        epsilon: float,
        dropout: float,
        attention_dropout: float,
        stddev: float,
        cross_attention: bool = False,
        attention_type: Callable[..., MultiHeadAttention] = MultiHeadAttention,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        dtype = self.dtype_policy
        attention = {"dropout": attention_dropout, "stddev": stddev, "dtype": dtype}
        self.attention = attention_type(hidden_size, num_heads, name="attention", **attention)
        self.attention_norm = LayerNorm(hidden_size, epsilon, name="attention_norm", dtype=dtype)
        if cross_attention:
            self.cross_attention = MultiHeadAttention(
                hidden_size, num_heads, cross_attention=True, name="cross_attention", **attention
            )
            self.cross_attention_norm = LayerNorm(
                hidden_size, epsilon, name="cross_attention_norm", dtype=dtype
            )
        self.feed_forward = FeedForward(
            hidden_size,
            intermediate_size,
            activation,
            stddev=stddev,
            name="feed_forward",
            dtype=dtype,
        )
        self.output_norm = LayerNorm(hidden_size, epsilon, name="output_norm", dtype=dtype)
        self.dropout = keras.layers.Dropout(dropout, dtype=dtype)

    def call(
        self,
        hidden_states: tf.Tensor,
        bias: tf.Tensor | None = None,
        head_mask: tf.Tensor | None = None,
        encoder_hidden_states: tf.Tensor | None = None,
        encoder_bias: tf.Tensor | None = None,
        training: bool = False,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
        """Return the new hidden states, the attention weights and the cross-attention weights."""
        mixed, weights = self.attention(
            hidden_states, bias=bias, head_mask=head_mask, training=training
        )
        hidden_states = self.attention_norm(hidden_states + self.dropout(mixed, training=training))
        cross_weights = None
        if encoder_hidden_states is not None:
            mixed, cross_weights = self.cross_attention(
                hidden_states,
                bias=encoder_bias,
                key_value_states=encoder_hidden_states,
                training=training,
            )
            mixed = self.dropout(mixed, training=training)
            hidden_states = self.cross_attention_norm(hidden_states + mixed)
        expanded = self.dropout(self.feed_forward(hidden_states), training=training)
        return self.output_norm(hidden_states + expanded), weights, cross_weights


class PreNormLayer(Block):
    """Attention and feed-forward that read normalised states and add to the states themselves.

    The parts are given, for it is in them that architectures differ. Reference:
    ``ModernBertEncoderLayer``.

    Args:
        attention: mixes states.
        feed_forward: changes each state.
        attention_norm: normalises what ``attention`` reads; ``None``: that is normalised already.
        feed_forward_norm: normalises what ``feed_forward`` reads.
        dropout: rate for what attention adds.
        **kwargs: those of a Keras layer.
    """

    def __init__(
        self,
        attention: MultiHeadAttention,
        feed_forward: GatedFeedForward,
        *,
        attention_norm: LayerNorm | None,
        feed_forward_norm: LayerNorm,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.attention_norm = attention_norm
        self.attention = attention
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        self.feed_forward_norm = feed_forward_norm
        self.feed_forward = feed_forward

    def call(
        self,
        hidden_states: tf.Tensor,
        bias: tf.Tensor | None = None,
        head_mask: tf.Tensor | None = None,
        rotation: Rotation | None = None,
        training: bool = False,
    ) -> tuple[tf.Tensor, tf.Tensor, None]:
        """Return the new hidden states, the attention weights and no cross-attention weights."""
        x = hidden_states
        if self.attention_norm is not None:
            x = self.attention_norm(x)
        mixed, weights = self.attention(
            x, bias=bias, head_mask=head_mask, rotation=rotation, training=training
        )
        hidden_states += self.dropout(mixed, training=training)
        expanded = self.feed_forward(self.feed_forward_norm(hidden_states), training=training)
        return hidden_states + expanded, weights, None


class StackOutput(NamedTuple):
    """What a stack of layers returns; the tuples are ``None`` where they were not asked for."""

    last_hidden_state: tf.Tensor
    hidden_states: tuple[tf.Tensor, ...] | None
    attentions: tuple[tf.Tensor, ...] | None
    cross_attentions: tuple[tf.Tensor, ...] | None


class TransformerStack(Block):
    """Layers one after the other, keeping what each of them showed.

    With ``final_norm`` the last hidden states are normalised.
    """

    def __init__(
        self,
        layers: Sequence[TransformerLayer | PreNormLayer],
        *,
        final_norm: LayerNorm | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.layer = layers
        self.final_norm = final_norm

    def call(
        self,
        hidden_states: tf.Tensor,
        head_mask: tf.Tensor | None = None,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
        training: bool = False,
        **inputs: Any,
    ) -> StackOutput:
        """Run all layers on [batch, length, hidden_size]; each of them is given ``inputs``, too.

        ``head_mask`` is [heads], the same for all layers, or [layers, heads]; 0 silences a head.
        """
        states, attentions, cross_attentions = [hidden_states], [], []
        for i, layer in enumerate(self.layer):
            mask = head_mask
            if mask is not None:
                mask = (mask if mask.shape.rank == 1 else mask[i])[None, :, None, None]
            hidden_states, weights, cross_weights = layer(
                hidden_states, head_mask=mask, training=training, **inputs
            )
            states.append(hidden_states)
            if output_attentions:
                attentions.append(weights)
                cross_attentions.append(cross_weights)
        if self.final_norm is not None:
            hidden_states = states[-1] = self.final_norm(hidden_states)
        return StackOutput(
            hidden_states,
            tuple(states) if output_hidden_states else None,
            tuple(attentions) if output_attentions else None,
            tuple(cross_attentions)
            if output_attentions and inputs.get("encoder_hidden_states") is not None
            else None,
        )
