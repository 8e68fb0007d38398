"""Mistral (Jiang et al., 2023): https://arxiv.org/abs/2310.06825.

Llama whose layers may see a window of the text only.
Reference: ``transformers.models.mistral.modeling_mistral``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import MistralConfig

from tfhf.models.heads import TFForQuestionAnswering
from tfhf.models.llama import (
    TFLlamaForCausalLM,
    TFLlamaForSequenceClassification,
    TFLlamaForTokenClassification,
    TFLlamaModel,
    TFLlamaPreTrainedModel,
)


class TFMistralPreTrainedModel(TFLlamaPreTrainedModel):
    """What all Mistral classes share."""

    config_class = MistralConfig

    def make_body(self, **kwargs: Any) -> TFMistralModel:
        """Return Mistral itself."""
        return TFMistralModel(self.config, **kwargs)


class TFMistralModel(TFMistralPreTrainedModel, TFLlamaModel):
    """Mistral without a head."""

    def layer_kinds(self) -> Sequence[str]:
        """Return the same kind for all layers: with a window, or without."""
        config = self.config
        kind = "full_attention" if config.sliding_window is None else "sliding_attention"
        return [kind] * config.num_hidden_layers


class TFMistralForCausalLM(TFMistralPreTrainedModel, TFLlamaForCausalLM):
    """Mistral with the scores of the next token."""


class TFMistralForSequenceClassification(
    TFMistralPreTrainedModel, TFLlamaForSequenceClassification
):
    """Mistral with a dense layer over the last token."""


class TFMistralForTokenClassification(TFMistralPreTrainedModel, TFLlamaForTokenClassification):
    """Mistral with a class for each token."""


class TFMistralForQuestionAnswering(TFForQuestionAnswering, TFMistralPreTrainedModel):
    """Mistral with start and end scores for each token."""
