"""BLOOM (BigScience, 2022), whose attention knows distances by ALiBi (Press et al., 2021).

https://arxiv.org/abs/2211.05100, https://arxiv.org/abs/2108.12409
Reference: ``transformers.models.bloom.modeling_bloom``.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import tensorflow as tf
from transformers import BloomConfig

from tfhf.checkpoints.weight_table import Dense, Embedding, HeadByHead, Norm, WeightTable
from tfhf.layers import (
    FeedForward,
    InputEmbeddings,
    MultiHeadAttention,
    PreNormLayer,
    get_tf_activation,
)
from tfhf.models.decoder import TFDecoderModel, TFDecoderPreTrainedModel
from tfhf.models.heads import (
    TFForCausalLM,
    TFForQuestionAnswering,
    TFForSequenceClassification,
    TFForTokenClassification,
)

WEIGHTS = WeightTable(
    prefix="transformer",
    body={
        "embeddings.token": Embedding("word_embeddings"),
        "embeddings.norm": Norm("word_embeddings_layernorm"),
        "decoder.layer.{i}.attention_norm": Norm("h.{i}.input_layernorm"),
        "decoder.layer.{i}.attention": HeadByHead("h.{i}.self_attention.query_key_value"),
        "decoder.layer.{i}.attention.out": Dense("h.{i}.self_attention.dense"),
        "decoder.layer.{i}.feed_forward_norm": Norm("h.{i}.post_attention_layernorm"),
        "decoder.layer.{i}.feed_forward.intermediate": Dense("h.{i}.mlp.dense_h_to_4h"),
        "decoder.layer.{i}.feed_forward.out": Dense("h.{i}.mlp.dense_4h_to_h"),
        "decoder.final_norm": Norm("ln_f"),
    },
    heads={
        "lm_head.decoder": Dense("lm_head"),
        "classifier.out": Dense("score"),
        "qa_outputs.out": Dense("qa_outputs"),
    },
    tied={"lm_head.weight": "transformer.word_embeddings.weight"},
)


class TFBloomPreTrainedModel(TFDecoderPreTrainedModel):
    """What all BLOOM classes share."""

    config_class = BloomConfig
    base_model_prefix = "transformer"
    weight_table = WEIGHTS
    input_names = (
        "input_ids",
        "past_key_values",
        "attention_mask",
        "inputs_embeds",
        "cache_position",
        "use_cache",
    )

    def make_body(self, **kwargs: Any) -> TFBloomModel:
        """Return BLOOM itself."""
        return TFBloomModel(self.config, **kwargs)


class TFBloomModel(TFDecoderModel, TFBloomPreTrainedModel):
    """BLOOM without a head."""

    def make_embeddings(self) -> InputEmbeddings:
        """Return the layer of normalised token vectors."""
        config = self.config
        return InputEmbeddings(
            config.vocab_size,
            config.hidden_size,
            norm=self.norm("norm"),
            dropout=0.0,
            stddev=config.initializer_range,
            name="embeddings",
            dtype=self.dtype_policy,
        )

    def make_layer(self, index: int) -> PreNormLayer:
        """Return a layer."""
        config = self.config
        options = {"stddev": config.initializer_range, "dtype": self.dtype_policy}
        return PreNormLayer(
            MultiHeadAttention(
                config.hidden_size,
                config.num_attention_heads,
                dropout=config.attention_dropout,
                name="attention",
                **options,
            ),
            FeedForward(
                config.hidden_size,
                4 * config.hidden_size,
                get_tf_activation("gelu_new"),
                name="feed_forward",
                **options,
            ),
            attention_norm=self.norm("attention_norm"),
            feed_forward_norm=self.norm("feed_forward_norm"),
            add_to_normalised=config.apply_residual_connection_post_layernorm,
            dropout=config.hidden_dropout,
            feed_forward_dropout=config.hidden_dropout,
            name=f"layer_{index}",
            dtype=self.dtype_policy,
        )

    def attention_inputs(
        self, position_ids: tf.Tensor, attention_mask: tf.Tensor | None, **sizes: Any
    ) -> dict[str, Any]:
        """Return what is seen, and that what is far counts less: each head has its own slope.

        The softmax does not care that it is the position of the key that is added, not a distance.
        """
        if attention_mask is None or attention_mask.shape.rank != 2:
            positions = tf.range(sizes["key_length"])[None]
        else:
            seen = tf.cast(attention_mask, tf.int32)
            positions = (tf.cumsum(seen, axis=1) - 1) * seen
        slopes = alibi_slopes(self.config.num_attention_heads)[:, None, None]
        told = super().attention_inputs(position_ids, attention_mask, **sizes)
        told["bias"] += slopes * tf.cast(positions, tf.float32)[:, None, None]
        return told


def alibi_slopes(num_heads: int) -> np.ndarray:
    """Return by how much the score of a key falls with each token between, float32 [heads].

    The slopes are powers of 2 ** (-8 / heads), and where the number of heads is no power of two,
    every other one of those for the next such number.

    Example:
        >>> alibi_slopes(3).tolist()
        [0.0625, 0.00390625, 0.25]
    """
    power = 2 ** math.floor(math.log2(num_heads))
    slopes = [2 ** (-8 * (i + 1) / power) for i in range(power)]
    slopes += [2 ** (-4 * (2 * i + 1) / power) for i in range(num_heads - power)]
    return np.array(slopes, np.float32)


class TFBloomForCausalLM(TFForCausalLM, TFBloomPreTrainedModel):
    """BLOOM with the scores of the next token."""


class TFBloomForSequenceClassification(TFForSequenceClassification, TFBloomPreTrainedModel):
    """BLOOM with a dense layer over the last token."""


class TFBloomForTokenClassification(TFForTokenClassification, TFBloomPreTrainedModel):
    """BLOOM with a class for each token."""

    weight_table = dataclasses.replace(WEIGHTS, heads={"classifier.out": Dense("classifier")})


class TFBloomForQuestionAnswering(TFForQuestionAnswering, TFBloomPreTrainedModel):
    """BLOOM with start and end scores for each token."""
