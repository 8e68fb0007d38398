"""Gemma 3 on text (Gemma Team, 2025): https://arxiv.org/abs/2503.19786.

Gemma 2 whose heads normalise queries and keys in place of bounding scores; five of six layers see a
window of the text only, and positions turn their queries and keys by shorter wavelengths.
EmbeddingGemma, whose layers look both ways, is one, too.
Reference: ``transformers.models.gemma3.modeling_gemma3``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable
from typing import Any

import tensorflow as tf
from transformers import Gemma3TextConfig

from tfhf.checkpoints.weight_table import Norm
from tfhf.layers import MultiHeadAttention, Rotation
from tfhf.models.gemma2 import WEIGHTS as GEMMA2_WEIGHTS
from tfhf.models.gemma2 import (
    TFGemma2ForCausalLM,
    TFGemma2ForSequenceClassification,
    TFGemma2Model,
    TFGemma2PreTrainedModel,
)

WEIGHTS = dataclasses.replace(
    GEMMA2_WEIGHTS,
    body={
        **GEMMA2_WEIGHTS.body,
        "decoder.layer.{i}.attention.query_norm": Norm("layers.{i}.self_attn.q_norm"),
        "decoder.layer.{i}.attention.key_norm": Norm("layers.{i}.self_attn.k_norm"),
    },
)


class TFGemma3PreTrainedModel(TFGemma2PreTrainedModel):
    """What all Gemma 3 classes share."""

    config_class = Gemma3TextConfig
    weight_table = WEIGHTS

    def make_body(self, **kwargs: Any) -> TFGemma3TextModel:
        """Return Gemma 3 itself."""
        return TFGemma3TextModel(self.config, **kwargs)


class TFGemma3TextModel(TFGemma3PreTrainedModel, TFGemma2Model):
    """Gemma 3 without a head."""

    def make_attention(self, **options: Any) -> MultiHeadAttention:
        """Return attention that normalises queries and keys."""
        return super().make_attention(
            query_norm=self.norm("query_norm", self.head_size),
            key_norm=self.norm("key_norm", self.head_size),
            softcap=None,
            **options,
        )

    def bias(
        self, kind: Hashable, attention_mask: tf.Tensor | None, **options: Any
    ) -> tf.Tensor | None:
        """Return what is added to the scores of a kind of layers, which may look both ways."""
        causal = not self.config.use_bidirectional_attention
        return super().bias(kind, attention_mask, causal=causal, **options)

    def rotation(self, position_ids: tf.Tensor) -> dict[Hashable, Rotation | None]:
        """Return what turns queries and keys in each kind of layers."""
        return {
            kind: self.rotary_angles(position_ids, self.config.rope_parameters[kind])
            for kind in set(self.layer_kinds())
        }


class TFGemma3ForCausalLM(TFGemma3PreTrainedModel, TFGemma2ForCausalLM):
    """Gemma 3 with the scores of the next token."""


class TFGemma3TextForSequenceClassification(
    TFGemma3PreTrainedModel, TFGemma2ForSequenceClassification
):
    """Gemma 3 with a dense layer over the last token."""
