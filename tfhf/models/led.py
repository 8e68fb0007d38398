"""LED (Beltagy et al., 2020), which reads long texts: https://arxiv.org/abs/2004.05150.

BART whose encoder is Longformer's: tokens see a window of their neighbours, and a few global tokens
that see, and are seen by, all. What is said of XLA in `longformer` is so here, too.
Reference: ``transformers.models.led.modeling_led``.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, ClassVar

import tensorflow as tf
from transformers import LEDConfig

from tfhf.checkpoints.weight_table import Dense
from tfhf.layers import InputEmbeddings, SlidingWindowAttention, TransformerStack
from tfhf.layers.embeddings import token_vectors
from tfhf.models.bart import WEIGHTS as BART_WEIGHTS
from tfhf.models.bart import TFBartModel, TFBartPreTrainedModel
from tfhf.models.heads import TFForQuestionAnswering
from tfhf.models.longformer import encode_in_windows, layer_windows
from tfhf.models.seq2seq import TFSeq2SeqModel
from tfhf.models.seq2seq_heads import TFForConditionalGeneration
from tfhf.outputs import (
    TFLEDEncoderBaseModelOutput,
    TFLEDSeq2SeqLMOutput,
    TFLEDSeq2SeqModelOutput,
    TFLEDSeq2SeqQuestionAnsweringModelOutput,
)

OURS = "encoder.layer.{i}.attention"
THEIRS = "encoder.layers.{i}.self_attn"

WEIGHTS = dataclasses.replace(
    BART_WEIGHTS,
    prefix="led",
    body={
        **BART_WEIGHTS.body,
        f"{OURS}.qkv": Dense(f"{THEIRS}.longformer_self_attn.{{query,key,value}}"),
        f"{OURS}.global_query": Dense(f"{THEIRS}.longformer_self_attn.query_global"),
        f"{OURS}.global_key_value": Dense(
            f"{THEIRS}.longformer_self_attn.{{key_global,value_global}}"
        ),
        f"{OURS}.out": Dense(f"{THEIRS}.output"),
    },
    tied={
        copy.replace("model.", "led."): original.replace("model.", "led.")
        for copy, original in BART_WEIGHTS.tied.items()
    },
)


class TFLEDPreTrainedModel(TFBartPreTrainedModel):
    """What all LED classes share."""

    config_class = LEDConfig
    base_model_prefix = "led"
    weight_table = WEIGHTS
    input_names: ClassVar[tuple[str, ...]] = (
        "input_ids",
        "attention_mask",
        "decoder_input_ids",
        "decoder_attention_mask",
        "head_mask",
        "decoder_head_mask",
        "encoder_outputs",
        "global_attention_mask",
        "past_key_values",
        "inputs_embeds",
        "decoder_inputs_embeds",
        "use_cache",
        "cache_position",
        "decoder_position_ids",
        "cross_attn_head_mask",
    )

    @property
    def max_length(self) -> int:
        """The number of tokens that the decoder has positions for."""
        return self.config.max_decoder_position_embeddings

    @property
    def max_source_length(self) -> int:
        """The number of tokens that the encoder has positions for."""
        return self.config.max_encoder_position_embeddings

    def make_body(self, **kwargs: Any) -> TFLEDModel:
        """Return LED itself."""
        return TFLEDModel(self.config, **kwargs)


class TFLEDModel(TFLEDPreTrainedModel, TFBartModel):
    """LED without a head.

    Beside the inputs of all encoder-decoders it takes ``global_attention_mask`` [batch, length], 1
    for the tokens of the source that see all, such as the first; -1 is padding.

    Example:
        >>> model = TFLEDModel(LEDConfig(d_model=4, encoder_layers=1, decoder_layers=1,
        ...     vocab_size=9, encoder_attention_heads=1, decoder_attention_heads=1,
        ...     attention_window=4))
        >>> ids = tf.constant([[0, 4, 5, 6, 2]])
        >>> model(ids, global_attention_mask=tf.constant([[1, 0, 0, 0, 0]]))[0].shape
        TensorShape([1, 5, 4])
    """

    output_type = TFLEDSeq2SeqModelOutput
    embedding_scale = TFSeq2SeqModel.embedding_scale

    def make_embeddings(self) -> InputEmbeddings:
        """Return the sum of the vectors of tokens and positions, normalised."""
        config = self.config
        return self.make_input_embeddings(
            "embeddings", config.vocab_size, config.max_encoder_position_embeddings, 0
        )

    def make_decoder_embeddings(self) -> InputEmbeddings:
        """Return the same for another number of positions."""
        config = self.config
        return self.make_input_embeddings(
            "decoder_embeddings", config.vocab_size, config.max_decoder_position_embeddings, 0
        )

    def make_encoder(self) -> TransformerStack:
        """Return the layers of the encoder, each with its own window."""
        config = self.config
        layers = [
            self.make_layer(
                i,
                config.encoder_attention_heads,
                config.encoder_ffn_dim,
                attention_type=functools.partial(SlidingWindowAttention, window=window),
            )
            for i, window in enumerate(layer_windows(config))
        ]
        return self.make_stack("encoder", layers)

    def encode(
        self,
        input_ids: tf.Tensor | None,
        attention_mask: tf.Tensor | None,
        *,
        inputs_embeds: tf.Tensor | None = None,
        global_attention_mask: tf.Tensor | None = None,
        training: bool = False,
        **inputs: Any,
    ) -> TFLEDEncoderBaseModelOutput:
        """Return the encoder's states; arguments as in :meth:`call`."""
        table, limit = self.get_input_embeddings(), self.max_source_length
        vectors = token_vectors(table, input_ids, inputs_embeds, max_length=limit)
        position_ids = tf.range(tf.shape(vectors)[1])[None]
        outputs = encode_in_windows(
            self.encoder,
            layer_windows(self.config),
            self.embeddings(vectors, position_ids, training=training),
            attention_mask,
            global_attention_mask,
            training=training,
            **inputs,
        )
        return TFLEDEncoderBaseModelOutput.of(**outputs)


class TFLEDForConditionalGeneration(TFForConditionalGeneration, TFLEDPreTrainedModel):
    """LED with the scores of the target's next token."""

    output_type = TFLEDSeq2SeqLMOutput


class TFLEDForQuestionAnswering(TFForQuestionAnswering, TFLEDPreTrainedModel):
    """LED with start and end scores for each token."""

    output_type = TFLEDSeq2SeqQuestionAnsweringModelOutput
