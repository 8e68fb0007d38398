"""mT5 (Xue et al., 2021): https://arxiv.org/abs/2010.11934.

T5 for many languages; the head does not scale states.
Reference: ``transformers.models.mt5.modeling_mt5``.
"""

from __future__ import annotations

from typing import Any

from transformers import MT5Config

from tfhf.models.t5 import (
    TFT5EncoderModel,
    TFT5ForConditionalGeneration,
    TFT5ForQuestionAnswering,
    TFT5ForSequenceClassification,
    TFT5ForTokenClassification,
    TFT5Model,
    TFT5PreTrainedModel,
)


class TFMT5PreTrainedModel(TFT5PreTrainedModel):
    """What all mT5 classes share."""

    config_class = MT5Config

    def make_body(self, **kwargs: Any) -> TFT5Model | TFT5EncoderModel:
        """Return mT5 itself."""
        return TFMT5Model(self.config, **kwargs)


class TFMT5Model(TFMT5PreTrainedModel, TFT5Model):
    """mT5 without a head."""


class TFMT5EncoderModel(TFMT5PreTrainedModel, TFT5EncoderModel):
    """The encoder of mT5."""


class TFMT5ForConditionalGeneration(TFMT5PreTrainedModel, TFT5ForConditionalGeneration):
    """mT5 with the scores of the target's next token."""


class TFMT5ForSequenceClassification(TFMT5PreTrainedModel, TFT5ForSequenceClassification):
    """mT5 with two dense layers over the last token of a text, which is source and target."""


class TFMT5ForTokenClassification(TFMT5PreTrainedModel, TFT5ForTokenClassification):
    """The encoder of mT5 with a class for each token."""

    def make_body(self, **kwargs: Any) -> TFT5EncoderModel:
        """Return the encoder."""
        return TFMT5EncoderModel(self.config, **kwargs)


class TFMT5ForQuestionAnswering(TFMT5PreTrainedModel, TFT5ForQuestionAnswering):
    """mT5 with start and end scores for each token of a text, which is source and target."""
