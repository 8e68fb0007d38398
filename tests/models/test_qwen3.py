"""Qwen 3 against PyTorch: its norms, and windows in some layers."""

from parity import ParityTests
from transformers import Qwen3Config

TINY = {
    "vocab_size": 29,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 6,
    "max_position_embeddings": 24,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


class TestQwen3(ParityTests):
    family = "Qwen3"
    configs = {
        "plain": Qwen3Config(**TINY),
        "every option": Qwen3Config(
            **TINY | {"hidden_size": 15, "num_attention_heads": 3, "num_key_value_heads": 1},
            attention_bias=True,
            use_sliding_window=True,
            sliding_window=3,
            layer_types=["sliding_attention", "full_attention"],
            rms_norm_eps=1e-3,
            tie_word_embeddings=True,
            attention_dropout=0.1,
            num_labels=2,
        ),
        "one layer, no sharing": Qwen3Config(
            **TINY | {"num_hidden_layers": 1, "num_key_value_heads": 4}, num_labels=3
        ),
        "regression": Qwen3Config(**TINY, num_labels=1),
    }
