"""GPT-J (Wang and Komatsuzaki, 2021): attention and feed-forward at a time, rotary positions.

https://github.com/kingoflolz/mesh-transformer-jax
Reference: ``transformers.models.gptj.modeling_gptj``.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from transformers import GPTJConfig

from tfhf.checkpoints.weight_table import Bias, Dense, Embedding, Norm, WeightTable
from tfhf.layers import (
    FeedForward,
    InputEmbeddings,
    LanguageModelingHead,
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
)

WEIGHTS = WeightTable(
    prefix="transformer",
    body={
        "embeddings.token": Embedding("wte"),
        "decoder.layer.{i}.attention_norm": Norm("h.{i}.ln_1"),
        "decoder.layer.{i}.attention.qkv": Dense("h.{i}.attn.{q,k,v}_proj"),
        "decoder.layer.{i}.attention.out": Dense("h.{i}.attn.out_proj"),
        "decoder.layer.{i}.feed_forward.intermediate": Dense("h.{i}.mlp.fc_in"),
        "decoder.layer.{i}.feed_forward.out": Dense("h.{i}.mlp.fc_out"),
        "decoder.final_norm": Norm("ln_f"),
    },
    heads={
        "lm_head.decoder": Dense("lm_head"),
        "lm_head": Bias("lm_head.bias"),
        "classifier.out": Dense("score"),
        "qa_outputs.out": Dense("qa_outputs"),
    },
    tied={"lm_head.weight": "transformer.wte.weight"},
    ignored=(r"\.attn\.(masked_)?bias$", r"\.attn\.embed_positions$"),
)


class TFGPTJPreTrainedModel(TFDecoderPreTrainedModel):
    """What all GPT-J classes share."""

    config_class = GPTJConfig
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

    def make_body(self, **kwargs: Any) -> TFGPTJModel:
        """Return GPT-J itself."""
        return TFGPTJModel(self.config, **kwargs)

    def make_lm_head(self) -> LanguageModelingHead:
        """Return the scores of all tokens, with a bias."""
        return self.make_next_token_head(decoder_bias=True)


class TFGPTJModel(TFDecoderModel, TFGPTJPreTrainedModel):
    """GPT-J without a head."""

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

    def make_layer(self, index: int) -> PreNormLayer:
        """Return a layer whose feed-forward reads what its attention reads."""
        config = self.config
        options = {"stddev": config.initializer_range, "dtype": self.dtype_policy}
        return PreNormLayer(
            MultiHeadAttention(
                config.hidden_size,
                config.num_attention_heads,
                use_bias=False,
                dropout=config.attn_pdrop,
                name="attention",
                **options,
            ),
            FeedForward(
                config.hidden_size,
                config.n_inner or 4 * config.hidden_size,
                get_tf_activation(config.activation_function),
                name="feed_forward",
                **options,
            ),
            attention_norm=self.norm("attention_norm"),
            feed_forward_norm=None,
            dropout=config.resid_pdrop,
            feed_forward_dropout=config.resid_pdrop,
            name=f"layer_{index}",
            dtype=self.dtype_policy,
        )

    def attention_inputs(
        self, position_ids: tf.Tensor, attention_mask: tf.Tensor | None, **sizes: Any
    ) -> dict[str, Any]:
        """Return what is seen, and by how much the start of queries and keys is turned."""
        config = self.config
        rotation = rotary_angles(
            position_ids,
            config.rotary_dim,
            {"rope_theta": 10000.0},
            config.max_position_embeddings,
            interleaved=True,
        )
        seen = super().attention_inputs(position_ids, attention_mask, **sizes)
        return seen | {"rotation": rotation}


class TFGPTJForCausalLM(TFForCausalLM, TFGPTJPreTrainedModel):
    """GPT-J with the scores of the next token."""


class TFGPTJForSequenceClassification(TFForSequenceClassification, TFGPTJPreTrainedModel):
    """GPT-J with a dense layer over the last token."""


class TFGPTJForQuestionAnswering(TFForQuestionAnswering, TFGPTJPreTrainedModel):
    """GPT-J with start and end scores for each token."""
