"""RoBERTa (Liu et al., 2019): https://arxiv.org/abs/1907.11692.

BERT's encoder; positions count from ``pad_token_id`` + 1 and skip padding, and the heads differ.
Reference: ``transformers.models.roberta.modeling_roberta``.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf
from transformers import RobertaConfig

from tfhf.checkpoints.weight_table import Bias, Dense, Norm, WeightTable
from tfhf.layers import ClassificationHead, LanguageModelingHead
from tfhf.models.bert import WEIGHTS as BERT_WEIGHTS
from tfhf.models.bert import TFBertLMHeadModel, TFBertModel, TFBertPreTrainedModel
from tfhf.models.heads import (
    TFForMaskedLM,
    TFForMultipleChoice,
    TFForQuestionAnswering,
    TFForSequenceClassification,
    TFForTokenClassification,
)

WEIGHTS = WeightTable(
    prefix="roberta",
    body=BERT_WEIGHTS.body,
    heads={
        "lm_head.transform": Dense("lm_head.dense"),
        "lm_head.norm": Norm("lm_head.layer_norm"),
        "lm_head.decoder": Dense("lm_head.decoder"),
        "lm_head": Bias("lm_head.bias"),
        "classifier.out": Dense("classifier"),
        "qa_outputs.out": Dense("qa_outputs"),
    },
    tied={
        "lm_head.decoder.weight": "roberta.embeddings.word_embeddings.weight",
        "lm_head.decoder.bias": "lm_head.bias",
    },
)
SEQUENCE_CLASSIFIER = {
    "classifier.hidden": Dense("classifier.dense"),
    "classifier.out": Dense("classifier.out_proj"),
}


class TFRobertaPreTrainedModel(TFBertPreTrainedModel):
    """What all RoBERTa classes share."""

    config_class = RobertaConfig
    base_model_prefix = "roberta"
    weight_table = WEIGHTS

    def make_body(self, **kwargs: Any) -> TFBertModel:
        """Return RoBERTa itself."""
        return TFRobertaModel(self.config, add_pooling_layer=self.needs_pooler, **kwargs)

    def make_lm_head(self) -> LanguageModelingHead:
        """Return the head that scores tokens; it has GELU whatever ``hidden_act`` is."""
        return self.make_scorer("gelu", self.config.layer_norm_eps)

    @property
    def padding_id(self) -> int:
        """The token that has no position of its own."""
        return self.config.pad_token_id

    @property
    def first_position(self) -> int:
        """The position of a sequence's first token."""
        return self.padding_id + 1

    @property
    def max_length(self) -> int:
        """The number of tokens that the model has positions for."""
        return self.config.max_position_embeddings - self.first_position


class TFRobertaModel(TFRobertaPreTrainedModel, TFBertModel):
    """RoBERTa without a head."""

    def positions(
        self, input_ids: tf.Tensor | None, length: tf.Tensor, past_length: tf.Tensor | int
    ) -> tf.Tensor:
        """Return positions from ``padding_id`` + 1 on; padding has ``padding_id``."""
        if input_ids is None:
            return super().positions(input_ids, length, past_length)
        real = tf.not_equal(input_ids, self.padding_id)
        counted = tf.cumsum(tf.cast(real, tf.int32), axis=1) + (self.padding_id + past_length)
        return tf.where(real, counted, self.padding_id)


class TFRobertaForMaskedLM(TFForMaskedLM, TFRobertaPreTrainedModel):
    """RoBERTa with a masked language modeling head."""


class TFRobertaForCausalLM(TFRobertaPreTrainedModel, TFBertLMHeadModel):
    """RoBERTa with a next-token head; ``config.is_decoder=True`` makes it causal."""


class TFRobertaForSequenceClassification(TFForSequenceClassification, TFRobertaPreTrainedModel):
    """RoBERTa with two dense layers over the first token."""

    needs_pooler = False
    weight_table = dataclasses.replace(WEIGHTS, heads=SEQUENCE_CLASSIFIER)

    def make_classifier(self, num_labels: int) -> ClassificationHead:
        """Return dropout and a dense layer with tanh, both twice."""
        rate = self.classifier_dropout()
        return self.make_head(
            num_labels, dropout=rate, hidden_activation=tf.tanh, hidden_dropout=rate
        )


class TFRobertaForMultipleChoice(TFForMultipleChoice, TFRobertaPreTrainedModel):
    """RoBERTa with a score for each choice."""


class TFRobertaForTokenClassification(TFForTokenClassification, TFRobertaPreTrainedModel):
    """RoBERTa with a class for each token."""


class TFRobertaForQuestionAnswering(TFForQuestionAnswering, TFRobertaPreTrainedModel):
    """RoBERTa with start and end scores for each token."""
