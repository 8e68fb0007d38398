"""GPT-NeoX (Black et al., 2022), and Pythia, which is built like it.

https://arxiv.org/abs/2204.06745
Reference: ``transformers.models.gpt_neox.modeling_gpt_neox``.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf
from transformers import GPTNeoXConfig

from tfhf.checkpoints.weight_table import Dense, Embedding, HeadByHead, Norm, WeightTable
from tfhf.layers import (
    FeedForward,
    InputEmbeddings,
    LayerNorm,
    MultiHeadAttention,
    PreNormLayer,
    get_tf_activation,
    rotary_angles,
)
from tfhf.models.decoder import TFDecoderModel, TFDecoderPreTrainedModel
from tfhf.models.heads import (
    TFForCausalLM,
    TFForQuestionAnswering,
    TFForSequenceClassification,
    TFForTokenClassification,
)

WEIGHTS = WeightTable(
    prefix="gpt_neox",
    body={
        "embeddings.token": Embedding("embed_in"),
        "decoder.layer.{i}.attention_norm": Norm("layers.{i}.input_layernorm"),
        "decoder.layer.{i}.attention": HeadByHead("layers.{i}.attention.query_key_value"),
        "decoder.layer.{i}.attention.out": Dense("layers.{i}.attention.dense"),
        "decoder.layer.{i}.feed_forward_norm": Norm("layers.{i}.post_attention_layernorm"),
        "decoder.layer.{i}.feed_forward.intermediate": Dense("layers.{i}.mlp.dense_h_to_4h"),
        "decoder.layer.{i}.feed_forward.out": Dense("layers.{i}.mlp.dense_4h_to_h"),
        "decoder.final_norm": Norm("final_layer_norm"),
    },
    heads={
        "lm_head.decoder": Dense("embed_out"),
        "classifier.out": Dense("score"),
        "qa_outputs.out": Dense("qa_outputs"),
    },
    tied={"embed_out.weight": "gpt_neox.embed_in.weight"},
    ignored=(r"\.attention\.(masked_)?bias$", r"\.rotary_emb\.inv_freq$"),
)


class TFGPTNeoXPreTrainedModel(TFDecoderPreTrainedModel):
    """What all GPT-NeoX classes share."""

    config_class = GPTNeoXConfig
    base_model_prefix = "gpt_neox"
    weight_table = WEIGHTS
    #: Positions are turned, not looked up, so that there is no last one.
    max_length = None

    def make_body(self, **kwargs: Any) -> TFGPTNeoXModel:
        """Return GPT-NeoX itself."""
        return TFGPTNeoXModel(self.config, **kwargs)


class TFGPTNeoXModel(TFDecoderModel, TFGPTNeoXPreTrainedModel):
    """GPT-NeoX without a head."""

    def make_embeddings(self) -> InputEmbeddings:
        """Return the layer of token vectors."""
        config = self.config
        return InputEmbeddings(
            config.vocab_size,
            config.hidden_size,
            dropout=config.hidden_dropout,
            stddev=config.initializer_range,
            name="embeddings",
            dtype=self.dtype_policy,
        )

    def norm(self, name: str) -> LayerNorm:
        """Return a normalisation of states."""
        config = self.config
        return LayerNorm(
            config.hidden_size, config.layer_norm_eps, name=name, dtype=self.dtype_policy
        )

    def make_layer(self, index: int) -> PreNormLayer:
        """Return a layer whose parts read the same states or, as they may, one after the other."""
        config = self.config
        options = {"stddev": config.initializer_range, "dtype": self.dtype_policy}
        return PreNormLayer(
            MultiHeadAttention(
                config.hidden_size,
                config.num_attention_heads,
                use_bias=config.attention_bias,
                dropout=config.attention_dropout,
                name="attention",
                **options,
            ),
            FeedForward(
                config.hidden_size,
                config.intermediate_size,
                get_tf_activation(config.hidden_act),
                name="feed_forward",
                **options,
            ),
            attention_norm=self.norm("attention_norm"),
            feed_forward_norm=self.norm("feed_forward_norm"),
            parallel=config.use_parallel_residual,
            dropout=config.hidden_dropout,
            feed_forward_dropout=config.hidden_dropout,
            name=f"layer_{index}",
            dtype=self.dtype_policy,
        )

    def attention_inputs(
        self, position_ids: tf.Tensor, attention_mask: tf.Tensor | None, **sizes: Any
    ) -> dict[str, Any]:
        """Return what is seen, and by how much queries and keys are turned."""
        config = self.config
        rotation = rotary_angles(
            position_ids,
            config.hidden_size // config.num_attention_heads,
            config.rope_parameters,
            config.max_position_embeddings,
        )
        seen = super().attention_inputs(position_ids, attention_mask, **sizes)
        return seen | {"rotation": rotation}


class TFGPTNeoXForCausalLM(TFForCausalLM, TFGPTNeoXPreTrainedModel):
    """GPT-NeoX with the scores of the next token."""


class TFGPTNeoXForSequenceClassification(TFForSequenceClassification, TFGPTNeoXPreTrainedModel):
    """GPT-NeoX with a dense layer over the last token."""


class TFGPTNeoXForTokenClassification(TFForTokenClassification, TFGPTNeoXPreTrainedModel):
    """GPT-NeoX with a class for each token."""

    weight_table = dataclasses.replace(WEIGHTS, heads={"classifier.out": Dense("classifier")})


class TFGPTNeoXForQuestionAnswering(TFForQuestionAnswering, TFGPTNeoXPreTrainedModel):
    """GPT-NeoX with start and end scores for each token."""
