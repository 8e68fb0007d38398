"""DistilBERT (Sanh et al., 2019): https://arxiv.org/abs/1910.01108.

BERT without token types and pooler. Reference: ``transformers.models.distilbert``.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from transformers import DistilBertConfig

from tfhf.checkpoints.weight_table import Bias, Dense, Embedding, Norm, WeightTable
from tfhf.layers import (
    ClassificationHead,
    InputEmbeddings,
    LanguageModelingHead,
    LayerNorm,
    SinusoidalPositions,
    TransformerLayer,
    TransformerStack,
    attention_bias,
    get_tf_activation,
)
from tfhf.models.encoder import TFEncoderModel
from tfhf.models.heads import (
    TFForMaskedLM,
    TFForMultipleChoice,
    TFForQuestionAnswering,
    TFForSequenceClassification,
    TFForTokenClassification,
    TFModelWithHead,
)

EPSILON = 1e-12

WEIGHTS = WeightTable(
    prefix="distilbert",
    body={
        "embeddings.token": Embedding("embeddings.word_embeddings"),
        "embeddings.position": Embedding("embeddings.position_embeddings"),
        "embeddings.norm": Norm("embeddings.LayerNorm"),
        "transformer.layer.{i}.attention.qkv": Dense(
            "transformer.layer.{i}.attention.{q_lin,k_lin,v_lin}"
        ),
        "transformer.layer.{i}.attention.out": Dense("transformer.layer.{i}.attention.out_lin"),
        "transformer.layer.{i}.attention_norm": Norm("transformer.layer.{i}.sa_layer_norm"),
        "transformer.layer.{i}.feed_forward.intermediate": Dense("transformer.layer.{i}.ffn.lin1"),
        "transformer.layer.{i}.feed_forward.out": Dense("transformer.layer.{i}.ffn.lin2"),
        "transformer.layer.{i}.output_norm": Norm("transformer.layer.{i}.output_layer_norm"),
    },
    heads={
        "lm_head.transform": Dense("vocab_transform"),
        "lm_head.norm": Norm("vocab_layer_norm"),
        "lm_head.decoder": Dense("vocab_projector"),
        "lm_head": Bias("vocab_projector.bias"),
        "classifier.hidden": Dense("pre_classifier"),
        "classifier.out": Dense("classifier"),
        "qa_outputs.out": Dense("qa_outputs"),
    },
    tied={"vocab_projector.weight": "distilbert.embeddings.word_embeddings.weight"},
)


class TFDistilBertPreTrainedModel(TFModelWithHead):
    """What all DistilBERT classes share."""

    config_class = DistilBertConfig
    base_model_prefix = "distilbert"
    pooled_states = 1
    weight_table = WEIGHTS
    input_names = ("input_ids", "attention_mask", "head_mask", "inputs_embeds", "position_ids")

    def make_body(self, **kwargs: Any) -> TFDistilBertModel:
        """Return DistilBERT itself."""
        return TFDistilBertModel(self.config, **kwargs)

    def make_classifier(self, num_labels: int) -> ClassificationHead:
        """Return a dense layer with ReLU, dropout and a dense layer."""
        return self.make_head(
            num_labels,
            dropout=self.config.seq_classif_dropout,
            hidden_activation=tf.nn.relu,
        )

    make_choice_classifier = make_classifier

    def make_token_classifier(self, num_labels: int) -> ClassificationHead:
        """Return dropout and a dense layer."""
        return self.make_head(num_labels, dropout=self.config.dropout)

    def make_span_classifier(self) -> ClassificationHead:
        """Return dropout and a dense layer to start and end."""
        if self.config.num_labels != 2:
            raise ValueError(
                f"config.num_labels of question answering must be 2, not {self.config.num_labels}"
            )
        return self.make_head(2, dropout=self.config.qa_dropout, name="qa_outputs")

    def make_lm_head(self) -> LanguageModelingHead:
        """Return the head that scores tokens."""
        return self.make_scorer(self.config.activation, EPSILON)


class TFDistilBertModel(TFEncoderModel, TFDistilBertPreTrainedModel):
    """DistilBERT without a head."""

    def __init__(self, config: DistilBertConfig, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        dtype = self.dtype_policy
        waves = SinusoidalPositions(interleaved=True) if config.sinusoidal_pos_embds else None
        self.embeddings = InputEmbeddings(
            config.vocab_size,
            config.dim,
            norm=LayerNorm(config.dim, EPSILON, name="norm", dtype=dtype),
            dropout=config.dropout,
            stddev=config.initializer_range,
            max_positions=config.max_position_embeddings,
            fixed_positions=waves,
            name="embeddings",
            dtype=dtype,
        )
        self.transformer = TransformerStack(
            [
                TransformerLayer(
                    config.dim,
                    config.n_heads,
                    config.hidden_dim,
                    get_tf_activation(config.activation),
                    epsilon=EPSILON,
                    dropout=config.dropout,
                    attention_dropout=config.attention_dropout,
                    stddev=config.initializer_range,
                    name=f"layer_{i}",
                    dtype=dtype,
                )
                for i in range(config.n_layers)
            ],
            name="transformer",
            dtype=dtype,
        )
        self.build()

    def encode(
        self,
        vectors: tf.Tensor,
        position_ids: tf.Tensor,
        attention_mask: tf.Tensor | None,
        *,
        training: bool = False,
        **inputs: Any,
    ) -> dict[str, Any]:
        """Run the layers; ``inputs`` are ``head_mask`` and the flags."""
        stack = self.transformer(
            self.embeddings(vectors, position_ids, training=training),
            bias=attention_bias(attention_mask, length=tf.shape(vectors)[1]),
            training=training,
            **inputs,
        )
        return stack._asdict()


class TFDistilBertForMaskedLM(TFForMaskedLM, TFDistilBertPreTrainedModel):
    """DistilBERT with a masked language modeling head."""


class TFDistilBertForSequenceClassification(
    TFForSequenceClassification, TFDistilBertPreTrainedModel
):
    """DistilBERT with two dense layers over the first token."""


class TFDistilBertForMultipleChoice(TFForMultipleChoice, TFDistilBertPreTrainedModel):
    """DistilBERT with a score for each choice."""


class TFDistilBertForTokenClassification(TFForTokenClassification, TFDistilBertPreTrainedModel):
    """DistilBERT with a class for each token."""


class TFDistilBertForQuestionAnswering(TFForQuestionAnswering, TFDistilBertPreTrainedModel):
    """DistilBERT with start and end scores for each token."""
