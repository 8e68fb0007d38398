"""Qwen 3 (Yang et al., 2025): https://arxiv.org/abs/2505.09388.

Llama whose heads normalise queries and keys; some layers may see a window of the text only.
Reference: ``transformers.models.qwen3.modeling_qwen3``.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from transformers import Qwen3Config

from tfhf.checkpoints.weight_table import Norm
from tfhf.layers import MultiHeadAttention
from tfhf.models.llama import WEIGHTS as LLAMA_WEIGHTS
from tfhf.models.llama import (
    TFLlamaForCausalLM,
    TFLlamaForQuestionAnswering,
    TFLlamaForSequenceClassification,
    TFLlamaForTokenClassification,
    TFLlamaModel,
    TFLlamaPreTrainedModel,
)

WEIGHTS = dataclasses.replace(
    LLAMA_WEIGHTS,
    body={
        **LLAMA_WEIGHTS.body,
        "decoder.layer.{i}.attention.query_norm": Norm("layers.{i}.self_attn.q_norm"),
        "decoder.layer.{i}.attention.key_norm": Norm("layers.{i}.self_attn.k_norm"),
    },
)


class TFQwen3PreTrainedModel(TFLlamaPreTrainedModel):
    """What all Qwen 3 classes share."""

    config_class = Qwen3Config
    weight_table = WEIGHTS

    def make_body(self, **kwargs: Any) -> TFQwen3Model:
        """Return Qwen 3 itself."""
        return TFQwen3Model(self.config, **kwargs)


class TFQwen3Model(TFQwen3PreTrainedModel, TFLlamaModel):
    """Qwen 3 without a head."""

    def make_attention(self, **options: Any) -> MultiHeadAttention:
        """Return attention that normalises queries and keys."""
        return super().make_attention(
            query_norm=self.norm("query_norm", self.head_size),
            key_norm=self.norm("key_norm", self.head_size),
            **options,
        )


class TFQwen3ForCausalLM(TFQwen3PreTrainedModel, TFLlamaForCausalLM):
    """Qwen 3 with the scores of the next token."""


class TFQwen3ForSequenceClassification(TFQwen3PreTrainedModel, TFLlamaForSequenceClassification):
    """Qwen 3 with a dense layer over the last token."""


class TFQwen3ForTokenClassification(TFQwen3PreTrainedModel, TFLlamaForTokenClassification):
    """Qwen 3 with a class for each token."""


class TFQwen3ForQuestionAnswering(TFQwen3PreTrainedModel, TFLlamaForQuestionAnswering):
    """Qwen 3 with start and end scores for each token."""

    weight_table = dataclasses.replace(WEIGHTS, prefix="transformer")
