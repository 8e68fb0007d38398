"""What KerasHub calls each architecture and its settings, and what they are called here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

#: What KerasHub calls the sizes that all architectures have.
SIZES = {
    "vocabulary_size": "vocab_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "hidden_dim": "hidden_size",
    "intermediate_dim": "intermediate_size",
    "max_sequence_length": "max_position_embeddings",
    "dropout": "hidden_dropout_prob",
}
EMBEDDINGS = SIZES | {"num_segments": "type_vocab_size"}
ROTARY = {
    "vocabulary_size": "vocab_size",
    "num_layers": "num_hidden_layers",
    "num_query_heads": "num_attention_heads",
    "num_key_value_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "hidden_dim": "hidden_size",
    "intermediate_dim": "intermediate_size",
    "layer_norm_epsilon": "rms_norm_eps",
    "tie_word_embeddings": "tie_word_embeddings",
}


class Family(NamedTuple):
    """How an architecture is called there, and here."""

    converter: str
    model_type: str
    model_class: str
    #: From KerasHub's names of settings to those of the configuration.
    names: Mapping[str, str]
    #: What the configuration has beside these.
    others: Callable[[Mapping[str, Any]], dict[str, Any]] = lambda theirs: {}
    #: What our class is told beside its configuration.
    options: Mapping[str, Any] = {}


FAMILIES = {
    "AlbertBackbone": Family(
        "albert",
        "albert",
        "TFAlbertModel",
        EMBEDDINGS
        | {
            "embedding_dim": "embedding_size",
            "num_groups": "num_hidden_groups",
            "num_inner_repetitions": "inner_group_num",
        },
        lambda theirs: {"hidden_act": "gelu_new"},
    ),
    "BartBackbone": Family(
        "bart",
        "bart",
        "TFBartForConditionalGeneration",
        {
            "vocabulary_size": "vocab_size",
            "num_layers": "encoder_layers",
            "num_heads": "encoder_attention_heads",
            "hidden_dim": "d_model",
            "intermediate_dim": "encoder_ffn_dim",
            "max_sequence_length": "max_position_embeddings",
            "dropout": "dropout",
        },
        lambda theirs: {
            "decoder_layers": theirs["num_layers"],
            "decoder_attention_heads": theirs["num_heads"],
            "decoder_ffn_dim": theirs["intermediate_dim"],
        },
    ),
    "BertBackbone": Family(
        "bert", "bert", "TFBertModel", EMBEDDINGS, lambda theirs: {"hidden_act": "gelu_new"}
    ),
    "DistilBertBackbone": Family(
        "distilbert",
        "distilbert",
        "TFDistilBertModel",
        {
            "vocabulary_size": "vocab_size",
            "num_layers": "n_layers",
            "num_heads": "n_heads",
            "hidden_dim": "dim",
            "intermediate_dim": "hidden_dim",
            "max_sequence_length": "max_position_embeddings",
            "dropout": "dropout",
        },
    ),
    "GemmaBackbone": Family(
        "gemma",
        "gemma2",
        "TFGemma2ForCausalLM",
        ROTARY
        | {
            "attention_logit_soft_cap": "attn_logit_softcapping",
            "final_logit_soft_cap": "final_logit_softcapping",
            "sliding_window_size": "sliding_window",
        },
        lambda theirs: _gemma2_sizes(theirs),
    ),
    "GPT2Backbone": Family(
        "gpt2",
        "gpt2",
        "TFGPT2LMHeadModel",
        {
            "vocabulary_size": "vocab_size",
            "num_layers": "n_layer",
            "num_heads": "n_head",
            "hidden_dim": "n_embd",
            "intermediate_dim": "n_inner",
            "max_sequence_length": "n_positions",
            "dropout": "resid_pdrop",
        },
    ),
    "Llama3Backbone": Family(
        "llama3",
        "llama",
        "TFLlamaForCausalLM",
        ROTARY,
        lambda theirs: {"rope_parameters": _llama3_rotation(theirs)},
    ),
    "MistralBackbone": Family(
        "mistral",
        "mistral",
        "TFMistralForCausalLM",
        ROTARY | {"sliding_window": "sliding_window"},
        lambda theirs: {"rope_parameters": _rotation(theirs)},
    ),
    "QwenBackbone": Family(
        "qwen",
        "qwen2",
        "TFQwen2ForCausalLM",
        ROTARY | {"use_sliding_window_attention": "use_sliding_window"},
        lambda theirs: {
            "rope_parameters": _rotation(theirs),
            "sliding_window": theirs["sliding_window_size"],
            "max_window_layers": 0,  # all layers have the window, or none
        },
    ),
    "Qwen3Backbone": Family(
        "qwen3",
        "qwen3",
        "TFQwen3ForCausalLM",
        ROTARY,
        lambda theirs: {
            "rope_parameters": _rotation(theirs),
            "use_sliding_window": theirs["sliding_window_size"] is not None,
            "sliding_window": theirs["sliding_window_size"],
            "max_window_layers": 0,
        },
    ),
    "RobertaBackbone": Family(
        "roberta",
        "roberta",
        "TFRobertaModel",
        SIZES,
        lambda theirs: _roberta_sizes(theirs),
        {"add_pooling_layer": False},
    ),
    "XLMRobertaBackbone": Family(
        "xlm_roberta",
        "xlm-roberta",
        "TFXLMRobertaModel",
        SIZES,
        lambda theirs: _roberta_sizes(theirs),
        {"add_pooling_layer": False},
    ),
}


def _rotation(theirs: Mapping[str, Any]) -> dict[str, Any]:
    rotation: dict[str, Any] = {"rope_type": "default", "rope_theta": theirs["rope_max_wavelength"]}
    if (factor := theirs.get("rope_scaling_factor", 1)) != 1:
        rotation |= {"rope_type": "linear", "factor": factor}
    return rotation


def _llama3_rotation(theirs: Mapping[str, Any]) -> dict[str, Any]:
    if (factor := theirs["rope_position_scaling_factor"]) != 1:
        raise ValueError(
            f"preset has the rope_position_scaling_factor {factor}, which KerasHub does not compute"
        )
    factor = theirs["rope_frequency_adjustment_factor"]
    if factor is None:
        return _rotation(theirs)
    return _rotation(theirs) | {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": theirs["rope_low_freq_factor"],
        "high_freq_factor": theirs["rope_high_freq_factor"],
        "original_max_position_embeddings": theirs["rope_pretraining_sequence_length"],
    }


def _roberta_sizes(theirs: Mapping[str, Any]) -> dict[str, Any]:
    return {
        # Of the first two, one is for padding.
        "max_position_embeddings": theirs["max_sequence_length"] + 2,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
    }


def _gemma2_sizes(theirs: Mapping[str, Any]) -> dict[str, Any]:
    for name in (
        "query_head_dim_normalize",  # KerasHub computes as if it were True
        "use_post_attention_norm",
        "use_post_ffw_norm",
        "use_sliding_window_attention",
    ):
        if not theirs[name]:
            raise ValueError(f"preset has {name}=False: of Gemmas, tfhf takes Gemma 2's alone")
    return {
        "intermediate_size": theirs["intermediate_dim"] // 2,
        "query_pre_attn_scalar": theirs["head_dim"],
    }
