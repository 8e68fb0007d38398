"""DeBERTa v2 and v3 (He et al., 2021): https://arxiv.org/abs/2111.09543.

Content and relative position meet in the attention, each with vectors of their own; absolute
positions are optional. Reference: ``transformers.models.deberta_v2.modeling_deberta_v2``.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar

import tensorflow as tf
from transformers import DebertaV2Config

from tfhf.checkpoints.weight_table import Bias, Convolution, Dense, Embedding, Norm, WeightTable
from tfhf.layers import (
    ClassificationHead,
    ConvolvedLayer,
    DisentangledAttention,
    DisentangledStack,
    InputEmbeddings,
    LanguageModelingHead,
    LayerNorm,
    NeighbourConvolution,
    RelativePositionTable,
    TransformerLayer,
    get_tf_activation,
)
from tfhf.layers import Dense as DenseLayer
from tfhf.layers.checks import require_mask
from tfhf.models.bert import WEIGHTS as BERT_WEIGHTS
from tfhf.models.bert import TFBertModel, TFBertPreTrainedModel
from tfhf.models.heads import (
    TFForMaskedLM,
    TFForMultipleChoice,
    TFForQuestionAnswering,
    TFForSequenceClassification,
    TFForTokenClassification,
)
from tfhf.outputs import TFBaseModelOutput

SELF = "encoder.layer.{i}.attention.self"

WEIGHTS = WeightTable(
    prefix="deberta",
    body={
        **BERT_WEIGHTS.body,
        "embeddings.projection": Dense("embeddings.embed_proj"),
        "encoder.positions": Embedding("encoder.rel_embeddings"),
        "encoder.position_norm": Norm("encoder.LayerNorm"),
        "encoder.layer.{i}.attention.qkv": Dense(f"{SELF}.{{query_proj,key_proj,value_proj}}"),
        "encoder.layer.{i}.attention.position_key": Dense(f"{SELF}.pos_key_proj"),
        "encoder.layer.{i}.attention.position_query": Dense(f"{SELF}.pos_query_proj"),
        "encoder.layer.{i}.convolution.conv": Convolution("encoder.conv.conv"),
        "encoder.layer.{i}.convolution.norm": Norm("encoder.conv.LayerNorm"),
    },
    heads={**BERT_WEIGHTS.heads, "classifier.hidden": Dense("pooler.dense")},
    tied={
        "cls.predictions.decoder.weight": "deberta.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    # Pretraining's own heads, and absolute positions where the configuration has none.
    ignored=(*BERT_WEIGHTS.ignored, r"position_embeddings", r"mask_predictions"),
)
# The head that v3 was trained with, under ``config.legacy=False``.
MASKED_LM = {
    "lm_head.transform": Dense("lm_predictions.lm_head.dense"),
    "lm_head.norm": Norm("lm_predictions.lm_head.LayerNorm"),
    "lm_head": Bias("lm_predictions.lm_head.bias"),
}


class TFDebertaV2PreTrainedModel(TFBertPreTrainedModel):
    """What all DeBERTa v2 classes share."""

    config_class = DebertaV2Config
    base_model_prefix = "deberta"
    pooled_states = None  # its attention has no fewer queries than keys
    weight_table = WEIGHTS
    input_names: ClassVar[tuple[str, ...]] = (
        "input_ids",
        "attention_mask",
        "token_type_ids",
        "position_ids",
        "inputs_embeds",
    )
    needs_pooler = False

    def make_body(self, **kwargs: Any) -> TFDebertaV2Model:
        """Return DeBERTa itself."""
        return TFDebertaV2Model(self.config, **kwargs)

    def classifier_dropout(self) -> float:
        """Return the rate before a classifier of tokens."""
        return self.config.hidden_dropout_prob

    def make_classifier(self, num_labels: int) -> ClassificationHead:
        """Return the dense layer over the first token's state (the context pooler) and the classes.

        ``config.cls_dropout`` is the rate between the two.
        """
        config = self.config
        rate = getattr(config, "cls_dropout", None)
        return self.make_head(
            num_labels,
            dropout=config.hidden_dropout_prob if rate is None else rate,
            hidden_activation=get_tf_activation(config.pooler_hidden_act),
            hidden_dropout=config.pooler_dropout,
        )

    @property
    def max_length(self) -> int | None:
        """The number of tokens that the model has positions for; ``None``: any number."""
        config = self.config
        return config.max_position_embeddings if config.position_biased_input else None


class TFDebertaV2Model(TFDebertaV2PreTrainedModel, TFBertModel):
    """DeBERTa v2 or v3 without a head.

    Example:
        >>> from transformers import DebertaV2Config
        >>> model = TFDebertaV2Model(DebertaV2Config(
        ...     hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        ...     relative_attention=True, pos_att_type="c2p|p2c"))
        >>> model(tf.constant([[1, 7, 8, 9, 2]])).last_hidden_state.shape
        TensorShape([1, 5, 8])
    """

    output_type = TFBaseModelOutput
    #: Whether attention's keys have a bias.
    key_bias = True

    def make_embeddings(self) -> InputEmbeddings:
        """Return the layer from token vectors to the encoder's input."""
        config = self.config
        size = getattr(config, "embedding_size", config.hidden_size)
        options = {"stddev": config.initializer_range, "dtype": self.dtype_policy}
        projection = None
        if size != config.hidden_size:
            projection = DenseLayer(
                size, config.hidden_size, use_bias=False, name="projection", **options
            )
        return InputEmbeddings(
            config.vocab_size,
            size,
            norm=self.make_norm("norm"),
            dropout=config.hidden_dropout_prob,
            max_positions=config.max_position_embeddings if config.position_biased_input else 0,
            token_types=config.type_vocab_size,
            projection=projection,
            project_first=True,
            name="embeddings",
            **options,
        )

    def make_norm(self, name: str) -> LayerNorm:
        """Return a normalisation of states."""
        config = self.config
        return LayerNorm(
            config.hidden_size, config.layer_norm_eps, name=name, dtype=self.dtype_policy
        )

    def make_encoder(self) -> DisentangledStack:
        """Return the layers, with a convolution beside the first where there is one."""
        config = self.config
        attention_type = functools.partial(
            DisentangledAttention,
            terms=config.pos_att_type or (),
            relative=config.relative_attention,
            share_projections=getattr(config, "share_att_key", False),
            position_dropout=config.hidden_dropout_prob,
            key_bias=self.key_bias,
        )
        layer_types: list[Callable[..., TransformerLayer]]
        layer_types = [TransformerLayer] * config.num_hidden_layers
        if getattr(config, "conv_kernel_size", 0) > 0:
            layer_types[0] = functools.partial(ConvolvedLayer, convolution=self.make_convolution())
        layers = [
            self.make_layer(f"layer_{i}", layer_type, attention_type=attention_type)
            for i, layer_type in enumerate(layer_types)
        ]
        normalised = "layer_norm" in getattr(config, "norm_rel_ebd", "none").lower()
        return DisentangledStack(
            layers,
            positions=self.make_position_table() if config.relative_attention else None,
            position_norm=self.make_norm("position_norm") if normalised else None,
            name="encoder",
            dtype=self.dtype_policy,
        )

    def make_convolution(self) -> NeighbourConvolution:
        """Return the convolution over the encoder's input."""
        config = self.config
        return NeighbourConvolution(
            config.hidden_size,
            config.conv_kernel_size,
            groups=getattr(config, "conv_groups", 1),
            activation=get_tf_activation(getattr(config, "conv_act", "tanh")),
            epsilon=config.layer_norm_eps,
            dropout=config.hidden_dropout_prob,
            stddev=config.initializer_range,
            name="convolution",
            dtype=self.dtype_policy,
        )

    def make_position_table(self) -> RelativePositionTable:
        """Return the vectors of relative positions."""
        config = self.config
        distances = config.max_relative_positions
        return RelativePositionTable(
            config.hidden_size,
            max_distance=distances if distances > 0 else config.max_position_embeddings,
            num_buckets=getattr(config, "position_buckets", -1),
            stddev=config.initializer_range,
            name="positions",
            dtype=self.dtype_policy,
        )

    def encode(
        self,
        vectors: tf.Tensor,
        position_ids: tf.Tensor,
        attention_mask: tf.Tensor | None,
        *,
        token_type_ids: tf.Tensor | None = None,
        training: bool = False,
        **flags: Any,
    ) -> dict[str, Any]:
        """Run the layers; ``position_ids`` are for absolute positions only."""
        seen = None
        if attention_mask is not None:
            shape = tf.shape(vectors)[:2]
            seen = tf.cast(require_mask(attention_mask, "attention_mask", shape), tf.bool)
        stack = self.encoder(
            self.embeddings(vectors, position_ids, token_type_ids, seen, training=training),
            seen=seen,
            training=training,
            **flags,
        )
        return stack._asdict()


class TFDebertaV2ForMaskedLM(TFForMaskedLM, TFDebertaV2PreTrainedModel):
    """DeBERTa v2 or v3 with a masked language modeling head.

    ``config.legacy`` says which of two heads a checkpoint has: that of ``cls.predictions``, or the
    one that v3 was trained with, ``lm_predictions``, whose scores are always tied.
    """

    def __init__(self, config: DebertaV2Config, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        if not config.legacy:
            self.weight_table = dataclasses.replace(self.weight_table, heads=MASKED_LM, tied={})

    def make_lm_head(self) -> LanguageModelingHead:
        """Return the layer between states and the scores of all tokens.

        Raises:
            ValueError: v3's head on token vectors of another size than the states.
        """
        config = self.config
        size = self.get_input_embeddings().output_dim
        if not config.legacy and size != config.hidden_size:
            raise ValueError(
                "config.legacy=False needs config.embedding_size = config.hidden_size, but they "
                f"are {size} and {config.hidden_size}"
            )
        tied = config.tie_word_embeddings if config.legacy else True
        return self.make_scorer(config.hidden_act, config.layer_norm_eps, tied=tied)


class TFDebertaV2ForSequenceClassification(TFForSequenceClassification, TFDebertaV2PreTrainedModel):
    """DeBERTa v2 or v3 with two dense layers over the first token."""


class TFDebertaV2ForMultipleChoice(TFForMultipleChoice, TFDebertaV2PreTrainedModel):
    """DeBERTa v2 or v3 with a score for each choice."""


class TFDebertaV2ForTokenClassification(TFForTokenClassification, TFDebertaV2PreTrainedModel):
    """DeBERTa v2 or v3 with a class for each token."""


class TFDebertaV2ForQuestionAnswering(TFForQuestionAnswering, TFDebertaV2PreTrainedModel):
    """DeBERTa v2 or v3 with start and end scores for each token."""
