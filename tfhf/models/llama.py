"""Llama (Touvron et al., 2023), all three generations: https://arxiv.org/abs/2302.13971.

The body of most decoders in use today: positions turn queries and keys, several heads of queries
share one of keys and values, feed-forwards are gated. The families on top of it (Mistral, Qwen,
Gemma, Phi-3, SmolLM3) say in what they differ.
Reference: ``transformers.models.llama.modeling_llama``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from typing import Any

import tensorflow as tf
from transformers import LlamaConfig

from tfhf.checkpoints.weight_table import Dense, Embedding, Norm, WeightTable
from tfhf.layers import (
    GatedFeedForward,
    InputEmbeddings,
    MultiHeadAttention,
    PreNormLayer,
    RMSNorm,
    Rotation,
    attention_bias,
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
    prefix="model",
    body={
        "embeddings.token": Embedding("embed_tokens"),
        "decoder.layer.{i}.attention_norm": Norm("layers.{i}.input_layernorm"),
        "decoder.layer.{i}.attention.qkv": Dense("layers.{i}.self_attn.{q_proj,k_proj,v_proj}"),
        "decoder.layer.{i}.attention.out": Dense("layers.{i}.self_attn.o_proj"),
        "decoder.layer.{i}.feed_forward_norm": Norm("layers.{i}.post_attention_layernorm"),
        "decoder.layer.{i}.feed_forward.intermediate": Dense("layers.{i}.mlp.{gate_proj,up_proj}"),
        "decoder.layer.{i}.feed_forward.out": Dense("layers.{i}.mlp.down_proj"),
        "decoder.final_norm": Norm("norm"),
    },
    heads={
        "lm_head.decoder": Dense("lm_head"),
        "classifier.out": Dense("score"),
        "qa_outputs.out": Dense("qa_outputs"),
    },
    tied={"lm_head.weight": "model.embed_tokens.weight"},
    ignored=(r"rotary_emb\.inv_freq$",),
)


class TFLlamaPreTrainedModel(TFDecoderPreTrainedModel):
    """What all Llama classes share."""

    config_class = LlamaConfig
    base_model_prefix = "model"
    weight_table = WEIGHTS
    #: Positions are turned, not looked up, so that there is no last one.
    max_length = None

    def make_body(self, **kwargs: Any) -> TFLlamaModel:
        """Return Llama itself."""
        return TFLlamaModel(self.config, **kwargs)


class TFLlamaModel(TFDecoderModel, TFLlamaPreTrainedModel):
    """Llama without a head."""

    @property
    def head_size(self) -> int:
        """The size of a head's vectors."""
        config = self.config
        given = getattr(config, "head_dim", None)
        return config.hidden_size // config.num_attention_heads if given is None else given

    def make_embeddings(self) -> InputEmbeddings:
        """Return the vectors of tokens."""
        config = self.config
        return InputEmbeddings(
            config.vocab_size,
            config.hidden_size,
            dropout=0.0,
            stddev=config.initializer_range,
            name="embeddings",
            dtype=self.dtype_policy,
        )

    def norm(self, name: str, size: int | None = None, **options: Any) -> RMSNorm:
        """Return a normalisation of states, or of ``size`` numbers."""
        config = self.config
        return RMSNorm(
            config.hidden_size if size is None else size,
            config.rms_norm_eps,
            name=name,
            dtype=self.dtype_policy,
            **options,
        )

    def make_attention(self, **options: Any) -> MultiHeadAttention:
        """Return attention; ``options`` are those of `MultiHeadAttention`."""
        config = self.config
        options.setdefault("use_bias", getattr(config, "attention_bias", False))
        return MultiHeadAttention(
            config.hidden_size,
            config.num_attention_heads,
            num_kv_heads=config.num_key_value_heads,
            head_size=self.head_size,
            dropout=config.attention_dropout,
            stddev=config.initializer_range,
            name="attention",
            dtype=self.dtype_policy,
            **options,
        )

    def make_feed_forward(self) -> GatedFeedForward:
        """Return what changes each state."""
        config = self.config
        return GatedFeedForward(
            config.hidden_size,
            config.intermediate_size,
            get_tf_activation(self.activation),
            use_bias=getattr(config, "mlp_bias", False),
            stddev=config.initializer_range,
            name="feed_forward",
            dtype=self.dtype_policy,
        )

    @property
    def activation(self) -> str:
        """The name of the feed-forward's activation."""
        return self.config.hidden_act

    def make_layer(self, index: int, **options: Any) -> PreNormLayer:
        """Return a layer; ``options`` are those of `PreNormLayer`."""
        return PreNormLayer(
            self.make_attention(),
            self.make_feed_forward(),
            attention_norm=self.norm("attention_norm"),
            feed_forward_norm=self.norm("feed_forward_norm"),
            name=f"layer_{index}",
            dtype=self.dtype_policy,
            **options,
        )

    def layer_kinds(self) -> Sequence[Hashable]:
        """Return for each layer "full_attention", or "sliding_attention": it sees a window."""
        config = self.config
        return getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers

    def attention_inputs(
        self, position_ids: tf.Tensor, attention_mask: tf.Tensor | None, **sizes: Any
    ) -> dict[str, Any]:
        """Return the bias of each kind of layers, and the rotation."""
        kinds = set(self.layer_kinds())
        return {
            "bias": {kind: self.bias(kind, attention_mask, **sizes) for kind in kinds},
            "rotation": self.rotation(position_ids),
        }

    def bias(
        self, kind: Hashable, attention_mask: tf.Tensor | None, **options: Any
    ) -> tf.Tensor | None:
        """Return what is added to the scores of a kind of layers.

        ``options`` are those of `attention_bias`.
        """
        window = self.config.sliding_window if kind == "sliding_attention" else None
        if window is not None:
            options["window"] = window - 1  # the configuration counts the token itself, too
        return attention_bias(attention_mask, **{"causal": True} | options)

    def rotation(self, position_ids: tf.Tensor) -> Rotation | dict[Hashable, Rotation | None]:
        """Return what turns queries and keys, perhaps by kinds of layers."""
        return self.rotary_angles(position_ids, self.config.rope_parameters)

    def rotary_angles(self, position_ids: tf.Tensor, rope_parameters: dict[str, Any]) -> Rotation:
        """Return the rotation that ``rope_parameters`` describe."""
        limit = self.config.max_position_embeddings
        return rotary_angles(position_ids, self.head_size, rope_parameters, limit)


class TFLlamaForCausalLM(TFForCausalLM, TFLlamaPreTrainedModel):
    """Llama with the scores of the next token."""


class TFLlamaForSequenceClassification(TFForSequenceClassification, TFLlamaPreTrainedModel):
    """Llama with a dense layer over the last token."""


class TFLlamaForTokenClassification(TFForTokenClassification, TFLlamaPreTrainedModel):
    """Llama with a class for each token."""


class TFLlamaForQuestionAnswering(TFForQuestionAnswering, TFLlamaPreTrainedModel):
    """Llama with start and end scores for each token."""

    base_model_prefix = "transformer"
    weight_table = dataclasses.replace(WEIGHTS, prefix="transformer")
