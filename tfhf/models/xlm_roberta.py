"""XLM-RoBERTa (Conneau et al., 2020): https://arxiv.org/abs/1911.02116.

RoBERTa on text in 100 languages, under its own configuration. Reference:
``transformers.models.xlm_roberta``.
"""

from __future__ import annotations

from typing import Any

from transformers import XLMRobertaConfig

from tfhf.models.roberta import (
    TFRobertaForCausalLM,
    TFRobertaForMaskedLM,
    TFRobertaForMultipleChoice,
    TFRobertaForQuestionAnswering,
    TFRobertaForSequenceClassification,
    TFRobertaForTokenClassification,
    TFRobertaModel,
    TFRobertaPreTrainedModel,
)


class TFXLMRobertaPreTrainedModel(TFRobertaPreTrainedModel):
    """What all XLM-RoBERTa classes share."""

    config_class = XLMRobertaConfig

    def make_body(self, **kwargs: Any) -> TFXLMRobertaModel:
        """Return XLM-RoBERTa itself."""
        return TFXLMRobertaModel(self.config, add_pooling_layer=self.needs_pooler, **kwargs)


class TFXLMRobertaModel(TFXLMRobertaPreTrainedModel, TFRobertaModel):
    """XLM-RoBERTa without a head."""


class TFXLMRobertaForMaskedLM(TFXLMRobertaPreTrainedModel, TFRobertaForMaskedLM):
    """XLM-RoBERTa with a masked language modeling head."""


class TFXLMRobertaForCausalLM(TFXLMRobertaPreTrainedModel, TFRobertaForCausalLM):
    """XLM-RoBERTa with a next-token head."""


class TFXLMRobertaForSequenceClassification(
    TFXLMRobertaPreTrainedModel, TFRobertaForSequenceClassification
):
    """XLM-RoBERTa with two dense layers over the first token."""


class TFXLMRobertaForMultipleChoice(TFXLMRobertaPreTrainedModel, TFRobertaForMultipleChoice):
    """XLM-RoBERTa with a score for each choice."""


class TFXLMRobertaForTokenClassification(
    TFXLMRobertaPreTrainedModel, TFRobertaForTokenClassification
):
    """XLM-RoBERTa with a class for each token."""


class TFXLMRobertaForQuestionAnswering(TFXLMRobertaPreTrainedModel, TFRobertaForQuestionAnswering):
    """XLM-RoBERTa with start and end scores for each token."""
