"""Feed-forward network, transformer layer and the stack of layers (Vaswani et al., 2017)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tfhf.layers.activations import Activation
from tfhf.layers.attention import AttentionOutput, MultiHeadAttention
from tfhf.layers.cache import KeyValues
from tfhf.layers.core import Block, Dense, LayerNorm, Normalization
from tfhf.layers.dropout import Dropout
from tfhf.layers.rotary import Rotation


class FeedForward(Block):
    """Two dense layers with an activation, and perhaps dropout, between them.

    ``out_dtype`` is that of the second; default: as the other's.
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
        out_dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        options = {"stddev": stddev, "use_bias": use_bias, "dtype": self.dtype_policy}
        self.intermediate = Dense(
            hidden_size, intermediate_size, activation=activation, name="intermediate", **options
        )
        options["dtype"] = out_dtype or self.dtype_policy
        self.out = Dense(intermediate_size, hidden_size, name="out", **options)
        self.dropout = Dropout(dropout, dtype=self.dtype_policy)

    def call(self, hidden_states: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Map [batch, length, hidden_size] to the same shape."""
        return self.out(self.dropout(self.intermediate(hidden_states), training=training))


class GatedFeedForward(Block):
    """``activation(x @ a) * (x @ b)``, then a dense layer (Shazeer, 2020).

    https://arxiv.org/abs/2002.05202. ``intermediate`` is both products in one: first a, then b.
    ``out_dtype`` is that of the last layer; default: as the other's.
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
        out_dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        options = {"stddev": stddev, "use_bias": use_bias, "dtype": self.dtype_policy}
        self.activation = activation
        self.intermediate = Dense(
            hidden_size, (intermediate_size, intermediate_size), name="intermediate", **options
        )
        options["dtype"] = out_dtype or self.dtype_policy
        self.out = Dense(intermediate_size, hidden_size, name="out", **options)
        self.dropout = Dropout(dropout, dtype=self.dtype_policy)

    def call(self, hidden_states: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Map [batch, length, hidden_size] to the same shape."""
        x, gate = tf.split(self.intermediate(hidden_states), 2, axis=-1)
        return self.out(self.dropout(self.activation(x) * gate, training=training))


class LayerOutput(NamedTuple):
    """What a layer returns; ``past_key_value`` is for the tokens that follow.

    It holds the keys and values of attention, then those of cross-attention, where there is some.
    """

    hidden_states: tf.Tensor
    attentions: Any
    cross_attentions: tf.Tensor | None = None
    past_key_value: tuple[KeyValues | None, ...] = ()


class TransformerLayer(Block):
    """Attention, optional cross-attention and feed-forward, each added and then normalised.

    ``attention_type``, ``feed_forward_type`` and ``norm_type`` make the parts: subclasses of the
    defaults, or partials of them.
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
        feed_forward_type: Callable[..., FeedForward] = FeedForward,
        norm_type: Callable[..., LayerNorm] = LayerNorm,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        dtype = self.dtype_policy
        attention = {"dropout": attention_dropout, "stddev": stddev, "dtype": dtype}
        self.attention = attention_type(hidden_size, num_heads, name="attention", **attention)
        self.attention_norm = norm_type(hidden_size, epsilon, name="attention_norm", dtype=dtype)
        if cross_attention:
            self.cross_attention = MultiHeadAttention(
                hidden_size, num_heads, cross_attention=True, name="cross_attention", **attention
            )
            self.cross_attention_norm = norm_type(
                hidden_size, epsilon, name="cross_attention_norm", dtype=dtype
            )
        self.feed_forward = feed_forward_type(
            hidden_size,
            intermediate_size,
            activation,
            stddev=stddev,
            name="feed_forward",
            dtype=dtype,
        )
        self.output_norm = norm_type(hidden_size, epsilon, name="output_norm", dtype=dtype)
        self.dropout = Dropout(dropout, dtype=dtype)

    def call(
        self,
        hidden_states: tf.Tensor,
        bias: tf.Tensor | None = None,
        head_mask: tf.Tensor | None = None,
        encoder_hidden_states: tf.Tensor | None = None,
        encoder_bias: tf.Tensor | None = None,
        cross_head_mask: tf.Tensor | None = None,
        num_queries: int | None = None,
        training: bool = False,
        **inputs: Any,
    ) -> LayerOutput:
        """Map [batch, length, hidden_size] to the same shape; ``inputs`` are more for attention.

        With ``num_queries``, the states of so many tokens are returned, the first ones.
        """
        own_past, cross_past = _pasts(inputs)
        if num_queries is not None:
            own_past["num_queries"] = num_queries
        own = self.attention(
            hidden_states, bias=bias, head_mask=head_mask, training=training, **own_past
        )
        mixed = self.dropout(own.mixed, training=training)
        hidden_states = self.attention_norm(hidden_states[:, :num_queries] + mixed)
        cross = None
        if encoder_hidden_states is not None or cross_past:
            cross = self.cross_attention(
                hidden_states,
                bias=encoder_bias,
                key_value_states=encoder_hidden_states,
                head_mask=cross_head_mask,
                training=training,
                **cross_past,
            )
            mixed = self.dropout(cross.mixed, training=training)
            hidden_states = self.cross_attention_norm(hidden_states + mixed)
        expanded = self.feed_forward(hidden_states, training=training)
        expanded = self.dropout(expanded, training=training)
        return _layer_output(self.output_norm(hidden_states + expanded), own, cross)


class PreNormLayer(Block):
    """Attention and feed-forward that read normalised states and add to the states themselves.

    The parts are given, for it is in them that architectures differ. Reference: ``GPT2Block``,
    ``GPTNeoXLayer`` (parallel), ``Gemma2DecoderLayer`` (norms after the parts, too).

    Args:
        attention: mixes states.
        feed_forward: changes each state.
        attention_norm: normalises what ``attention`` reads; ``None``: that is normalised already.
        feed_forward_norm: normalises what ``feed_forward`` reads; ``None``: it reads what
            ``attention`` reads.
        attention_out_norm: normalises what ``attention`` gives.
        feed_forward_out_norm: normalises what ``feed_forward`` gives.
        cross_attention: mixes an encoder's states in.
        cross_attention_norm: normalises what ``cross_attention`` reads.
        parallel: whether ``feed_forward`` reads the states that came in, not those that
            ``attention`` added to.
        add_to_normalised: whether the parts add to what they read, not to what was normalised.
        clip: whether sums that float16 cannot hold become the greatest that it can (T5).
        dropout: rate for what attention adds.
        feed_forward_dropout: rate for what the feed-forward adds.
        **kwargs: those of a Keras layer.
    """

    def __init__(
        self,
        attention: MultiHeadAttention,
        feed_forward: FeedForward | GatedFeedForward,
        *,
        attention_norm: Normalization | None,
        feed_forward_norm: Normalization | None,
        attention_out_norm: Normalization | None = None,
        feed_forward_out_norm: Normalization | None = None,
        cross_attention: MultiHeadAttention | None = None,
        cross_attention_norm: Normalization | None = None,
        parallel: bool = False,
        add_to_normalised: bool = False,
        clip: bool = False,
        dropout: float = 0.0,
        feed_forward_dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.attention_norm = attention_norm
        self.attention = attention
        self.attention_out_norm = attention_out_norm
        self.cross_attention_norm = cross_attention_norm
        self.cross_attention = cross_attention
        self.feed_forward_norm = feed_forward_norm
        self.feed_forward = feed_forward
        self.feed_forward_out_norm = feed_forward_out_norm
        self.parallel = parallel
        self.add_to_normalised = add_to_normalised
        self.clip = clip
        self.dropout = Dropout(dropout, dtype=self.dtype_policy)
        self.feed_forward_dropout = Dropout(feed_forward_dropout, dtype=self.dtype_policy)

    def call(
        self,
        hidden_states: tf.Tensor,
        bias: tf.Tensor | None = None,
        head_mask: tf.Tensor | None = None,
        rotation: Rotation | None = None,
        encoder_hidden_states: tf.Tensor | None = None,
        encoder_bias: tf.Tensor | None = None,
        cross_head_mask: tf.Tensor | None = None,
        training: bool = False,
        **inputs: Any,
    ) -> LayerOutput:
        """Map [batch, length, hidden_size] to the same shape; ``inputs`` are more for attention."""
        own_past, cross_past = _pasts(inputs)
        before = hidden_states
        x = _normalised(self.attention_norm, hidden_states)
        own = self.attention(
            x, bias=bias, head_mask=head_mask, rotation=rotation, training=training, **own_past
        )
        mixed = _normalised(self.attention_out_norm, own.mixed)
        if self.add_to_normalised:
            hidden_states = x
        hidden_states = self.add(hidden_states, self.dropout(mixed, training=training))
        cross = None
        if self.cross_attention is not None and (encoder_hidden_states is not None or cross_past):
            cross = self.cross_attention(
                _normalised(self.cross_attention_norm, hidden_states),
                bias=encoder_bias,
                key_value_states=encoder_hidden_states,
                head_mask=cross_head_mask,
                training=training,
                **cross_past,
            )
            mixed = self.dropout(cross.mixed, training=training)
            hidden_states = self.add(hidden_states, mixed)
        if self.feed_forward_norm is not None:
            x = self.feed_forward_norm(before if self.parallel else hidden_states)
            if self.add_to_normalised:
                hidden_states = x
        expanded = self.feed_forward(x, training=training)
        expanded = _normalised(self.feed_forward_out_norm, expanded)
        expanded = self.feed_forward_dropout(expanded, training=training)
        return _layer_output(self.add(hidden_states, expanded), own, cross)

    def add(self, states: tf.Tensor, more: tf.Tensor) -> tf.Tensor:
        """Return the sum, within float16's range where the layer is to ``clip``.

        A sum without infinities keeps its greatest values. From a part that gives float32 on, the
        states are float32. Reference: ``T5Block``.
        """
        if tf.float32 in (states.dtype, more.dtype):
            return tf.cast(states, tf.float32) + tf.cast(more, tf.float32)
        states += more
        if not self.clip or states.dtype != tf.float16:
            return states
        overflow = tf.reduce_any(tf.math.is_inf(states))
        limit = tf.where(overflow, tf.float16.max - 1000, tf.float16.max)
        return tf.clip_by_value(states, -limit, limit)


def _normalised(norm: Normalization | None, states: tf.Tensor) -> tf.Tensor:
    return states if norm is None else norm(states)


def _pasts(inputs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return ``inputs`` for attention, and for cross-attention, each with the past of its own."""
    past = inputs.pop("past_key_value", None)
    if past is None:
        return inputs, {}
    own, *cross = past
    return inputs | {"past_key_value": own}, {"past_key_value": cross[0]} if cross else {}


def _layer_output(
    hidden_states: tf.Tensor, own: AttentionOutput, cross: AttentionOutput | None
) -> LayerOutput:
    if cross is None:
        return LayerOutput(hidden_states, own.weights, None, (own.past_key_value,))
    pasts = (own.past_key_value, cross.past_key_value)
    return LayerOutput(hidden_states, own.weights, cross.weights, pasts)


class StackOutput(NamedTuple):
    """What a stack of layers returns; the tuples are ``None`` where they were not asked for."""

    last_hidden_state: tf.Tensor
    hidden_states: tuple[tf.Tensor, ...] | None
    attentions: tuple[tf.Tensor, ...] | None
    cross_attentions: tuple[tf.Tensor, ...] | None
    past_key_values: tuple[tuple[KeyValues | None, ...], ...] | None


class TransformerStack(Block):
    """Layers one after the other, keeping what each of them showed.

    Args:
        layers: the layers.
        final_norm: normalises the last states.
        final_dropout: rate for the last states.
        kinds: the kind of each layer, where they differ in what they are told.
        **kwargs: those of a Keras layer.
    """

    def __init__(
        self,
        layers: Sequence[TransformerLayer | PreNormLayer],
        *,
        final_norm: Normalization | None = None,
        final_dropout: float = 0.0,
        kinds: Sequence[Hashable] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.layer = layers
        self.final_norm = final_norm
        self.final_dropout = Dropout(final_dropout, dtype=self.dtype_policy)
        self.kinds = kinds or ()

    def call(
        self,
        hidden_states: tf.Tensor,
        head_mask: tf.Tensor | None = None,
        cross_head_mask: tf.Tensor | None = None,
        past_key_values: Sequence[tuple[KeyValues, ...]] | None = None,
        use_cache: bool = False,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
        num_states: int | None = None,
        training: bool = False,
        **inputs: Any,
    ) -> StackOutput:
        """Run all layers on [batch, length, hidden_size]; each of them is given ``inputs``, too.

        An input that is a dictionary has what each kind of layers is given.
        ``head_mask`` is [heads], the same for all layers, or [layers, heads]; 0 silences a head.
        So is ``cross_head_mask``, for cross-attention.
        ``past_key_values`` has what ``use_cache`` made each layer return for earlier tokens.
        ``num_states`` is how many of the last states are needed, the first ones: the last layer is
        spared the others, unless all layers are to show what they did.

        Raises:
            ValueError: ``past_key_values`` has too few layers, or too many.
        """
        if past_key_values is not None and len(past_key_values) != len(self.layer):
            raise ValueError(
                f"past_key_values must have keys and values for {len(self.layer)} layers, but has "
                f"them for {len(past_key_values)}"
            )
        spared = num_states is not None and not (output_attentions or output_hidden_states)
        outputs: list[LayerOutput] = []
        states = [hidden_states]
        for i, layer in enumerate(self.layer):
            told = {
                name: value[self.kinds[i]] if isinstance(value, dict) else value
                for name, value in inputs.items()
            }
            if past_key_values is not None:
                told["past_key_value"] = past_key_values[i]
            for name, mask in {"head_mask": head_mask, "cross_head_mask": cross_head_mask}.items():
                if mask is not None:
                    told[name] = (mask if mask.shape.rank == 1 else mask[i])[None, :, None, None]
            if spared and i == len(self.layer) - 1:
                told["num_queries"] = num_states
            outputs.append(layer(states[-1], training=training, **told))
            states.append(self.pass_on(states[-1], outputs[-1].hidden_states, training))
        if self.final_norm is not None:
            states[-1] = self.final_norm(states[-1])
        states[-1] = self.final_dropout(states[-1], training=training)
        crossed = output_attentions and any(out.cross_attentions is not None for out in outputs)
        return StackOutput(
            states[-1],
            tuple(states) if output_hidden_states else None,
            tuple(out.attentions for out in outputs) if output_attentions else None,
            tuple(out.cross_attentions for out in outputs) if crossed else None,
            tuple(out.past_key_value for out in outputs) if use_cache else None,
        )

    def pass_on(self, before: tf.Tensor, after: tf.Tensor, training: bool) -> tf.Tensor:
        """Return what the next layer reads: states [batch, length, hidden_size].

        Args:
            before: what a layer read.
            after: what it made of it.
            training: whether the model is being trained.
        """
        return after
