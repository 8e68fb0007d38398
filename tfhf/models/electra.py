"""ELECTRA (Clark et al., 2020): https://arxiv.org/abs/2003.10555.

BERT's encoder without pooler, on token vectors that may be smaller than its states. A generator
fills masks; the discriminator, which is what one fine-tunes, finds the tokens that were replaced.
Reference: ``transformers.models.electra.modeling_electra``.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf
from transformers import ElectraConfig

from tfhf.checkpoints.weight_table import Bias, Dense, Norm, WeightTable
from tfhf.layers import ClassificationHead, LanguageModelingHead, get_tf_activation
from tfhf.losses import replaced_token_loss
from tfhf.models.bert import WEIGHTS as BERT_WEIGHTS
from tfhf.models.bert import TFBertLMHeadModel, TFBertModel, TFBertPreTrainedModel
from tfhf.models.heads import (
    Tensors,
    TFForMaskedLM,
    TFForMultipleChoice,
    TFForQuestionAnswering,
    TFForSequenceClassification,
    TFForTokenClassification,
)
from tfhf.models.roberta import SEQUENCE_CLASSIFIER
from tfhf.outputs import TFElectraForPreTrainingOutput

WEIGHTS = WeightTable(
    prefix="electra",
    body={**BERT_WEIGHTS.body, "embeddings.projection": Dense("embeddings_project")},
    heads={
        "discriminator.hidden": Dense("discriminator_predictions.dense"),
        "discriminator.out": Dense("discriminator_predictions.dense_prediction"),
        "lm_head.transform": Dense("generator_predictions.dense"),
        "lm_head.norm": Norm("generator_predictions.LayerNorm"),
        "lm_head.decoder": Dense("generator_lm_head"),
        "lm_head": Bias("generator_lm_head.bias"),
        "classifier.out": Dense("classifier"),
        "qa_outputs.out": Dense("qa_outputs"),
    },
    tied={"generator_lm_head.weight": "electra.embeddings.word_embeddings.weight"},
)
CHOICE_CLASSIFIER = {
    "classifier.hidden": Dense("sequence_summary.summary"),
    "classifier.out": Dense("classifier"),
}


class TFElectraPreTrainedModel(TFBertPreTrainedModel):
    """What all ELECTRA classes share."""

    config_class = ElectraConfig
    base_model_prefix = "electra"
    weight_table = WEIGHTS
    needs_pooler = False

    def make_body(self, **kwargs: Any) -> TFBertModel:
        """Return ELECTRA itself."""
        return TFElectraModel(self.config, **kwargs)

    def make_lm_head(self) -> LanguageModelingHead:
        """Return the head that scores tokens; it has GELU whatever ``hidden_act`` is."""
        return self.make_scorer("gelu", self.config.layer_norm_eps)


class TFElectraModel(TFElectraPreTrainedModel, TFBertModel):
    """ELECTRA without a head."""


class TFElectraForPreTraining(TFElectraPreTrainedModel):
    """The discriminator: which tokens were replaced? Logits [batch, length].

    ``labels``: int [batch, length], 1 if so.
    """

    label_outputs = {"labels": "logits"}
    output_type = TFElectraForPreTrainingOutput

    def __init__(self, config: ElectraConfig, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        self.add_body()
        self.discriminator = self.make_head(
            1,
            dropout=0.0,
            hidden_activation=get_tf_activation(config.hidden_act),
            name="discriminator",
        )
        self.build()

    def logits(self, body: Any, inputs: Tensors, training: bool) -> Tensors:
        """Score each token."""
        scores = self.discriminator(body.last_hidden_state, training=training)
        return {"logits": tf.squeeze(scores, axis=-1)}

    def label_loss(self, labels: Tensors, logits: Tensors, inputs: Tensors) -> tf.Tensor:
        """Return the loss over the tokens seen."""
        return replaced_token_loss(labels["labels"], logits["logits"], inputs.get("attention_mask"))


class TFElectraForMaskedLM(TFForMaskedLM, TFElectraPreTrainedModel):
    """The generator: ELECTRA with a masked language modeling head."""


class TFElectraForCausalLM(TFElectraPreTrainedModel, TFBertLMHeadModel):
    """ELECTRA with a next-token head; ``config.is_decoder=True`` makes it causal."""


class TFElectraForSequenceClassification(TFForSequenceClassification, TFElectraPreTrainedModel):
    """ELECTRA with two dense layers over the first token."""

    weight_table = dataclasses.replace(WEIGHTS, heads=SEQUENCE_CLASSIFIER)

    def make_classifier(self, num_labels: int) -> ClassificationHead:
        """Return dropout and a dense layer with GELU, both twice."""
        rate = self.classifier_dropout()
        return self.make_head(
            num_labels,
            dropout=rate,
            hidden_activation=get_tf_activation("gelu"),
            hidden_dropout=rate,
        )


class TFElectraForMultipleChoice(TFForMultipleChoice, TFElectraPreTrainedModel):
    """ELECTRA with a score for each choice, from the summary that ``config.summary_type`` names.

    Raises:
        ValueError: ``config.summary_type`` is none of "first", "last", "mean" and "cls_index".
    """

    pooled_states = None
    weight_table = dataclasses.replace(WEIGHTS, heads=CHOICE_CLASSIFIER)

    def summary_activation(self) -> Any:
        """Return the function that ends a summary."""
        return get_tf_activation(self.config.summary_activation or "linear")

    def make_choice_classifier(self, num_labels: int) -> ClassificationHead:
        """Return the summary's dense layer, dropout and the scores."""
        projected = self.config.summary_use_proj
        return self.make_head(
            num_labels,
            dropout=self.config.summary_last_dropout,
            hidden_activation=self.summary_activation() if projected else None,
        )

    def pooled(self, body: Any, inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        """Return the first state, the last ("cls_index" too), or the mean of all, padding too."""
        states, kind = body.last_hidden_state, self.config.summary_type
        if kind == "first":
            vector = states[:, 0]
        elif kind in ("last", "cls_index"):
            vector = states[:, -1]
        elif kind == "mean":
            vector = tf.reduce_mean(states, axis=1)
        else:
            raise ValueError(
                f'config.summary_type must be "first", "last", "mean" or "cls_index", not {kind!r}'
            )
        return vector if self.config.summary_use_proj else self.summary_activation()(vector)


class TFElectraForTokenClassification(TFForTokenClassification, TFElectraPreTrainedModel):
    """ELECTRA with a class for each token."""


class TFElectraForQuestionAnswering(TFForQuestionAnswering, TFElectraPreTrainedModel):
    """ELECTRA with start and end scores for each token."""
