"""GPT-Neo (Black et al., 2021): GPT-3's layers, every other of which sees a window only.

https://doi.org/10.5281/zenodo.5297715
Reference: ``transformers.models.gpt_neo.modeling_gpt_neo``.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf
from transformers import GPTNeoConfig

from tfhf.checkpoints.weight_table import Dense, Embedding, Norm, WeightTable
from tfhf.layers import (
    FeedForward,
    InputEmbeddings,
    MultiHeadAttention,
    PreNormLayer,
    attention_bias,
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
        "embeddings.token": Embedding("wte"),
        "embeddings.position": Embedding("wpe"),
        "decoder.layer.{i}.attention_norm": Norm("h.{i}.ln_1"),
        "decoder.layer.{i}.attention.qkv": Dense("h.{i}.attn.attention.{q,k,v}_proj"),
        "decoder.layer.{i}.attention.out": Dense("h.{i}.attn.attention.out_proj"),
        "decoder.layer.{i}.feed_forward_norm": Norm("h.{i}.ln_2"),
        "decoder.layer.{i}.feed_forward.intermediate": Dense("h.{i}.mlp.c_fc"),
        "decoder.layer.{i}.feed_forward.out": Dense("h.{i}.mlp.c_proj"),
        "decoder.final_norm": Norm("ln_f"),
    },
    heads={
        "lm_head.decoder": Dense("lm_head"),
        "classifier.out": Dense("score"),
        "qa_outputs.out": Dense("qa_outputs"),
    },
    tied={"lm_head.weight": "transformer.wte.weight"},
    ignored=(r"\.attention\.(masked_)?bias$",),
)


class TFGPTNeoPreTrainedModel(TFDecoderPreTrainedModel):
    """What all GPT-Neo classes share."""

    config_class = GPTNeoConfig
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

    def make_body(self, **kwargs: Any) -> TFGPTNeoModel:
        """Return GPT-Neo itself."""
        return TFGPTNeoModel(self.config, **kwargs)


class TFGPTNeoModel(TFDecoderModel, TFGPTNeoPreTrainedModel):
    """GPT-Neo without a head."""

    def make_embeddings(self) -> InputEmbeddings:
        """Return the sum of the vectors of tokens and positions."""
        config = self.config
        return InputEmbeddings(
            config.vocab_size,
            config.hidden_size,
            max_positions=config.max_position_embeddings,
            dropout=config.embed_dropout,
            stddev=config.initializer_range,
            name="embeddings",
            dtype=self.dtype_policy,
        )

    def make_layer(self, index: int) -> PreNormLayer:
        """Return a layer; its scores are not scaled."""
        config = self.config
        options = {"stddev": config.initializer_range, "dtype": self.dtype_policy}
        return PreNormLayer(
            MultiHeadAttention(
                config.hidden_size,
                config.num_attention_heads,
                use_bias=False,
                out_bias=True,
                scaling=1.0,
                dropout=config.attention_dropout,
                name="attention",
                **options,
            ),
            FeedForward(
                config.hidden_size,
                config.intermediate_size or 4 * config.hidden_size,
                get_tf_activation(config.activation_function),
                name="feed_forward",
                **options,
            ),
            attention_norm=self.norm("attention_norm"),
            feed_forward_norm=self.norm("feed_forward_norm"),
            dropout=config.resid_dropout,
            feed_forward_dropout=config.resid_dropout,
            name=f"layer_{index}",
            dtype=self.dtype_policy,
        )

    def layer_kinds(self) -> list[str]:
        """Return "global" or "local" for each layer."""
        return self.config.attention_layers

    def attention_inputs(
        self, position_ids: tf.Tensor, attention_mask: tf.Tensor | None, **sizes: Any
    ) -> dict[str, Any]:
        """Return what is seen: by local layers, ``config.window_size`` tokens with the own one."""
        window = self.config.window_size - 1
        return {
            "bias": {
                "global": attention_bias(attention_mask, causal=True, **sizes),
                "local": attention_bias(attention_mask, causal=True, window=window, **sizes),
            }
        }


class TFGPTNeoForCausalLM(TFForCausalLM, TFGPTNeoPreTrainedModel):
    """GPT-Neo with the scores of the next token."""


class TFGPTNeoForSequenceClassification(TFForSequenceClassification, TFGPTNeoPreTrainedModel):
    """GPT-Neo with a dense layer over the last token."""


class TFGPTNeoForTokenClassification(TFForTokenClassification, TFGPTNeoPreTrainedModel):
    """GPT-Neo with a class for each token."""

    weight_table = dataclasses.replace(WEIGHTS, heads={"classifier.out": Dense("classifier")})


class TFGPTNeoForQuestionAnswering(TFForQuestionAnswering, TFGPTNeoPreTrainedModel):
    """GPT-Neo with start and end scores for each token."""
