"""GPT-2 (Radford et al., 2019): "Language Models are Unsupervised Multitask Learners".

https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf
Reference: ``transformers.models.gpt2.modeling_gpt2``.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from transformers import GPT2Config

from tfhf.checkpoints.weight_table import Conv1D, Dense, Embedding, Norm, WeightTable
from tfhf.layers import (
    FeedForward,
    InputEmbeddings,
    MultiHeadAttention,
    PreNormLayer,
    get_tf_activation,
)
from tfhf.models.decoder import TFDecoderModel, TFDecoderPreTrainedModel
from tfhf.models.double_heads import TFDoubleHeadsModel
from tfhf.models.heads import (
    TFForCausalLM,
    TFForQuestionAnswering,
    TFForSequenceClassification,
    TFForTokenClassification,
)
from tfhf.outputs import TFGPT2DoubleHeadsModelOutput

WEIGHTS = WeightTable(
    prefix="transformer",
    body={
        "embeddings.token": Embedding("wte"),
        "embeddings.position": Embedding("wpe"),
        "decoder.layer.{i}.attention_norm": Norm("h.{i}.ln_1"),
        "decoder.layer.{i}.attention.qkv": Conv1D("h.{i}.attn.c_attn"),
        "decoder.layer.{i}.attention.out": Conv1D("h.{i}.attn.c_proj"),
        "decoder.layer.{i}.cross_attention_norm": Norm("h.{i}.ln_cross_attn"),
        "decoder.layer.{i}.cross_attention.query": Conv1D("h.{i}.crossattention.q_attn"),
        "decoder.layer.{i}.cross_attention.key_value": Conv1D("h.{i}.crossattention.c_attn"),
        "decoder.layer.{i}.cross_attention.out": Conv1D("h.{i}.crossattention.c_proj"),
        "decoder.layer.{i}.feed_forward_norm": Norm("h.{i}.ln_2"),
        "decoder.layer.{i}.feed_forward.intermediate": Conv1D("h.{i}.mlp.c_fc"),
        "decoder.layer.{i}.feed_forward.out": Conv1D("h.{i}.mlp.c_proj"),
        "decoder.final_norm": Norm("ln_f"),
    },
    heads={
        "lm_head.decoder": Dense("lm_head"),
        "classifier.out": Dense("score"),
        "qa_outputs.out": Dense("qa_outputs"),
    },
    tied={"lm_head.weight": "transformer.wte.weight"},
    ignored=(r"\.attn\.(masked_)?bias$", r"\.crossattention\.(masked_)?bias$"),
)


class TFGPT2PreTrainedModel(TFDecoderPreTrainedModel):
    """What all GPT-2 classes share."""

    config_class = GPT2Config
    base_model_prefix = "transformer"
    weight_table = WEIGHTS
    input_names: ClassVar[tuple[str, ...]] = (
        "input_ids",
        "past_key_values",
        "attention_mask",
        "token_type_ids",
        "position_ids",
        "head_mask",
        "inputs_embeds",
        "encoder_hidden_states",
        "encoder_attention_mask",
        "cache_position",
        "use_cache",
    )

    def make_body(self, **kwargs: Any) -> TFGPT2Model:
        """Return GPT-2 itself."""
        return TFGPT2Model(self.config, **kwargs)


class TFGPT2Model(TFDecoderModel, TFGPT2PreTrainedModel):
    """GPT-2 without a head."""

    def make_embeddings(self) -> InputEmbeddings:
        """Return the sum of the vectors of tokens and positions."""
        config = self.config
        return InputEmbeddings(
            config.vocab_size,
            config.hidden_size,
            max_positions=config.max_position_embeddings,
            dropout=config.embd_pdrop,
            stddev=config.initializer_range,
            name="embeddings",
            dtype=self.dtype_policy,
        )

    def make_attention(self, index: int, **options: Any) -> MultiHeadAttention:
        """Return attention; its scores may be scaled by the number of the layer."""
        config = self.config
        scaling = (config.hidden_size // config.num_attention_heads) ** -0.5
        if not config.scale_attn_weights:
            scaling = 1.0
        if config.scale_attn_by_inverse_layer_idx:
            scaling /= index + 1
        return MultiHeadAttention(
            config.hidden_size,
            config.num_attention_heads,
            scaling=scaling,
            dropout=config.attn_pdrop,
            stddev=config.initializer_range,
            dtype=self.dtype_policy,
            **options,
        )

    def make_layer(self, index: int) -> PreNormLayer:
        """Return a layer, which sees an encoder, too, with ``config.add_cross_attention``."""
        config = self.config
        crossing: dict[str, Any] = {}
        if config.add_cross_attention:
            crossing["cross_attention"] = self.make_attention(
                index, cross_attention=True, name="cross_attention"
            )
            crossing["cross_attention_norm"] = self.norm("cross_attention_norm")
        return PreNormLayer(
            self.make_attention(index, name="attention"),
            FeedForward(
                config.hidden_size,
                config.n_inner or 4 * config.hidden_size,
                get_tf_activation(config.activation_function),
                stddev=config.initializer_range,
                name="feed_forward",
                dtype=self.dtype_policy,
            ),
            attention_norm=self.norm("attention_norm"),
            feed_forward_norm=self.norm("feed_forward_norm"),
            dropout=config.resid_pdrop,
            feed_forward_dropout=config.resid_pdrop,
            name=f"layer_{index}",
            dtype=self.dtype_policy,
            **crossing,
        )


class TFGPT2LMHeadModel(TFForCausalLM, TFGPT2PreTrainedModel):
    """GPT-2 with the scores of the next token."""


class TFGPT2DoubleHeadsModel(TFDoubleHeadsModel, TFGPT2PreTrainedModel):
    """GPT-2 with the scores of the next token and of choices."""

    output_type = TFGPT2DoubleHeadsModelOutput
    weight_table = dataclasses.replace(
        WEIGHTS,
        heads={
            "lm_head.decoder": Dense("lm_head"),
            "classifier.out": Dense("multiple_choice_head.summary"),
        },
    )


class TFGPT2ForSequenceClassification(TFForSequenceClassification, TFGPT2PreTrainedModel):
    """GPT-2 with a dense layer over the last token."""


class TFGPT2ForTokenClassification(TFForTokenClassification, TFGPT2PreTrainedModel):
    """GPT-2 with a class for each token."""

    weight_table = dataclasses.replace(WEIGHTS, heads={"classifier.out": Dense("classifier")})


class TFGPT2ForQuestionAnswering(TFForQuestionAnswering, TFGPT2PreTrainedModel):
    """GPT-2 with start and end scores for each token."""
