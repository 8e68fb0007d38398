"""CTRL (Keskar et al., 2019): a language model that is told the kind of text by its first token.

https://arxiv.org/abs/1909.05858
Reference: ``transformers.models.ctrl.modeling_ctrl``.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from transformers import CTRLConfig

from tfhf.checkpoints.weight_table import Bias, Dense, Embedding, Norm, WeightTable
from tfhf.layers import (
    FeedForward,
    InputEmbeddings,
    LanguageModelingHead,
    LayerNorm,
    MultiHeadAttention,
    PreNormLayer,
    get_tf_activation,
    sinusoidal_positions,
)
from tfhf.models.decoder import TFDecoderModel, TFDecoderPreTrainedModel
from tfhf.models.heads import TFForCausalLM, TFForSequenceClassification

WEIGHTS = WeightTable(
    prefix="transformer",
    body={
        "embeddings.token": Embedding("w"),
        "decoder.layer.{i}.attention_norm": Norm("h.{i}.layernorm1"),
        "decoder.layer.{i}.attention.qkv": Dense("h.{i}.multi_head_attention.{Wq,Wk,Wv}"),
        "decoder.layer.{i}.attention.out": Dense("h.{i}.multi_head_attention.dense"),
        "decoder.layer.{i}.feed_forward_norm": Norm("h.{i}.layernorm2"),
        "decoder.layer.{i}.feed_forward.intermediate": Dense("h.{i}.ffn.0"),
        "decoder.layer.{i}.feed_forward.out": Dense("h.{i}.ffn.2"),
        "decoder.final_norm": Norm("layernorm"),
    },
    heads={
        "lm_head.decoder": Dense("lm_head"),
        "lm_head": Bias("lm_head.bias"),
        "classifier.out": Dense("classifier"),
    },
    tied={"lm_head.weight": "transformer.w.weight"},
    ignored=(r"pos_encoding$",),
)


class TFCTRLPreTrainedModel(TFDecoderPreTrainedModel):
    """What all CTRL classes share."""

    config_class = CTRLConfig
    base_model_prefix = "transformer"
    weight_table = WEIGHTS
    input_names = (
        "input_ids",
        "past_key_values",
        "attention_mask",
        "token_type_ids",
        "position_ids",
        "head_mask",
        "inputs_embeds",
        "cache_position",
        "use_cache",
    )

    def make_body(self, **kwargs: Any) -> TFCTRLModel:
        """Return CTRL itself."""
        return TFCTRLModel(self.config, **kwargs)

    def make_lm_head(self) -> LanguageModelingHead:
        """Return the scores of all tokens, with a bias."""
        return self.make_next_token_head(decoder_bias=True)


class TFCTRLModel(TFDecoderModel, TFCTRLPreTrainedModel):
    """CTRL without a head."""

    def make_embeddings(self) -> InputEmbeddings:
        """Return the layer of token vectors."""
        config = self.config
        return InputEmbeddings(
            config.vocab_size,
            config.hidden_size,
            dropout=config.embd_pdrop,
            stddev=config.initializer_range,
            name="embeddings",
            dtype=self.dtype_policy,
        )

    def norm(self, name: str, epsilon: float = 1e-6) -> LayerNorm:
        """Return a normalisation of states."""
        return LayerNorm(self.config.hidden_size, epsilon, name=name, dtype=self.dtype_policy)

    def make_final_norm(self) -> LayerNorm:
        """Return what normalises the last states."""
        return self.norm("final_norm", self.config.layer_norm_epsilon)

    def make_layer(self, index: int) -> PreNormLayer:
        """Return a layer."""
        config = self.config
        options = {"stddev": config.initializer_range, "dtype": self.dtype_policy}
        return PreNormLayer(
            MultiHeadAttention(
                config.hidden_size, config.num_attention_heads, name="attention", **options
            ),
            FeedForward(
                config.hidden_size,
                config.dff,
                get_tf_activation("relu"),
                name="feed_forward",
                **options,
            ),
            attention_norm=self.norm("attention_norm"),
            feed_forward_norm=self.norm("feed_forward_norm"),
            dropout=config.resid_pdrop,
            feed_forward_dropout=config.resid_pdrop,
            name=f"layer_{index}",
            dtype=self.dtype_policy,
        )

    def embed(
        self,
        vectors: tf.Tensor,
        position_ids: tf.Tensor,
        token_type_ids: tf.Tensor | None,
        training: bool,
    ) -> tf.Tensor:
        """Add the vectors of token types and, after scaling, of positions."""
        if token_type_ids is not None:
            vectors += self.embeddings.token(token_type_ids)
        size = self.config.hidden_size
        positions = sinusoidal_positions(position_ids, size)
        vectors = vectors * size**0.5 + tf.cast(positions, vectors.dtype)
        return self.embeddings(vectors, position_ids, training=training)


class TFCTRLLMHeadModel(TFForCausalLM, TFCTRLPreTrainedModel):
    """CTRL with the scores of the next token."""


class TFCTRLForSequenceClassification(TFForSequenceClassification, TFCTRLPreTrainedModel):
    """CTRL with a dense layer over the last token."""
