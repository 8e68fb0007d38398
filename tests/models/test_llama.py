"""Llama against PyTorch: every option, and every way to stretch its positions."""

from parity import ParityTests
from transformers import LlamaConfig

TINY = {
    "vocab_size": 29,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 24,
    "pad_token_id": 0,
}


class TestLlama(ParityTests):
    family = "Llama"
    configs = {
        "plain": LlamaConfig(**TINY),
        "every option": LlamaConfig(
            **TINY | {"hidden_size": 15, "num_attention_heads": 3, "num_key_value_heads": 1},
            head_dim=6,
            attention_bias=True,
            mlp_bias=True,
            hidden_act="gelu_new",
            rms_norm_eps=1e-3,
            tie_word_embeddings=True,
            attention_dropout=0.1,
            num_labels=2,
            rope_parameters={"rope_type": "linear", "rope_theta": 50.0, "factor": 2.5},
        ),
        "one layer, no sharing": LlamaConfig(
            **TINY
            | {
                "num_hidden_layers": 1,
                "num_key_value_heads": 4,
                "hidden_size": 24,
                "num_labels": 3,
            },
            rope_parameters={
                "rope_type": "llama3",
                "rope_theta": 40.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 16,
            },
        ),
        "regression": LlamaConfig(**TINY, num_labels=1),
    }
