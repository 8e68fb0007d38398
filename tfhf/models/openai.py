"""GPT (Radford et al., 2018): "Improving Language Understanding by Generative Pre-Training".

https://cdn.openai.com/research-covers/language-unsupervised/language_understanding_paper.pdf
Reference: ``transformers.models.openai.modeling_openai``.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from transformers import OpenAIGPTConfig

from tfhf.checkpoints.weight_table import Conv1D, Dense, Embedding, Norm, WeightTable
from tfhf.layers import InputEmbeddings, TransformerLayer, get_tf_activation
from tfhf.models.decoder import TFDecoderModel, TFDecoderPreTrainedModel
from tfhf.models.double_heads import TFDoubleHeadsModel
from tfhf.models.heads import TFForCausalLM, TFForSequenceClassification
from tfhf.outputs import TFOpenAIGPTDoubleHeadsModelOutput

WEIGHTS = WeightTable(
    prefix="transformer",
    body={
        "embeddings.token": Embedding("tokens_embed"),
        "embeddings.position": Embedding("positions_embed"),
        "decoder.layer.{i}.attention.qkv": Conv1D("h.{i}.attn.c_attn"),
        "decoder.layer.{i}.attention.out": Conv1D("h.{i}.attn.c_proj"),
        "decoder.layer.{i}.attention_norm": Norm("h.{i}.ln_1"),
        "decoder.layer.{i}.feed_forward.intermediate": Conv1D("h.{i}.mlp.c_fc"),
        "decoder.layer.{i}.feed_forward.out": Conv1D("h.{i}.mlp.c_proj"),
        "decoder.layer.{i}.output_norm": Norm("h.{i}.ln_2"),
    },
    heads={
        "lm_head.decoder": Dense("lm_head"),
        "classifier.out": Dense("score"),
    },
    tied={"lm_head.weight": "transformer.tokens_embed.weight"},
    ignored=(r"\.attn\.bias$", r"position_ids$"),
)


class TFOpenAIGPTPreTrainedModel(TFDecoderPreTrainedModel):
    """What all GPT classes share."""

    config_class = OpenAIGPTConfig
    base_model_prefix = "transformer"
    weight_table = WEIGHTS
    input_names: ClassVar[tuple[str, ...]] = (
        "input_ids",
        "attention_mask",
        "token_type_ids",
        "position_ids",
        "head_mask",
        "inputs_embeds",
        "past_key_values",
        "cache_position",
        "use_cache",
    )

    def make_body(self, **kwargs: Any) -> TFOpenAIGPTModel:
        """Return GPT itself."""
        return TFOpenAIGPTModel(self.config, **kwargs)


class TFOpenAIGPTModel(TFDecoderModel, TFOpenAIGPTPreTrainedModel):
    """GPT without a head.

    Unlike Transformers' GPT it can keep keys and values; it does so only with ``use_cache=True``.
    """

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

    def make_layer(self, index: int) -> TransformerLayer:
        """Return a layer, whose parts are added and then normalised."""
        config = self.config
        return TransformerLayer(
            config.hidden_size,
            config.num_attention_heads,
            4 * config.hidden_size,
            # What this configuration calls GELU is its approximation.
            get_tf_activation("gelu_new" if config.afn == "gelu" else config.afn),
            epsilon=config.layer_norm_epsilon,
            dropout=config.resid_pdrop,
            attention_dropout=config.attn_pdrop,
            stddev=config.initializer_range,
            name=f"layer_{index}",
            dtype=self.dtype_policy,
        )

    def make_final_norm(self) -> None:
        """Return nothing: the last layer normalises."""
        return None


class TFOpenAIGPTLMHeadModel(TFForCausalLM, TFOpenAIGPTPreTrainedModel):
    """GPT with the scores of the next token."""


class TFOpenAIGPTDoubleHeadsModel(TFDoubleHeadsModel, TFOpenAIGPTPreTrainedModel):
    """GPT with the scores of the next token and of choices."""

    output_type = TFOpenAIGPTDoubleHeadsModelOutput
    weight_table = dataclasses.replace(
        WEIGHTS,
        heads={
            "lm_head.decoder": Dense("lm_head"),
            "classifier.out": Dense("multiple_choice_head.summary"),
        },
    )


class TFOpenAIGPTForSequenceClassification(TFForSequenceClassification, TFOpenAIGPTPreTrainedModel):
    """GPT with a dense layer over the last token."""
