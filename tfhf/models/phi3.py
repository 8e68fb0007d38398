"""Phi-3 and Phi-4 mini (Abdin et al., 2024): https://arxiv.org/abs/2404.14219.

Mistral with its queries, keys and values in one matrix, and dropout; long texts may have other
wavelengths of positions than short ones.
Reference: ``transformers.models.phi3.modeling_phi3``.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from transformers import Phi3Config

from tfhf.checkpoints.weight_table import Dense
from tfhf.layers import PreNormLayer
from tfhf.models.llama import WEIGHTS as LLAMA_WEIGHTS
from tfhf.models.mistral import (
    TFMistralForCausalLM,
    TFMistralForSequenceClassification,
    TFMistralForTokenClassification,
    TFMistralModel,
    TFMistralPreTrainedModel,
)

WEIGHTS = dataclasses.replace(
    LLAMA_WEIGHTS,
    body={
        **LLAMA_WEIGHTS.body,
        "decoder.layer.{i}.attention.qkv": Dense("layers.{i}.self_attn.qkv_proj"),
        "decoder.layer.{i}.feed_forward.intermediate": Dense("layers.{i}.mlp.gate_up_proj"),
    },
)


class TFPhi3PreTrainedModel(TFMistralPreTrainedModel):
    """What all Phi-3 classes share."""

    config_class = Phi3Config
    weight_table = WEIGHTS

    def make_body(self, **kwargs: Any) -> TFPhi3Model:
        """Return Phi-3 itself."""
        return TFPhi3Model(self.config, **kwargs)


class TFPhi3Model(TFPhi3PreTrainedModel, TFMistralModel):
    """Phi-3 without a head."""

    def make_layer(self, index: int, **options: Any) -> PreNormLayer:
        """Return a layer with dropout."""
        rate = self.config.resid_pdrop
        return super().make_layer(index, dropout=rate, feed_forward_dropout=rate, **options)


class TFPhi3ForCausalLM(TFPhi3PreTrainedModel, TFMistralForCausalLM):
    """Phi-3 with the scores of the next token.

    Where a text grows beyond ``config.original_max_position_embeddings`` while it is generated,
    Transformers reads all of it anew; here what was read before stays turned as in a short text.
    """


class TFPhi3ForSequenceClassification(TFPhi3PreTrainedModel, TFMistralForSequenceClassification):
    """Phi-3 with a dense layer over the last token."""


class TFPhi3ForTokenClassification(TFPhi3PreTrainedModel, TFMistralForTokenClassification):
    """Phi-3 with a class for each token."""
