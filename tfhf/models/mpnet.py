"""MPNet (Song et al., 2020): https://arxiv.org/abs/2004.09297.

RoBERTa without token types; how far apart two tokens are changes their attention, alike in all
layers. Reference: ``transformers.models.mpnet.modeling_mpnet``.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import tensorflow as tf
from transformers import MPNetConfig

from tfhf.checkpoints.weight_table import Dense, Embedding, Norm, WeightTable
from tfhf.layers import RelativePositionBias, TransformerLayer, TransformerStack
from tfhf.layers.transformer import StackOutput
from tfhf.models.heads import (
    TFForMaskedLM,
    TFForMultipleChoice,
    TFForQuestionAnswering,
    TFForTokenClassification,
)
from tfhf.models.roberta import SEQUENCE_CLASSIFIER as ROBERTA_SEQUENCE_CLASSIFIER
from tfhf.models.roberta import WEIGHTS as ROBERTA_WEIGHTS
from tfhf.models.roberta import (
    TFRobertaForSequenceClassification,
    TFRobertaModel,
    TFRobertaPreTrainedModel,
)

# Whatever ``config.relative_attention_num_buckets``, the size of the table, may be.
NUM_BUCKETS = 32
MAX_DISTANCE = 128

WEIGHTS = WeightTable(
    prefix="mpnet",
    body={
        **ROBERTA_WEIGHTS.body,
        "encoder.relative_bias": Embedding("encoder.relative_attention_bias"),
        "encoder.layer.{i}.attention.qkv": Dense("encoder.layer.{i}.attention.attn.{q,k,v}"),
        "encoder.layer.{i}.attention.out": Dense("encoder.layer.{i}.attention.attn.o"),
        "encoder.layer.{i}.attention_norm": Norm("encoder.layer.{i}.attention.LayerNorm"),
    },
    heads=ROBERTA_WEIGHTS.heads,
    tied={
        "lm_head.decoder.weight": "mpnet.embeddings.word_embeddings.weight",
        "lm_head.decoder.bias": "lm_head.bias",
    },
)


class TFMPNetEncoder(TransformerStack):
    """Layers whose attention scores all get the same term for each relative position."""

    def __init__(self, layers: list[TransformerLayer], config: MPNetConfig, **kwargs: Any) -> None:
        super().__init__(layers, **kwargs)
        self.relative_bias = RelativePositionBias(
            config.relative_attention_num_buckets,
            config.num_attention_heads,
            num_buckets=NUM_BUCKETS,
            max_distance=MAX_DISTANCE,
            stddev=config.initializer_range,
            name="relative_bias",
            dtype=self.dtype_policy,
        )

    def call(  # type: ignore[override]
        self, hidden_states: tf.Tensor, bias: tf.Tensor | None = None, **inputs: Any
    ) -> StackOutput:
        """Run all layers on [batch, length, hidden_size]; ``inputs`` as for `TransformerStack`."""
        relative = self.relative_bias.between(tf.shape(hidden_states)[1])
        bias = relative if bias is None else relative + bias
        return super().call(hidden_states, bias=bias, **inputs)


class TFMPNetPreTrainedModel(TFRobertaPreTrainedModel):
    """What all MPNet classes share."""

    config_class = MPNetConfig
    base_model_prefix = "mpnet"
    weight_table = WEIGHTS
    input_names: ClassVar[tuple[str, ...]] = (
        "input_ids",
        "attention_mask",
        "position_ids",
        "head_mask",
        "inputs_embeds",
    )
    padding_id = 1  # whatever config.pad_token_id is

    def make_body(self, **kwargs: Any) -> TFRobertaModel:
        """Return MPNet itself."""
        return TFMPNetModel(self.config, add_pooling_layer=self.needs_pooler, **kwargs)

    def classifier_dropout(self) -> float:
        """Return the rate before a classifier."""
        return self.config.hidden_dropout_prob


class TFMPNetModel(TFMPNetPreTrainedModel, TFRobertaModel):
    """MPNet without a head."""

    def make_encoder(self) -> TFMPNetEncoder:
        """Return the layers and the terms of relative positions."""
        layers = [self.make_layer(f"layer_{i}") for i in range(self.config.num_hidden_layers)]
        return TFMPNetEncoder(layers, self.config, name="encoder", dtype=self.dtype_policy)


class TFMPNetForMaskedLM(TFForMaskedLM, TFMPNetPreTrainedModel):
    """MPNet with a masked language modeling head."""


class TFMPNetForSequenceClassification(TFMPNetPreTrainedModel, TFRobertaForSequenceClassification):
    """MPNet with two dense layers over the first token."""

    weight_table = dataclasses.replace(WEIGHTS, heads=ROBERTA_SEQUENCE_CLASSIFIER)


class TFMPNetForMultipleChoice(TFForMultipleChoice, TFMPNetPreTrainedModel):
    """MPNet with a score for each choice."""


class TFMPNetForTokenClassification(TFForTokenClassification, TFMPNetPreTrainedModel):
    """MPNet with a class for each token."""


class TFMPNetForQuestionAnswering(TFForQuestionAnswering, TFMPNetPreTrainedModel):
    """MPNet with start and end scores for each token."""
