"""DistilBERT (Sanh et al., 2019): https://arxiv.org/abs/1910.01108.

BERT without token types and pooler. Reference: ``transformers.models.distilbert``.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from transformers import DistilBertConfig

from tfhf.checkpoints.weight_table import Bias, Dense, Embedding, Norm, WeightTable
from tfhf.layers import (
    Block,
    LayerNorm,
    TransformerLayer,
    TransformerStack,
    attention_bias,
    get_tf_activation,
)
from tfhf.layers import Embedding as EmbeddingLayer
from tfhf.models.heads import (
    ClassificationHead,
    LanguageModelingHead,
    TFForMaskedLM,
    TFForMultipleChoice,
    TFForQuestionAnswering,
    TFForSequenceClassification,
    TFForTokenClassification,
    TFModelWithHead,
)
from tfhf.outputs import TFBaseModelOutput

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


class SinusoidalPositions(keras.initializers.Initializer):
    """Sines in the even columns and cosines in the odd ones, of wavelengths 2π to 20000π."""

    def __call__(self, shape: Any, dtype: Any = None) -> tf.Tensor:
        """Return the table [positions, size]."""
        positions, size = shape
        wavelengths = np.power(10000.0, 2 * (np.arange(size) // 2) / size)
        angles = np.arange(positions)[:, None] / wavelengths
        table = np.where(np.arange(size) % 2 == 0, np.sin(angles), np.cos(angles))
        return tf.cast(table, dtype or keras.config.floatx())


class TFDistilBertEmbeddings(Block):
    """Token and position vectors, added and normalised."""

    def __init__(self, config: DistilBertConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        options = {"stddev": config.initializer_range, "dtype": self.dtype_policy}
        self.token = EmbeddingLayer(config.vocab_size, config.dim, name="token", **options)
        self.position = EmbeddingLayer(
            config.max_position_embeddings,
            config.dim,
            ids_name="position_ids",
            name="position",
            **options,
        )
        if config.sinusoidal_pos_embds:
            self.position.embeddings_initializer = SinusoidalPositions()
            self.position.trainable = False
        self.norm = LayerNorm(config.dim, EPSILON, name="norm", dtype=self.dtype_policy)
        self.dropout = keras.layers.Dropout(config.dropout, dtype=self.dtype_policy)

    def call(
        self, vectors: tf.Tensor, position_ids: tf.Tensor | None = None, training: bool = False
    ) -> tf.Tensor:
        """Complete token vectors [batch, length, dim]; positions count from 0."""
        if position_ids is None:
            position_ids = tf.range(tf.shape(vectors)[1])[None]
        return self.dropout(self.norm(vectors + self.position(position_ids)), training=training)


class TFDistilBertPreTrainedModel(TFModelWithHead):
    """What all DistilBERT classes share."""

    config_class = DistilBertConfig
    base_model_prefix = "distilbert"
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


class TFDistilBertModel(TFDistilBertPreTrainedModel):
    """DistilBERT without a head."""

    def __init__(self, config: DistilBertConfig, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        dtype = self.dtype_policy
        self.embeddings = TFDistilBertEmbeddings(config, name="embeddings", dtype=dtype)
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

    def call(
        self,
        input_ids: tf.Tensor | None = None,
        attention_mask: tf.Tensor | None = None,
        head_mask: tf.Tensor | None = None,
        inputs_embeds: tf.Tensor | None = None,
        position_ids: tf.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        training: bool = False,
    ) -> TFBaseModelOutput:
        """Encode token ids, or their vectors.

        Args:
            input_ids: int [batch, length]; or ``inputs_embeds``, float [batch, length, dim].
            attention_mask: [batch, length] or [batch, query, key], 0 for padding.
            head_mask: [heads] or [layers, heads], 0 silences a head.
            inputs_embeds: see ``input_ids``.
            position_ids: int [batch, length], default 0, 1, 2, …
            output_attentions: return attention weights; default as the configuration says.
            output_hidden_states: return the states after each layer.
            training: apply dropout.
        """
        vectors = self.token_vectors(input_ids, inputs_embeds)
        stack = self.transformer(
            self.embeddings(vectors, position_ids=position_ids, training=training),
            bias=attention_bias(attention_mask, length=tf.shape(vectors)[1]),
            head_mask=head_mask,
            **self.output_flags(output_attentions, output_hidden_states),
            training=training,
        )
        return TFBaseModelOutput(stack.last_hidden_state, stack.hidden_states, stack.attentions)


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
