"""Qwen 2 and 2.5 (Yang et al., 2024): https://arxiv.org/abs/2407.10671.

Llama with biases of queries, keys and values; some layers may see a window of the text only.
Reference: ``transformers.models.qwen2.modeling_qwen2``.
"""

from __future__ import annotations

from typing import Any

from transformers import Qwen2Config

from tfhf.layers import MultiHeadAttention
from tfhf.models.llama import (
    TFLlamaForCausalLM,
    TFLlamaForQuestionAnswering,
    TFLlamaForSequenceClassification,
    TFLlamaForTokenClassification,
    TFLlamaModel,
    TFLlamaPreTrainedModel,
)


class TFQwen2PreTrainedModel(TFLlamaPreTrainedModel):
    """What all Qwen 2 classes share."""

    config_class = Qwen2Config

    def make_body(self, **kwargs: Any) -> TFQwen2Model:
        """Return Qwen 2 itself."""
        return TFQwen2Model(self.config, **kwargs)


class TFQwen2Model(TFQwen2PreTrainedModel, TFLlamaModel):
    """Qwen 2 without a head."""

    def make_attention(self, **options: Any) -> MultiHeadAttention:
        """Return attention with biases, but for what comes out."""
        return super().make_attention(use_bias=True, out_bias=False, **options)


class TFQwen2ForCausalLM(TFQwen2PreTrainedModel, TFLlamaForCausalLM):
    """Qwen 2 with the scores of the next token."""


class TFQwen2ForSequenceClassification(TFQwen2PreTrainedModel, TFLlamaForSequenceClassification):
    """Qwen 2 with a dense layer over the last token."""


class TFQwen2ForTokenClassification(TFQwen2PreTrainedModel, TFLlamaForTokenClassification):
    """Qwen 2 with a class for each token."""


class TFQwen2ForQuestionAnswering(TFQwen2PreTrainedModel, TFLlamaForQuestionAnswering):
    """Qwen 2 with start and end scores for each token."""
