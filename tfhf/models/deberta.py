"""DeBERTa (He et al., 2020): https://arxiv.org/abs/2006.03654.

As its second version, but for names: positions are put in no buckets, nothing is convolved, and
attention's keys have no bias. Reference: ``transformers.models.deberta.modeling_deberta``.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from transformers import DebertaConfig

from tfhf.checkpoints.weight_table import Dense, HeadByHead, Parameters
from tfhf.layers import DisentangledStack
from tfhf.models.deberta_v2 import WEIGHTS as V2_WEIGHTS
from tfhf.models.deberta_v2 import (
    TFDebertaV2ForMaskedLM,
    TFDebertaV2ForQuestionAnswering,
    TFDebertaV2ForSequenceClassification,
    TFDebertaV2ForTokenClassification,
    TFDebertaV2Model,
    TFDebertaV2PreTrainedModel,
)

ATTENTION = "encoder.layer.{i}.attention"

WEIGHTS = dataclasses.replace(
    V2_WEIGHTS,
    body={
        **{path: row for path, row in V2_WEIGHTS.body.items() if path != f"{ATTENTION}.qkv"},
        ATTENTION: HeadByHead(f"{ATTENTION}.self.in_proj"),
        f"{ATTENTION}.query_value_bias": Parameters(
            {
                "query_bias": f"{ATTENTION}.self.q_bias",
                "value_bias": f"{ATTENTION}.self.v_bias",
            }
        ),
        f"{ATTENTION}.position_key": Dense(f"{ATTENTION}.self.pos_proj"),
        f"{ATTENTION}.position_query": Dense(f"{ATTENTION}.self.pos_q_proj"),
    },
)


class TFDebertaPreTrainedModel(TFDebertaV2PreTrainedModel):
    """What all DeBERTa classes share."""

    config_class = DebertaConfig
    weight_table = WEIGHTS

    def make_body(self, **kwargs: Any) -> TFDebertaModel:
        """Return DeBERTa itself."""
        return TFDebertaModel(self.config, **kwargs)


class TFDebertaModel(TFDebertaPreTrainedModel, TFDebertaV2Model):
    """DeBERTa without a head."""

    key_bias = False

    def make_encoder(self) -> DisentangledStack:
        """Return the layers.

        Raises:
            ValueError: ``config.talking_head``, which no published checkpoint has, is set.
        """
        if getattr(self.config, "talking_head", False):
            raise ValueError("config.talking_head=True is not supported")
        return super().make_encoder()


class TFDebertaForMaskedLM(TFDebertaV2ForMaskedLM, TFDebertaPreTrainedModel):
    """DeBERTa with a masked language modeling head; ``config.legacy`` says which."""


class TFDebertaForSequenceClassification(
    TFDebertaV2ForSequenceClassification, TFDebertaPreTrainedModel
):
    """DeBERTa with two dense layers over the first token."""


class TFDebertaForTokenClassification(TFDebertaV2ForTokenClassification, TFDebertaPreTrainedModel):
    """DeBERTa with a class for each token."""


class TFDebertaForQuestionAnswering(TFDebertaV2ForQuestionAnswering, TFDebertaPreTrainedModel):
    """DeBERTa with start and end scores for each token."""
