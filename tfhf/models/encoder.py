"""The body of every encoder: from tokens, or their vectors, to states."""

from __future__ import annotations

from typing import Any, ClassVar

import keras
import tensorflow as tf

from tfhf.keras_model import FLAGS
from tfhf.modeling import TFPreTrainedModel
from tfhf.models.decoder import past_sizes
from tfhf.outputs import ModelOutput, TFBaseModelOutput


class TFEncoderModel(TFPreTrainedModel):
    """A body of embeddings and layers, with a pooler over the first token where there is one.

    An architecture says how the vectors of tokens become states: :meth:`encode`.
    """

    #: What ``call`` returns; it takes what it has room for of what :meth:`encode` returns.
    output_type: ClassVar[type[ModelOutput]] = TFBaseModelOutput
    flag_names: ClassVar[tuple[str, ...]] = (*FLAGS, "num_states")
    pooler: keras.layers.Layer | None = None

    def call(
        self,
        input_ids: tf.Tensor | None = None,
        attention_mask: tf.Tensor | None = None,
        position_ids: tf.Tensor | None = None,
        inputs_embeds: tf.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        use_cache: bool | None = None,
        num_states: int | None = None,
        training: bool = False,
        **others: Any,
    ) -> Any:
        """Encode token ids, or their vectors.

        Args:
            input_ids: int [batch, length]; or ``inputs_embeds`` [batch, length, size], where the
                size is that of the table of tokens.
            attention_mask: [batch, length], 0 for padding; or, but for DeBERTa and Longformer,
                [batch, query, key]. With a past, it is for earlier tokens, too.
            position_ids: int [batch, length], default as :meth:`positions` says.
            inputs_embeds: see ``input_ids``.
            output_attentions: return attention weights; default as the configuration says.
            output_hidden_states: return the states after each layer.
            use_cache: return ``past_key_values``, where ``config.is_decoder``; default as the
                configuration says, but not when training.
            num_states: how many of the last states are needed, the first ones; for classes that
                have ``pooled_states``. Default: all.
            training: apply dropout.
            **others: those that ``input_names`` has of
                ``token_type_ids``, int [batch, length], 0 (the default) for the first sentence, 1
                for the second;
                ``head_mask``, [heads] or [layers, heads], 0 silences a head;
                ``encoder_hidden_states``, [batch, encoder_length, hidden_size], for
                cross-attention, and ``encoder_attention_mask``, [batch, encoder_length];
                ``global_attention_mask``, [batch, length], 1 for the tokens that see all;
                ``past_key_values`` and ``cache_position``, as for a `TFDecoderModel`, where
                ``config.is_decoder``.
        """
        vectors = self.token_vectors(input_ids, inputs_embeds)
        if position_ids is None:
            past = (others.get("past_key_values"), others.get("cache_position"))
            sizes = past_sizes(*past, tf.shape(vectors)[1])
            position_ids = self.positions(input_ids, sizes["length"], sizes["past_length"])
        flags: dict[str, Any] = self.output_flags(output_attentions, output_hidden_states)
        if use_cache is not None:
            flags["use_cache"] = use_cache
        if num_states is not None:
            flags["num_states"] = num_states
        outputs = self.encode(
            vectors, position_ids, attention_mask, **others, **flags, training=training
        )
        if self.pooler is not None:
            outputs["pooler_output"] = self.pooler(outputs["last_hidden_state"][:, 0])
        return self.output_type.of(**outputs)

    def positions(
        self, input_ids: tf.Tensor | None, length: tf.Tensor, past_length: tf.Tensor | int
    ) -> tf.Tensor:
        """Return the positions of tokens where the caller gives none.

        They count from ``first_position`` on, and from the past; under left padding, too.
        """
        return (self.first_position + past_length + tf.range(length))[None]

    def encode(
        self,
        vectors: tf.Tensor,
        position_ids: tf.Tensor,
        attention_mask: tf.Tensor | None,
        **inputs: Any,
    ) -> dict[str, Any]:
        """Return the fields of ``output_type``, ``last_hidden_state`` at least.

        Args:
            vectors: [batch, length, size], of the tokens alone.
            position_ids: int [batch, length] or [1, length].
            attention_mask: as in :meth:`call`.
            **inputs: ``training``, both flags, and what :meth:`call` was given beside.
        """
        raise NotImplementedError
