"""The body of every encoder-decoder, which reads a source and writes a target.

A family gives :class:`TFSeq2SeqModel` its embeddings and its two stacks of layers, and says what
attention is told: ``make_…``, ``encoder_attention_inputs`` and ``decoder_attention_inputs``.
"""

from __future__ import annotations

from typing import Any, ClassVar

import tensorflow as tf

from tfhf.layers import Embedding, TransformerStack, attention_bias
from tfhf.layers.embeddings import token_vectors
from tfhf.modeling import token_specs
from tfhf.models.decoder import past_sizes
from tfhf.models.seq2seq_base import TFSeq2SeqPreTrainedModel
from tfhf.outputs import (
    ModelOutput,
    TFBaseModelOutput,
    TFBaseModelOutputWithPastAndCrossAttentions,
    TFSeq2SeqModelOutput,
)


class TFSeq2SeqModel(TFSeq2SeqPreTrainedModel):
    """A body of an encoder and a decoder, which may share the table of tokens."""

    output_type: ClassVar[type[ModelOutput]] = TFSeq2SeqModelOutput

    def __init__(self, config: Any, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        self.shared = self.make_shared_embeddings()
        self.embeddings = self.make_embeddings()
        self.encoder = self.make_encoder()
        self.decoder_embeddings = self.make_decoder_embeddings()
        self.decoder = self.make_decoder()
        self.build()

    # What a family gives ------------------------------------------------------------------------

    def make_shared_embeddings(self) -> Embedding | None:
        """Return the one table of tokens; ``None``: encoder and decoder have one each."""
        config = self.config
        options = {"stddev": config.init_std, "dtype": self.dtype_policy}
        return Embedding(config.vocab_size, config.d_model, name="shared", **options)

    def make_embeddings(self) -> Any:
        """Return the encoder's layer from token vectors and positions to the first states.

        It is called as an `InputEmbeddings`, and has a table ``token`` where none is shared.
        """
        raise NotImplementedError

    def make_decoder_embeddings(self) -> Any:
        """Return that of the decoder."""
        raise NotImplementedError

    def make_encoder(self) -> TransformerStack:
        """Return the layers of the encoder."""
        raise NotImplementedError

    def make_decoder(self) -> TransformerStack:
        """Return the layers of the decoder, which have cross-attention."""
        raise NotImplementedError

    @property
    def embedding_scale(self) -> float:
        """What the vectors of the table of tokens are multiplied by."""
        return 1.0

    def encoder_attention_inputs(
        self, attention_mask: tf.Tensor | None, length: tf.Tensor
    ) -> dict[str, Any]:
        """Return what all layers of the encoder are given.

        Args:
            attention_mask: [batch, length] or [batch, query, key].
            length: number of tokens.
        """
        return {"bias": attention_bias(attention_mask)}

    def decoder_attention_inputs(
        self, attention_mask: tf.Tensor | None, **sizes: Any
    ) -> dict[str, Any]:
        """Return what all layers of the decoder are given.

        Args:
            attention_mask: [batch, key] or [batch, query, key].
            **sizes: ``length``, ``past_length`` and ``key_length``, as for `attention_bias`.
        """
        return {"bias": attention_bias(attention_mask, causal=True, **sizes)}

    def default_decoder_input_ids(self, input_ids: tf.Tensor | None) -> tf.Tensor:
        """Return the ids that the decoder reads where the caller gives none."""
        raise ValueError(
            f"{type(self).__name__} needs decoder_input_ids or decoder_inputs_embeds: what the "
            "decoder reads"
        )

    # What comes of it ---------------------------------------------------------------------------

    @property
    def input_signature(self) -> dict[str, tf.TensorSpec]:
        """The token inputs that the model is served with: int32 [batch, length] each.

        The decoder's are among them where they have no default.
        """
        if type(self).default_decoder_input_ids is not TFSeq2SeqModel.default_decoder_input_ids:
            return super().input_signature
        return super().input_signature | token_specs("decoder_input_ids", "decoder_attention_mask")

    def call(
        self,
        input_ids: tf.Tensor | None = None,
        attention_mask: tf.Tensor | None = None,
        decoder_input_ids: tf.Tensor | None = None,
        decoder_attention_mask: tf.Tensor | None = None,
        decoder_position_ids: tf.Tensor | None = None,
        head_mask: tf.Tensor | None = None,
        decoder_head_mask: tf.Tensor | None = None,
        cross_attn_head_mask: tf.Tensor | None = None,
        encoder_outputs: Any = None,
        past_key_values: Any = None,
        inputs_embeds: tf.Tensor | None = None,
        decoder_inputs_embeds: tf.Tensor | None = None,
        use_cache: bool | None = None,
        cache_position: tf.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        training: bool = False,
        **others: Any,
    ) -> Any:
        """Read a source, and a target that looks at it.

        Args:
            input_ids: int [batch, length]; or ``inputs_embeds`` [batch, length, size], or
                ``encoder_outputs``; neither where ``past_key_values`` have what came of them.
            attention_mask: [batch, length], 0 for padding of the source.
            decoder_input_ids: int [batch, decoder length]; or ``decoder_inputs_embeds``. Default:
                as :meth:`default_decoder_input_ids` says.
            decoder_attention_mask: [batch, key], 0 for padding of the target, earlier tokens of
                ``past_key_values`` included.
            decoder_position_ids: int [batch, decoder length], default 0, 1, 2, … from the past on.
            head_mask: [heads] or [layers, heads], 0 silences a head of the encoder.
            decoder_head_mask: the same for the decoder's attention to itself.
            cross_attn_head_mask: the same for its attention to the source.
            encoder_outputs: what the encoder said: states [batch, length, hidden_size], or an
                output or a tuple that begins with them.
            past_key_values: what an earlier call returned under this name, for the tokens before.
            inputs_embeds: see ``input_ids``.
            decoder_inputs_embeds: see ``decoder_input_ids``.
            use_cache: return ``past_key_values``; default as the configuration says, but not when
                training.
            cache_position: as for a `TFDecoderModel`.
            output_attentions: return attention weights; default as the configuration says.
            output_hidden_states: return the states after each layer.
            training: apply dropout.
            **others: more for :meth:`encode`, which ``input_names`` has.
        """
        flags = self.output_flags(output_attentions, output_hidden_states)
        if decoder_input_ids is None and decoder_inputs_embeds is None:
            decoder_input_ids = self.default_decoder_input_ids(input_ids)
        has_source = input_ids is not None or inputs_embeds is not None
        encoded = TFBaseModelOutput()
        if encoder_outputs is not None:
            encoded = as_encoder_output(encoder_outputs)
        elif has_source or past_key_values is None:
            encoded = self.encode(
                input_ids,
                attention_mask,
                inputs_embeds=inputs_embeds,
                head_mask=head_mask,
                training=training,
                **others,
                **flags,
            )
        decoded = self.decode(
            decoder_input_ids,
            decoder_attention_mask,
            position_ids=decoder_position_ids,
            inputs_embeds=decoder_inputs_embeds,
            encoder_hidden_states=encoded.last_hidden_state,
            encoder_attention_mask=attention_mask,
            head_mask=decoder_head_mask,
            cross_head_mask=cross_attn_head_mask,
            past_key_values=past_key_values,
            cache_position=cache_position,
            use_cache=use_cache,
            training=training,
            **flags,
        )
        return self.output_type.of(
            last_hidden_state=decoded.last_hidden_state,
            past_key_values=decoded.past_key_values,
            cross_attentions=decoded.cross_attentions,
            **{f"decoder_{name}": decoded[name] for name in STATES if name in decoded},
            **{f"encoder_{name}": value for name, value in encoded.items()},
        )

    def encode(
        self,
        input_ids: tf.Tensor | None,
        attention_mask: tf.Tensor | None,
        *,
        inputs_embeds: tf.Tensor | None = None,
        training: bool = False,
        **inputs: Any,
    ) -> Any:
        """Return the encoder's states; arguments as in :meth:`call`."""
        vectors = token_vectors(
            self.get_input_embeddings(),
            input_ids,
            inputs_embeds,
            max_length=self.max_source_length,
        )
        if inputs_embeds is None:
            vectors *= self.embedding_scale
        length = tf.shape(vectors)[1]
        outputs = self.encoder(
            self.embeddings(vectors, tf.range(length)[None], training=training),
            training=training,
            **self.encoder_attention_inputs(attention_mask, length),
            **inputs,
        )
        return TFBaseModelOutput.of(**outputs._asdict())

    def decode(
        self,
        input_ids: tf.Tensor | None,
        attention_mask: tf.Tensor | None,
        *,
        position_ids: tf.Tensor | None = None,
        inputs_embeds: tf.Tensor | None = None,
        encoder_hidden_states: tf.Tensor | None,
        encoder_attention_mask: tf.Tensor | None,
        past_key_values: Any = None,
        cache_position: tf.Tensor | None = None,
        use_cache: bool | None = None,
        training: bool = False,
        **inputs: Any,
    ) -> Any:
        """Return the decoder's states; the names of :meth:`call`, without ``decoder_``."""
        vectors = token_vectors(
            self.get_decoder_embeddings(),
            input_ids,
            inputs_embeds,
            max_length=self.max_length,
            prefix="decoder_",
        )
        if inputs_embeds is None:
            vectors *= self.embedding_scale
        sizes = past_sizes(past_key_values, cache_position, tf.shape(vectors)[1])
        if position_ids is None:
            position_ids = (sizes["past_length"] + tf.range(sizes["length"]))[None]
        if cache_position is not None:
            inputs["cache_position"] = sizes["past_length"]
        if use_cache is None:
            use_cache = self.config.use_cache and not training
        outputs = self.decoder(
            self.decoder_embeddings(vectors, position_ids, training=training),
            encoder_hidden_states=encoder_hidden_states,
            encoder_bias=attention_bias(encoder_attention_mask),
            past_key_values=past_key_values,
            use_cache=use_cache,
            training=training,
            **self.decoder_attention_inputs(attention_mask, **sizes),
            **inputs,
        )
        return TFBaseModelOutputWithPastAndCrossAttentions.of(**outputs._asdict())


STATES = ("hidden_states", "attentions")


def as_encoder_output(encoder_outputs: Any) -> Any:
    """Return what a caller gives for the encoder's output as one.

    Raises:
        ValueError: it has no states [batch, length, hidden_size].
    """
    given = encoder_outputs
    if isinstance(given, ModelOutput):
        names = ("last_hidden_state", *STATES)
        given = TFBaseModelOutput.of(**{name: given[name] for name in names if name in given})
    else:
        parts = given if isinstance(given, list | tuple) else (given,)
        given = TFBaseModelOutput(*parts[:3])
    states = given.last_hidden_state
    if states is not None:
        given.last_hidden_state = states = tf.convert_to_tensor(states)
    if states is None or states.shape.rank != 3:
        raise ValueError(
            "encoder_outputs must be, or begin with, the encoder's states [batch, length, "
            f"hidden_size], but is {encoder_outputs!r}"
        )
    return given
