"""OPT (Zhang et al., 2022): open models of the size and the quality of GPT-3.

https://arxiv.org/abs/2205.01068
Reference: ``transformers.models.opt.modeling_opt``.
"""

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf
from transformers import OPTConfig

from tfhf.checkpoints.weight_table import Dense, Embedding, Norm, WeightTable
from tfhf.layers import (
    Block,
    FeedForward,
    LayerNorm,
    MultiHeadAttention,
    PreNormLayer,
    TransformerLayer,
    get_tf_activation,
)
from tfhf.layers import Dense as DenseLayer
from tfhf.layers import Embedding as EmbeddingLayer
from tfhf.models.decoder import TFDecoderModel, TFDecoderPreTrainedModel
from tfhf.models.heads import (
    TFForCausalLM,
    TFForQuestionAnswering,
    TFForSequenceClassification,
)

WEIGHTS = WeightTable(
    prefix="model",
    body={
        "embeddings.token": Embedding("decoder.embed_tokens"),
        "embeddings.position": Embedding("decoder.embed_positions"),
        "embeddings.projection": Dense("decoder.project_in"),
        "decoder.layer.{i}.attention.qkv": Dense("decoder.layers.{i}.self_attn.{q,k,v}_proj"),
        "decoder.layer.{i}.attention.out": Dense("decoder.layers.{i}.self_attn.out_proj"),
        "decoder.layer.{i}.attention_norm": Norm("decoder.layers.{i}.self_attn_layer_norm"),
        "decoder.layer.{i}.feed_forward.intermediate": Dense("decoder.layers.{i}.fc1"),
        "decoder.layer.{i}.feed_forward.out": Dense("decoder.layers.{i}.fc2"),
        # Before the feed-forward, or, in OPT-350m, after it.
        "decoder.layer.{i}.feed_forward_norm": Norm("decoder.layers.{i}.final_layer_norm"),
        "decoder.layer.{i}.output_norm": Norm("decoder.layers.{i}.final_layer_norm"),
        "decoder.final_norm.norm": Norm("decoder.final_layer_norm"),
        "decoder.final_norm.projection": Dense("decoder.project_out"),
    },
    heads={
        "lm_head.decoder": Dense("lm_head"),
        "classifier.out": Dense("score"),
        "qa_outputs.out": Dense("qa_outputs"),
    },
    tied={"lm_head.weight": "model.decoder.embed_tokens.weight"},
)
#: The rows of the table of positions that come before the first position; padding has the last.
POSITION_OFFSET = 2


class OPTEmbeddings(Block):
    """Token vectors, in the size of the states, and those of positions, added."""

    def __init__(self, config: OPTConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        options = {"stddev": config.init_std, "dtype": self.dtype_policy}
        size = config.word_embed_proj_dim
        self.token = EmbeddingLayer(config.vocab_size, size, name="token", **options)
        self.position = EmbeddingLayer(
            config.max_position_embeddings + POSITION_OFFSET,
            config.hidden_size,
            ids_name=f"position_ids + {POSITION_OFFSET}",
            name="position",
            **options,
        )
        self.projection = None
        if size != config.hidden_size:
            self.projection = DenseLayer(
                size, config.hidden_size, use_bias=False, name="projection", **options
            )

    def call(self, vectors: tf.Tensor, position_ids: tf.Tensor) -> tf.Tensor:
        """Complete token vectors [batch, length, word_embed_proj_dim]."""
        if self.projection is not None:
            vectors = self.projection(vectors)
        return vectors + self.position(position_ids + POSITION_OFFSET)


class OPTFinalNorm(Block):
    """What the last states pass: a normalisation, a change of size, or both."""

    def __init__(
        self, norm: LayerNorm | None, projection: DenseLayer | None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.norm = norm
        self.projection = projection

    def call(self, states: tf.Tensor) -> tf.Tensor:
        """Map [batch, length, hidden_size] to [batch, length, word_embed_proj_dim]."""
        if self.norm is not None:
            states = self.norm(states)
        return states if self.projection is None else self.projection(states)


class TFOPTPreTrainedModel(TFDecoderPreTrainedModel):
    """What all OPT classes share."""

    config_class = OPTConfig
    base_model_prefix = "model"
    weight_table = WEIGHTS

    @property
    def state_size(self) -> int:
        """The size of the states that the body returns: that of token vectors."""
        return self.config.word_embed_proj_dim

    @property
    def stddev(self) -> float:
        """The spread of the kernels' first values."""
        return self.config.init_std

    def make_body(self, **kwargs: Any) -> TFOPTModel:
        """Return OPT itself."""
        return TFOPTModel(self.config, **kwargs)


class TFOPTModel(TFDecoderModel, TFOPTPreTrainedModel):
    """OPT without a head.

    Positions count the tokens that ``attention_mask`` shows. Whole layers are not dropped in
    training (``config.layerdrop``).
    """

    def make_embeddings(self) -> OPTEmbeddings:
        """Return the layer from token vectors and positions to the first states."""
        return OPTEmbeddings(self.config, name="embeddings", dtype=self.dtype_policy)

    def norm(self, *_: Any, **options: Any) -> LayerNorm:
        """Return a normalisation of states."""
        config = self.config
        learned = config.layer_norm_elementwise_affine
        return LayerNorm(config.hidden_size, 1e-5, use_scale=learned, use_bias=learned, **options)

    def make_layer(self, index: int) -> PreNormLayer | TransformerLayer:
        """Return a layer, which normalises what its parts read or, in OPT-350m, their sums."""
        config = self.config
        options = {"stddev": config.init_std, "dtype": self.dtype_policy}
        attention = functools.partial(MultiHeadAttention, use_bias=config.enable_bias)
        feed_forward = functools.partial(FeedForward, use_bias=config.enable_bias)
        heads = (config.hidden_size, config.num_attention_heads)
        activation = get_tf_activation(config.activation_function)
        if not config.do_layer_norm_before:
            return TransformerLayer(
                *heads,
                config.ffn_dim,
                activation,
                epsilon=1e-5,
                dropout=config.dropout,
                attention_dropout=config.attention_dropout,
                attention_type=attention,
                feed_forward_type=feed_forward,
                norm_type=self.norm,
                name=f"layer_{index}",
                **options,
            )
        return PreNormLayer(
            attention(*heads, dropout=config.attention_dropout, name="attention", **options),
            feed_forward(
                config.hidden_size, config.ffn_dim, activation, name="feed_forward", **options
            ),
            attention_norm=self.norm(name="attention_norm", dtype=self.dtype_policy),
            feed_forward_norm=self.norm(name="feed_forward_norm", dtype=self.dtype_policy),
            dropout=config.dropout,
            feed_forward_dropout=config.dropout,
            name=f"layer_{index}",
            dtype=self.dtype_policy,
        )

    def make_final_norm(self) -> OPTFinalNorm:
        """Return what normalises the last states and gives them the size of token vectors."""
        config = self.config
        norm = projection = None
        if config.do_layer_norm_before and not config._remove_final_layer_norm:
            norm = self.norm(name="norm", dtype=self.dtype_policy)
        if self.state_size != config.hidden_size:
            projection = DenseLayer(
                config.hidden_size,
                self.state_size,
                use_bias=False,
                stddev=config.init_std,
                name="projection",
                dtype=self.dtype_policy,
            )
        return OPTFinalNorm(norm, projection, name="final_norm", dtype=self.dtype_policy)

    def positions(self, attention_mask: tf.Tensor | None, **sizes: Any) -> tf.Tensor:
        """Return 0, 1, 2, … for the tokens that the mask shows, -1 for padding."""
        if attention_mask is None or attention_mask.shape.rank != 2:
            return super().positions(attention_mask, **sizes)
        seen = tf.cast(attention_mask, tf.int32)
        positions = tf.cumsum(seen, axis=1) * seen - 1
        return tf.gather(positions, super().positions(None, **sizes)[0], axis=1)

    def embed(
        self,
        vectors: tf.Tensor,
        position_ids: tf.Tensor,
        token_type_ids: tf.Tensor | None,
        training: bool,
    ) -> tf.Tensor:
        """Add the vectors of positions; there is no dropout."""
        return self.embeddings(vectors, position_ids)


class TFOPTForCausalLM(TFForCausalLM, TFOPTPreTrainedModel):
    """OPT with the scores of the next token."""


class TFOPTForSequenceClassification(TFForSequenceClassification, TFOPTPreTrainedModel):
    """OPT with a dense layer over the last token."""


class TFOPTForQuestionAnswering(TFForQuestionAnswering, TFOPTPreTrainedModel):
    """OPT with start and end scores for each token."""
