"""The body of every decoder, and what its heads share: each token sees those before it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, ClassVar

import tensorflow as tf

from tfhf.layers import (
    ClassificationHead,
    LanguageModelingHead,
    LayerNorm,
    Normalization,
    PreNormLayer,
    TransformerLayer,
    TransformerStack,
    attention_bias,
)
from tfhf.layers.checks import require
from tfhf.modeling import TFPreTrainedModel
from tfhf.models.heads import Tensors, TFModelWithHead
from tfhf.outputs import ModelOutput, TFBaseModelOutputWithPastAndCrossAttentions


class TFDecoderPreTrainedModel(TFModelWithHead):
    """What the classes of a decoder share.

    A sequence is represented by its last token, which alone has seen all of it.
    """

    input_names: ClassVar[tuple[str, ...]] = (
        "input_ids",
        "past_key_values",
        "attention_mask",
        "position_ids",
        "inputs_embeds",
        "cache_position",
        "use_cache",
    )
    needs_pooler = False

    @property
    def input_signature(self) -> dict[str, tf.TensorSpec]:
        """The token inputs that the model is served with: int32 [batch, length] each."""
        signature = super().input_signature
        signature.pop("token_type_ids", None)  # no tokenizer of a decoder tells them
        return signature

    def make_classifier(self, num_labels: int) -> ClassificationHead:
        """Return a dense layer without bias."""
        return self.make_head(num_labels, dropout=0.0, use_bias=False)

    def make_token_classifier(self, num_labels: int) -> ClassificationHead:
        """Return dropout and a dense layer."""
        rates = [
            getattr(self.config, name, None) for name in ("classifier_dropout", "hidden_dropout")
        ]
        return self.make_head(
            num_labels, dropout=next((rate for rate in rates if rate is not None), 0.1)
        )

    def make_lm_head(self) -> LanguageModelingHead:
        """Return the scores of all tokens: the token vectors themselves, where they are tied."""
        return self.make_next_token_head()

    def make_next_token_head(self, **options: Any) -> LanguageModelingHead:
        """Return a head without hidden layer; ``options`` are those of `LanguageModelingHead`."""
        config = self.config
        return LanguageModelingHead(
            self.state_size,
            self.state_size,
            config.vocab_size,
            tied=config.tie_word_embeddings,
            stddev=self.stddev,
            name="lm_head",
            dtype=self.dtype_policy,
            **({"decoder_bias": False} | options),
        )

    def pooled(self, body: Any, inputs: Tensors) -> tf.Tensor:
        """Return the state of the last token that is not ``config.pad_token_id``.

        Raises:
            tf.errors.InvalidArgumentError: several sequences, and it is not known what padding is.
        """
        states, input_ids = body.last_hidden_state, inputs.get("input_ids")
        padding = self.config.pad_token_id
        if padding is None:
            message = ["config.pad_token_id must be set for batches of more than one sequence"]
            states = require(tf.equal(tf.shape(states)[0], 1), message, states)
        if padding is None or input_ids is None:
            return states[:, -1]
        numbers = tf.range(tf.shape(input_ids)[1]) * tf.cast(input_ids != padding, tf.int32)
        return tf.gather(states, tf.argmax(numbers, axis=-1), batch_dims=1)


class TFDecoderModel(TFPreTrainedModel):
    """A body of embeddings and layers that look back.

    An architecture says what these are, and what attention is told: :meth:`attention_inputs`.
    """

    output_type: ClassVar[type[ModelOutput]] = TFBaseModelOutputWithPastAndCrossAttentions

    def __init__(self, config: Any, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        self.embeddings = self.make_embeddings()
        layers = [self.make_layer(i) for i in range(config.num_hidden_layers)]
        self.decoder = TransformerStack(
            layers,
            kinds=self.layer_kinds(),
            final_norm=self.make_final_norm(),
            name="decoder",
            dtype=self.dtype_policy,
        )
        self.build()

    def make_embeddings(self) -> Any:
        """Return the layer from token vectors, and positions, to the input of the first layer."""
        raise NotImplementedError

    def make_layer(self, index: int) -> TransformerLayer | PreNormLayer:
        """Return layer number ``index``."""
        raise NotImplementedError

    def norm(self, name: str) -> Normalization:
        """Return a normalisation of states."""
        config = self.config
        return LayerNorm(
            config.hidden_size, config.layer_norm_epsilon, name=name, dtype=self.dtype_policy
        )

    def make_final_norm(self) -> Normalization | None:
        """Return what normalises the last states."""
        return self.norm("final_norm")

    def layer_kinds(self) -> Sequence[Hashable] | None:
        """Return the kind of each layer, where :meth:`attention_inputs` differ by kinds."""
        return None

    def positions(self, attention_mask: tf.Tensor | None, **sizes: Any) -> tf.Tensor:
        """Return the positions of tokens where the caller gives none: 0, 1, 2, … from the past on.

        So it is under left padding, too; arguments are as for :meth:`attention_inputs`.
        """
        return (sizes["past_length"] + tf.range(sizes["length"]))[None]

    def attention_inputs(
        self, position_ids: tf.Tensor, attention_mask: tf.Tensor | None, **sizes: Any
    ) -> dict[str, Any]:
        """Return what all layers are given; a dictionary is by kinds of layers.

        Args:
            position_ids: int [batch or 1, length].
            attention_mask: [batch, key] or [batch, query, key].
            **sizes: ``length``, ``past_length`` and ``key_length``, as for `attention_bias`.
        """
        return {"bias": attention_bias(attention_mask, causal=True, **sizes)}

    def call(
        self,
        input_ids: tf.Tensor | None = None,
        past_key_values: Any = None,
        attention_mask: tf.Tensor | None = None,
        position_ids: tf.Tensor | None = None,
        inputs_embeds: tf.Tensor | None = None,
        cache_position: tf.Tensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        training: bool = False,
        **others: tf.Tensor,
    ) -> Any:
        """Run over token ids, or their vectors.

        Args:
            input_ids: int [batch, length]; or ``inputs_embeds`` [batch, length, size].
            past_key_values: what an earlier call returned under this name, for the tokens before;
                or plain tensors: see `tfhf.layers.cache.as_key_values`.
            attention_mask: [batch, key], 0 for padding, where the keys are all tokens, earlier
                ones too; or [batch, query, key].
            position_ids: int [batch, length], default as :meth:`positions` says; left padding
                needs those that it moved.
            inputs_embeds: see ``input_ids``.
            cache_position: int scalar: ``past_key_values`` has room for what will come, and these
                tokens are written there from this place on. See `tfhf.layers.cache.extend`.
            use_cache: return ``past_key_values``; default as the configuration says, but not when
                training.
            output_attentions: return attention weights; default as the configuration says.
            output_hidden_states: return the states after each layer.
            training: apply dropout.
            **others: those that ``input_names`` has of
                ``token_type_ids``, int [batch, length];
                ``head_mask``, [heads] or [layers, heads], 0 silences a head;
                ``encoder_hidden_states``, [batch, encoder_length, hidden_size], for
                cross-attention, and ``encoder_attention_mask``, [batch, encoder_length].
        """
        vectors = self.token_vectors(input_ids, inputs_embeds)
        sizes = past_sizes(past_key_values, cache_position, tf.shape(vectors)[1])
        if position_ids is None:
            position_ids = self.positions(attention_mask, **sizes)
        told = self.attention_inputs(position_ids, attention_mask, **sizes)
        if "encoder_hidden_states" in others:
            if not self.config.add_cross_attention:
                raise ValueError("encoder_hidden_states needs config.add_cross_attention=True")
            told["encoder_hidden_states"] = others["encoder_hidden_states"]
        if "encoder_attention_mask" in others:
            told["encoder_bias"] = attention_bias(others["encoder_attention_mask"])
        if cache_position is not None:
            told["cache_position"] = sizes["past_length"]
        if use_cache is None:
            use_cache = getattr(self.config, "use_cache", False) and not training
        outputs = self.decoder(
            self.embed(vectors, position_ids, others.get("token_type_ids"), training),
            head_mask=others.get("head_mask"),
            past_key_values=past_key_values,
            use_cache=use_cache,
            **told,
            **self.output_flags(output_attentions, output_hidden_states),
            training=training,
        )
        return self.output_type.of(**outputs._asdict())

    def embed(
        self,
        vectors: tf.Tensor,
        position_ids: tf.Tensor,
        token_type_ids: tf.Tensor | None,
        training: bool,
    ) -> tf.Tensor:
        """Return the input of the first layer, from the vectors of the tokens alone.

        Token types, where an architecture takes them, have vectors in the table of tokens.
        """
        if token_type_ids is not None:
            vectors += self.embeddings.token(token_type_ids)
        return self.embeddings(vectors, position_ids, training=training)


def past_sizes(
    past_key_values: Any, cache_position: tf.Tensor | None, length: tf.Tensor
) -> dict[str, Any]:
    """Return how many tokens there are, were, and, with room for those to come, can be.

    Raises:
        ValueError: ``cache_position`` is no scalar, or there is nothing that it is a place in.
        tf.errors.InvalidArgumentError: the tokens have no room there.
    """
    if past_key_values is None:
        if cache_position is not None:
            raise ValueError("cache_position needs past_key_values, which it is a place in")
        return {"length": length, "past_length": 0, "key_length": length}
    room = past_key_values[0][0].length
    if cache_position is None:
        return {"length": length, "past_length": room, "key_length": room + length}
    if cache_position.shape.rank != 0:
        raise ValueError(
            f"cache_position must be an int scalar, but its shape is {cache_position.shape}"
        )
    start = tf.cast(cache_position, tf.int32)
    message = ["cache_position must leave room, but from", start, "on", length, "tokens do not fit"]
    message += ["into past_key_values, which have room for", room]
    start = require((start >= 0) & (start + length <= room), message, start)
    return {"length": length, "past_length": start, "key_length": room}
