"""CamemBERT (Martin et al., 2020): https://arxiv.org/abs/1911.03894.

RoBERTa on French text, under its own configuration. Reference: ``transformers.models.camembert``.
"""

from __future__ import annotations

from typing import Any

from transformers import CamembertConfig

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


class TFCamembertPreTrainedModel(TFRobertaPreTrainedModel):
    """What all CamemBERT classes share."""

    config_class = CamembertConfig

    def make_body(self, **kwargs: Any) -> TFCamembertModel:
        """Return CamemBERT itself."""
        return TFCamembertModel(self.config, add_pooling_layer=self.needs_pooler, **kwargs)


class TFCamembertModel(TFCamembertPreTrainedModel, TFRobertaModel):
    """CamemBERT without a head."""


class TFCamembertForMaskedLM(TFCamembertPreTrainedModel, TFRobertaForMaskedLM):
    """CamemBERT with a masked language modeling head."""


class TFCamembertForCausalLM(TFCamembertPreTrainedModel, TFRobertaForCausalLM):
    """CamemBERT with a next-token head."""


class TFCamembertForSequenceClassification(
    TFCamembertPreTrainedModel, TFRobertaForSequenceClassification
):
    """CamemBERT with two dense layers over the first token."""


class TFCamembertForMultipleChoice(TFCamembertPreTrainedModel, TFRobertaForMultipleChoice):
    """CamemBERT with a score for each choice."""


class TFCamembertForTokenClassification(
    TFCamembertPreTrainedModel, TFRobertaForTokenClassification
):
    """CamemBERT with a class for each token."""


class TFCamembertForQuestionAnswering(TFCamembertPreTrainedModel, TFRobertaForQuestionAnswering):
    """CamemBERT with start and end scores for each token."""
