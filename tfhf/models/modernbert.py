"""ModernBERT (Warner et al., 2024): https://arxiv.org/abs/2412.13663.

Layers normalise before they attend, positions turn queries and keys, feed-forwards are gated, and
most layers see a window of the text only. Padding is masked: TensorFlow runs whole rectangles, so
nothing is unpadded as the reference may do for its GPU kernels, and the numbers are the same. To
waste little on padding, batch sentences of similar length (``prepare_tf_dataset`` does).
Reference: ``transformers.models.modernbert.modeling_modernbert``.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from transformers import ModernBertConfig

from tfhf.checkpoints.weight_table import Bias, Dense, Embedding, Norm, WeightTable
from tfhf.layers import (
    ClassificationHead,
    GatedFeedForward,
    InputEmbeddings,
    LanguageModelingHead,
    LayerNorm,
    MultiHeadAttention,
    PreNormLayer,
    TransformerStack,
    attention_bias,
    get_tf_activation,
    rotary_angles,
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

WEIGHTS = WeightTable(
    prefix="model",
    body={
        "embeddings.token": Embedding("embeddings.tok_embeddings"),
        "embeddings.norm": Norm("embeddings.norm"),
        "encoder.layer.{i}.attention_norm": Norm("layers.{i}.attn_norm"),
        "encoder.layer.{i}.attention.qkv": Dense("layers.{i}.attn.Wqkv"),
        "encoder.layer.{i}.attention.out": Dense("layers.{i}.attn.Wo"),
        "encoder.layer.{i}.feed_forward_norm": Norm("layers.{i}.mlp_norm"),
        "encoder.layer.{i}.feed_forward.intermediate": Dense("layers.{i}.mlp.Wi"),
        "encoder.layer.{i}.feed_forward.out": Dense("layers.{i}.mlp.Wo"),
        "encoder.final_norm": Norm("final_norm"),
    },
    heads={
        "lm_head.transform": Dense("head.dense"),
        "lm_head.norm": Norm("head.norm"),
        "lm_head.decoder": Dense("decoder"),
        "lm_head": Bias("decoder.bias"),
        "classifier.hidden": Dense("head.dense"),
        "classifier.norm": Norm("head.norm"),
        "classifier.out": Dense("classifier"),
        "qa_outputs.hidden": Dense("head.dense"),
        "qa_outputs.norm": Norm("head.norm"),
        "qa_outputs.out": Dense("classifier"),
    },
    tied={"decoder.weight": "model.embeddings.tok_embeddings.weight"},
)


def _norm(config: ModernBertConfig, name: str, dtype: Any) -> LayerNorm:
    return LayerNorm(
        config.hidden_size, config.norm_eps, use_bias=config.norm_bias, name=name, dtype=dtype
    )


class TFModernBertPreTrainedModel(TFModelWithHead):
    """What all ModernBERT classes share."""

    config_class = ModernBertConfig
    base_model_prefix = "model"
    weight_table = WEIGHTS
    input_names = ("input_ids", "attention_mask", "position_ids", "inputs_embeds")

    def make_body(self, **kwargs: Any) -> TFModernBertModel:
        """Return ModernBERT itself."""
        return TFModernBertModel(self.config, **kwargs)

    def make_prediction_head(self, num_labels: int, name: str = "classifier") -> ClassificationHead:
        """Return a dense layer, activation, normalisation, dropout and the classes."""
        config = self.config
        return self.make_head(
            num_labels,
            dropout=config.classifier_dropout,
            hidden_activation=get_tf_activation(config.classifier_activation),
            hidden_bias=config.classifier_bias,
            hidden_norm=_norm(config, "norm", self.dtype_policy),
            name=name,
        )

    def make_classifier(self, num_labels: int) -> ClassificationHead:
        """Return the prediction head over the vector of a sequence."""
        return self.make_prediction_head(num_labels)

    def make_token_classifier(self, num_labels: int) -> ClassificationHead:
        """Return the prediction head over states."""
        return self.make_prediction_head(num_labels)

    def make_span_classifier(self) -> ClassificationHead:
        """Return the prediction head over states, to start and end."""
        return self.make_prediction_head(self.config.num_labels, name="qa_outputs")

    def make_lm_head(self) -> LanguageModelingHead:
        """Return the prediction head that scores tokens."""
        config = self.config
        return self.make_scorer(
            config.classifier_activation,
            config.norm_eps,
            transform_bias=config.classifier_bias,
            norm_bias=config.norm_bias,
            decoder_bias=config.decoder_bias,
        )

    def pooled(self, body: Any, inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        """Return the first state, or the mean over the tokens seen, as the configuration says.

        Raises:
            ValueError: a mean needs to know padding, and ``attention_mask`` is not [batch, length].
        """
        if self.config.classifier_pooling == "cls":
            return super().pooled(body, inputs)
        states, mask = body.last_hidden_state, inputs.get("attention_mask")
        if mask is None:
            return tf.reduce_mean(states, axis=1)
        if mask.shape.rank != 2:
            raise ValueError(
                'attention_mask must be [batch, length] with config.classifier_pooling="mean", '
                f"but its shape is {tuple(mask.shape)}"
            )
        seen = tf.cast(mask, states.dtype)[:, :, None]
        return tf.reduce_sum(states * seen, axis=1) / tf.reduce_sum(seen, axis=1)


class TFModernBertModel(TFEncoderModel, TFModernBertPreTrainedModel):
    """ModernBERT without a head."""

    def __init__(self, config: ModernBertConfig, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        dtype = self.dtype_policy
        self.embeddings = InputEmbeddings(
            config.vocab_size,
            config.hidden_size,
            norm=_norm(config, "norm", dtype),
            dropout=config.embedding_dropout,
            stddev=config.initializer_range,
            name="embeddings",
            dtype=dtype,
        )
        self.encoder = TransformerStack(
            [self.make_layer(i) for i in range(config.num_hidden_layers)],
            kinds=config.layer_types,
            final_norm=_norm(config, "final_norm", dtype),
            name="encoder",
            dtype=dtype,
        )
        self.build()

    def make_layer(self, index: int) -> PreNormLayer:
        """Return layer number ``index``."""
        config, dtype = self.config, self.dtype_policy
        options = {"stddev": config.initializer_range, "dtype": dtype}
        return PreNormLayer(
            MultiHeadAttention(
                config.hidden_size,
                config.num_attention_heads,
                dropout=config.attention_dropout,
                use_bias=config.attention_bias,
                name="attention",
                **options,
            ),
            GatedFeedForward(
                config.hidden_size,
                config.intermediate_size,
                get_tf_activation(config.hidden_activation),
                dropout=config.mlp_dropout,
                use_bias=config.mlp_bias,
                name="feed_forward",
                **options,
            ),
            # The first layer reads the embeddings, which are normalised already.
            attention_norm=_norm(config, "attention_norm", dtype) if index else None,
            feed_forward_norm=_norm(config, "feed_forward_norm", dtype),
            dropout=config.attention_dropout,
            name=f"layer_{index}",
            dtype=dtype,
        )

    def encode(
        self,
        vectors: tf.Tensor,
        position_ids: tf.Tensor,
        attention_mask: tf.Tensor | None,
        *,
        training: bool = False,
        **inputs: Any,
    ) -> dict[str, Any]:
        """Run the layers; windows do not depend on ``position_ids``, ``inputs`` are the flags."""
        config = self.config
        length = tf.shape(vectors)[1]
        head_size = config.hidden_size // config.num_attention_heads
        window = config.local_attention // 2
        stack = self.encoder(
            self.embeddings(vectors, position_ids, training=training),
            bias={
                "full_attention": attention_bias(attention_mask, length=length),
                "sliding_attention": attention_bias(attention_mask, window=window, length=length),
            },
            rotation={
                kind: rotary_angles(
                    position_ids,
                    head_size,
                    config.rope_parameters[kind],
                    config.max_position_embeddings,
                )
                for kind in set(config.layer_types)
            },
            training=training,
            **inputs,
        )
        return stack._asdict()


class TFModernBertForMaskedLM(TFForMaskedLM, TFModernBertPreTrainedModel):
    """ModernBERT with a masked language modeling head.

    ``config.sparse_prediction`` has no effect: all tokens are scored, and the loss is the same.
    """


class TFModernBertForSequenceClassification(
    TFForSequenceClassification, TFModernBertPreTrainedModel
):
    """ModernBERT with classes for sequences."""


class TFModernBertForMultipleChoice(TFForMultipleChoice, TFModernBertPreTrainedModel):
    """ModernBERT with a score for each choice."""

    def pooled(self, body: Any, inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        """Return the mean, or the state of the first token that is not padding."""
        mask = inputs.get("attention_mask")
        if self.config.classifier_pooling == "mean" or mask is None:
            return super().pooled(body, inputs)
        first = tf.argmax(tf.cast(mask, tf.int32), axis=-1)
        return tf.gather(body.last_hidden_state, first, batch_dims=1)


class TFModernBertForTokenClassification(TFForTokenClassification, TFModernBertPreTrainedModel):
    """ModernBERT with a class for each token."""


class TFModernBertForQuestionAnswering(TFForQuestionAnswering, TFModernBertPreTrainedModel):
    """ModernBERT with start and end scores for each token."""
