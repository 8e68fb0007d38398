"""Gemma 2 (Gemma Team, 2024): https://arxiv.org/abs/2408.00118.

Llama with a normalisation after each part, too, scores that are bounded, token vectors that are
scaled; every other layer sees a window of the text only.
Reference: ``transformers.models.gemma2.modeling_gemma2``.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import tensorflow as tf
from transformers import Gemma2Config

from tfhf.checkpoints.weight_table import Norm
from tfhf.layers import LanguageModelingHead, MultiHeadAttention, PreNormLayer, RMSNorm
from tfhf.models.llama import WEIGHTS as LLAMA_WEIGHTS
from tfhf.models.llama import (
    TFLlamaForCausalLM,
    TFLlamaForSequenceClassification,
    TFLlamaForTokenClassification,
    TFLlamaModel,
    TFLlamaPreTrainedModel,
)

WEIGHTS = dataclasses.replace(
    LLAMA_WEIGHTS,
    body={
        **LLAMA_WEIGHTS.body,
        "decoder.layer.{i}.attention_out_norm": Norm("layers.{i}.post_attention_layernorm"),
        "decoder.layer.{i}.feed_forward_norm": Norm("layers.{i}.pre_feedforward_layernorm"),
        "decoder.layer.{i}.feed_forward_out_norm": Norm("layers.{i}.post_feedforward_layernorm"),
    },
)


class TFGemma2PreTrainedModel(TFLlamaPreTrainedModel):
    """What all Gemma 2 classes share."""

    config_class = Gemma2Config
    weight_table = WEIGHTS

    def make_body(self, **kwargs: Any) -> TFGemma2Model:
        """Return Gemma 2 itself."""
        return TFGemma2Model(self.config, **kwargs)

    def make_lm_head(self) -> LanguageModelingHead:
        """Return the scores of all tokens, bounded."""
        return self.make_next_token_head(softcap=self.config.final_logit_softcapping)


class TFGemma2Model(TFGemma2PreTrainedModel, TFLlamaModel):
    """Gemma 2 without a head."""

    @property
    def activation(self) -> str:
        """The name of the feed-forward's activation."""
        return self.config.hidden_activation

    def norm(self, name: str, size: int | None = None, **options: Any) -> RMSNorm:
        """Return a normalisation whose weights are kept as what is over 1."""
        return super().norm(name, size, offset=1.0, **options)

    def make_attention(self, **options: Any) -> MultiHeadAttention:
        """Return attention whose scores are bounded."""
        config = self.config
        bounded = {"softcap": config.attn_logit_softcapping}
        return super().make_attention(
            scaling=config.query_pre_attn_scalar**-0.5, **(bounded | options)
        )

    def make_layer(self, index: int, **options: Any) -> PreNormLayer:
        """Return a layer that normalises what each part reads, and what it gives."""
        return super().make_layer(
            index,
            attention_out_norm=self.norm("attention_out_norm"),
            feed_forward_out_norm=self.norm("feed_forward_out_norm"),
            **options,
        )

    def token_vectors(
        self, input_ids: tf.Tensor | None, inputs_embeds: tf.Tensor | None
    ) -> tf.Tensor:
        """Return the vectors of the tokens, scaled, or those given, which are scaled already."""
        vectors = super().token_vectors(input_ids, inputs_embeds)
        if input_ids is None:
            return vectors
        return vectors * tf.cast(math.sqrt(self.config.hidden_size), vectors.dtype)


class TFGemma2ForCausalLM(TFGemma2PreTrainedModel, TFLlamaForCausalLM):
    """Gemma 2 with the scores of the next token."""


class TFGemma2ForSequenceClassification(TFGemma2PreTrainedModel, TFLlamaForSequenceClassification):
    """Gemma 2 with a dense layer over the last token."""


class TFGemma2ForTokenClassification(TFGemma2PreTrainedModel, TFLlamaForTokenClassification):
    """Gemma 2 with a class for each token."""
