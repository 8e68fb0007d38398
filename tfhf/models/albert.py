"""ALBERT (Lan et al., 2019): https://arxiv.org/abs/1909.11942.

BERT on small token vectors, with few layers that run again and again. Reference:
``transformers.models.albert.modeling_albert``.
"""

from __future__ import annotations

from typing import Any, ClassVar

from transformers import AlbertConfig

from tfhf.checkpoints.weight_table import Bias, Dense, Embedding, Norm, WeightTable
from tfhf.layers import ClassificationHead, TransformerLayer, TransformerStack
from tfhf.models.bert import (
    TFBertForPreTraining,
    TFBertModel,
    TFBertPreTrainedModel,
)
from tfhf.models.heads import (
    TFForMaskedLM,
    TFForMultipleChoice,
    TFForQuestionAnswering,
    TFForSequenceClassification,
    TFForTokenClassification,
)
from tfhf.outputs import TFAlbertForPreTrainingOutput

LAYER = "encoder.albert_layer_groups.{i}.albert_layers.{j}"

WEIGHTS = WeightTable(
    prefix="albert",
    body={
        "embeddings.token": Embedding("embeddings.word_embeddings"),
        "embeddings.position": Embedding("embeddings.position_embeddings"),
        "embeddings.token_type": Embedding("embeddings.token_type_embeddings"),
        "embeddings.norm": Norm("embeddings.LayerNorm"),
        "embeddings.projection": Dense("encoder.embedding_hidden_mapping_in"),
        "encoder.groups.{i}.{j}.attention.qkv": Dense(f"{LAYER}.attention.{{query,key,value}}"),
        "encoder.groups.{i}.{j}.attention.out": Dense(f"{LAYER}.attention.dense"),
        "encoder.groups.{i}.{j}.attention_norm": Norm(f"{LAYER}.attention.LayerNorm"),
        "encoder.groups.{i}.{j}.feed_forward.intermediate": Dense(f"{LAYER}.ffn"),
        "encoder.groups.{i}.{j}.feed_forward.out": Dense(f"{LAYER}.ffn_output"),
        "encoder.groups.{i}.{j}.output_norm": Norm(f"{LAYER}.full_layer_layer_norm"),
        "pooler": Dense("pooler"),
    },
    heads={
        "lm_head.transform": Dense("predictions.dense"),
        "lm_head.norm": Norm("predictions.LayerNorm"),
        "lm_head.decoder": Dense("predictions.decoder"),
        "lm_head": Bias("predictions.bias"),
        "next_sentence.out": Dense("sop_classifier.classifier"),
        "classifier.out": Dense("classifier"),
        "qa_outputs.out": Dense("qa_outputs"),
    },
    tied={
        "predictions.decoder.weight": "albert.embeddings.word_embeddings.weight",
        "predictions.decoder.bias": "predictions.bias",
    },
)


class TFAlbertEncoder(TransformerStack):
    """Groups of layers; each group is as many of the ``num_layers`` runs as the others."""

    def __init__(
        self, groups: list[list[TransformerLayer]], num_layers: int, **kwargs: Any
    ) -> None:
        # A float, as the checkpoints were trained: i * groups / layers may round otherwise.
        runs_per_group = num_layers / len(groups)
        runs = [groups[int(i / runs_per_group)] for i in range(num_layers)]
        super().__init__([layer for group in runs for layer in group], **kwargs)
        self.groups = groups


class TFAlbertPreTrainedModel(TFBertPreTrainedModel):
    """What all ALBERT classes share."""

    config_class = AlbertConfig
    base_model_prefix = "albert"
    weight_table = WEIGHTS
    input_names: ClassVar[tuple[str, ...]] = (
        "input_ids",
        "attention_mask",
        "token_type_ids",
        "position_ids",
        "head_mask",
        "inputs_embeds",
    )

    def make_body(self, **kwargs: Any) -> TFBertModel:
        """Return ALBERT itself."""
        return TFAlbertModel(self.config, add_pooling_layer=self.needs_pooler, **kwargs)

    def classifier_dropout(self) -> float:
        """Return the rate before a classifier."""
        return self.config.classifier_dropout_prob

    def make_next_sentence_head(self) -> ClassificationHead:
        """Return the layer between the pooled output and the order of two sentences."""
        return self.make_head(
            self.config.num_labels, dropout=self.classifier_dropout(), name="next_sentence"
        )


class TFAlbertModel(TFAlbertPreTrainedModel, TFBertModel):
    """ALBERT without a head."""

    always_project = True

    def make_encoder(self) -> TFAlbertEncoder:
        """Return the groups of layers, each run several times."""
        config = self.config
        groups = [
            [self.make_layer(f"layer_{i}_{j}") for j in range(config.inner_group_num)]
            for i in range(config.num_hidden_groups)
        ]
        return TFAlbertEncoder(
            groups, config.num_hidden_layers, name="encoder", dtype=self.dtype_policy
        )


class TFAlbertForPreTraining(TFAlbertPreTrainedModel, TFBertForPreTraining):
    """Masked language modeling and sentence order, as ALBERT was trained.

    ``labels`` int [batch, length] (-100: not masked) and ``sentence_order_label`` int [batch].
    """

    label_outputs = {"labels": "prediction_logits", "sentence_order_label": "sop_logits"}
    output_type = TFAlbertForPreTrainingOutput


class TFAlbertForMaskedLM(TFForMaskedLM, TFAlbertPreTrainedModel):
    """ALBERT with a masked language modeling head."""


class TFAlbertForSequenceClassification(TFForSequenceClassification, TFAlbertPreTrainedModel):
    """ALBERT with a dense layer over the pooled output."""


class TFAlbertForMultipleChoice(TFForMultipleChoice, TFAlbertPreTrainedModel):
    """ALBERT with a score for each choice."""


class TFAlbertForTokenClassification(TFForTokenClassification, TFAlbertPreTrainedModel):
    """ALBERT with a class for each token."""


class TFAlbertForQuestionAnswering(TFForQuestionAnswering, TFAlbertPreTrainedModel):
    """ALBERT with start and end scores for each token."""
