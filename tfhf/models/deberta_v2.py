"""DeBERTa v2 and v3 (He et al., 2021): https://arxiv.org/abs/2111.09543.

Content and relative position meet in the attention, each with vectors of their own; absolute
positions are optional. Reference: ``transformers.models.deberta_v2.modeling_deberta_v2``.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from transformers import DebertaV2Config

from tfhf.checkpoints.weight_table import Bias, Convolution, Dense, Embedding, Norm, WeightTable
from tfhf.layers import (
    Block,
    DisentangledAttention,
    DisentangledContext,
    LayerNorm,
    Normal,
    RelativePositionTable,
    TransformerLayer,
    TransformerStack,
    attention_bias,
    get_tf_activation,
)
from tfhf.layers import Dense as DenseLayer
from tfhf.layers import Embedding as EmbeddingLayer
from tfhf.layers.checks import require_mask
from tfhf.layers.transformer import StackOutput
from tfhf.models.bert import WEIGHTS as BERT_WEIGHTS
from tfhf.models.bert import TFBertModel, TFBertPreTrainedModel
from tfhf.models.heads import (
    ClassificationHead,
    LanguageModelingHead,
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


class TFDebertaV2Embeddings(Block):
    """Token vectors, and those of positions and types where there are any, then normalised."""

    def __init__(self, config: DebertaV2Config, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        size = getattr(config, "embedding_size", config.hidden_size)
        options = {"stddev": config.initializer_range, "dtype": self.dtype_policy}
        self.token = EmbeddingLayer(config.vocab_size, size, name="token", **options)
        self.position = self.token_type = self.projection = None
        if config.position_biased_input:
            length = config.max_position_embeddings
            self.position = EmbeddingLayer(
                length, size, ids_name="position_ids", name="position", **options
            )
        if types := config.type_vocab_size:
            self.token_type = EmbeddingLayer(
                types, size, ids_name="token_type_ids", name="token_type", **options
            )
        if size != config.hidden_size:
            self.projection = DenseLayer(
                size, config.hidden_size, use_bias=False, name="projection", **options
            )
        self.norm = LayerNorm(
            config.hidden_size, config.layer_norm_eps, name="norm", dtype=self.dtype_policy
        )
        self.dropout = keras.layers.Dropout(config.hidden_dropout_prob, dtype=self.dtype_policy)

    def call(
        self,
        vectors: tf.Tensor,
        position_ids: tf.Tensor,
        token_type_ids: tf.Tensor | None = None,
        seen: tf.Tensor | None = None,
        training: bool = False,
    ) -> tf.Tensor:
        """Complete token vectors [batch, length, size]; those that are not seen become 0."""
        if self.position is not None:
            vectors += self.position(position_ids)
        if self.token_type is not None:
            if token_type_ids is None:
                token_type_ids = tf.zeros_like(position_ids)
            vectors += self.token_type(token_type_ids)
        if self.projection is not None:
            vectors = self.projection(vectors)
        return self.dropout(_blank(self.norm(vectors), seen), training=training)


def _blank(states: tf.Tensor, seen: tf.Tensor | None) -> tf.Tensor:
    """Set the states [batch, length, hidden_size] of padding to 0."""
    return states if seen is None else states * tf.cast(seen, states.dtype)[..., None]


class TFDebertaV2Convolution(Block):
    """A convolution over neighbouring tokens, added to what the first layer made of them.

    Raises:
        ValueError: ``config.conv_kernel_size`` is even.
    """

    def __init__(self, config: DebertaV2Config, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if config.conv_kernel_size % 2 == 0:
            raise ValueError(
                f"config.conv_kernel_size must be odd, but it is {config.conv_kernel_size}"
            )
        self.hidden_size = config.hidden_size
        self.activation = get_tf_activation(getattr(config, "conv_act", "tanh"))
        self.conv = keras.layers.Conv1D(
            config.hidden_size,
            config.conv_kernel_size,
            padding="same",
            groups=getattr(config, "conv_groups", 1),
            kernel_initializer=Normal(config.initializer_range),
            name="conv",
            dtype=self.dtype_policy,
        )
        self.norm = LayerNorm(
            config.hidden_size, config.layer_norm_eps, name="norm", dtype=self.dtype_policy
        )
        self.dropout = keras.layers.Dropout(config.hidden_dropout_prob, dtype=self.dtype_policy)

    def build(self, input_shape: Any = None) -> None:
        """Create the variables."""
        self.conv.build((None, None, self.hidden_size))
        super().build()

    def call(
        self,
        inputs: tf.Tensor,
        hidden_states: tf.Tensor,
        seen: tf.Tensor | None,
        training: bool = False,
    ) -> tf.Tensor:
        """Return ``hidden_states`` with what the convolution makes of ``inputs``, normalised.

        Both are [batch, length, hidden_size]; the result is 0 where a token is not seen.
        """
        x = _blank(self.conv(inputs), seen)
        x = self.activation(self.dropout(x, training=training))
        return _blank(self.norm(hidden_states + x), seen)


class TFDebertaV2FirstLayer(TransformerLayer):
    """A layer beside which a convolution reads the same input."""

    def __init__(self, *args: Any, config: DebertaV2Config, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.convolution = TFDebertaV2Convolution(
            config, name="convolution", dtype=self.dtype_policy
        )

    def call(  # type: ignore[override]
        self, hidden_states: tf.Tensor, bias: Any = None, training: bool = False, **kwargs: Any
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
        """Return the new hidden states and the attention weights; see `TransformerLayer`."""
        states, *weights = super().call(hidden_states, bias=bias, training=training, **kwargs)
        return self.convolution(hidden_states, states, bias.seen, training=training), *weights


class TFDebertaV2Encoder(TransformerStack):
    """Layers that share one table of relative positions."""

    def __init__(
        self, layers: list[TransformerLayer], config: DebertaV2Config, **kwargs: Any
    ) -> None:
        super().__init__(layers, **kwargs)
        self.positions = self.position_norm = None
        if config.relative_attention:
            distances = config.max_relative_positions
            self.positions = RelativePositionTable(
                config.hidden_size,
                max_distance=distances if distances > 0 else config.max_position_embeddings,
                num_buckets=getattr(config, "position_buckets", -1),
                stddev=config.initializer_range,
                name="positions",
                dtype=self.dtype_policy,
            )
        if "layer_norm" in getattr(config, "norm_rel_ebd", "none").lower():
            self.position_norm = LayerNorm(
                config.hidden_size,
                config.layer_norm_eps,
                name="position_norm",
                dtype=self.dtype_policy,
            )

    def call(  # type: ignore[override]
        self, hidden_states: tf.Tensor, seen: tf.Tensor | None, **kwargs: Any
    ) -> StackOutput:
        """Run all layers on [batch, length, hidden_size]; ``seen`` is bool [batch, length]."""
        # Padding sees nothing, that is, all alike.
        bias = None if seen is None else attention_bias(seen[:, :, None] & seen[:, None, :])
        positions = None
        if self.positions is not None:
            positions = self.positions(tf.shape(hidden_states)[1])
            if self.position_norm is not None:
                positions = positions._replace(vectors=self.position_norm(positions.vectors))
        context = DisentangledContext(seen, bias, positions)
        return super().call(hidden_states, bias=context, **kwargs)


class TFDebertaV2PreTrainedModel(TFBertPreTrainedModel):
    """What all DeBERTa v2 classes share."""

    config_class = DebertaV2Config
    base_model_prefix = "deberta"
    weight_table = WEIGHTS
    input_names = (
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

    def make_embeddings(self) -> TFDebertaV2Embeddings:
        """Return the layer from token vectors to the encoder's input."""
        return TFDebertaV2Embeddings(self.config, name="embeddings", dtype=self.dtype_policy)

    def make_encoder(self) -> TFDebertaV2Encoder:
        """Return the layers, with a convolution beside the first where there is one."""
        config = self.config
        attention_type = functools.partial(
            DisentangledAttention,
            terms=config.pos_att_type or (),
            relative=config.relative_attention,
            share_projections=getattr(config, "share_att_key", False),
            position_dropout=config.hidden_dropout_prob,
        )
        layer_types: list[Callable[..., TransformerLayer]]
        layer_types = [TransformerLayer] * config.num_hidden_layers
        if getattr(config, "conv_kernel_size", 0) > 0:
            layer_types[0] = functools.partial(TFDebertaV2FirstLayer, config=config)
        layers = [
            self.make_layer(f"layer_{i}", layer_type, attention_type=attention_type)
            for i, layer_type in enumerate(layer_types)
        ]
        return TFDebertaV2Encoder(layers, config, name="encoder", dtype=self.dtype_policy)

    def call(  # type: ignore[override]
        self,
        input_ids: tf.Tensor | None = None,
        attention_mask: tf.Tensor | None = None,
        token_type_ids: tf.Tensor | None = None,
        position_ids: tf.Tensor | None = None,
        inputs_embeds: tf.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        training: bool = False,
    ) -> TFBaseModelOutput:
        """Encode token ids, or their vectors.

        Args:
            input_ids: int [batch, length]; or ``inputs_embeds`` [batch, length, embedding_size].
            attention_mask: [batch, length], 0 for padding.
            token_type_ids: int [batch, length], 0 if not given.
            position_ids: int [batch, length], default 0, 1, 2, …; of absolute positions only.
            inputs_embeds: see ``input_ids``.
            output_attentions: return attention weights; default as the configuration says.
            output_hidden_states: return the states after each layer.
            training: apply dropout.
        """
        vectors = self.token_vectors(input_ids, inputs_embeds)
        shape = tf.shape(vectors)[:2]
        if position_ids is None:
            position_ids = self.positions(input_ids, shape[1])
        seen = None
        if attention_mask is not None:
            seen = tf.cast(require_mask(attention_mask, "attention_mask", shape), tf.bool)
        stack = self.encoder(
            self.embeddings(vectors, position_ids, token_type_ids, seen, training=training),
            seen=seen,
            **self.output_flags(output_attentions, output_hidden_states),
            training=training,
        )
        return TFBaseModelOutput(
            last_hidden_state=stack.last_hidden_state,
            hidden_states=stack.hidden_states,
            attentions=stack.attentions,
        )


class TFDebertaV2ForMaskedLM(TFForMaskedLM, TFDebertaV2PreTrainedModel):
    """DeBERTa v2 or v3 with a masked language modeling head.

    ``config.legacy`` says which of two heads a checkpoint has: that of ``cls.predictions``, or the
    one that v3 was trained with, ``lm_predictions``, whose scores are always tied.
    """

    @property
    def weight_table(self) -> WeightTable:  # type: ignore[override]
        """The names of the weights, with those of the head that there is."""
        if self.config.legacy:
            return WEIGHTS
        return dataclasses.replace(WEIGHTS, heads=MASKED_LM, tied={})

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
