"""Qwen 2 against PyTorch: with windows in some layers, and without."""

import pytest
from parity import ParityTests
from transformers import Qwen2Config

# The code is Llama's, whose tests are among the fast ones.
pytestmark = pytest.mark.slow

TINY = {
    "vocab_size": 29,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 24,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


class TestQwen2(ParityTests):
    family = "Qwen2"
    configs = {
        "plain": Qwen2Config(**TINY),
        "every option": Qwen2Config(
            **TINY | {"hidden_size": 18, "num_attention_heads": 3, "num_key_value_heads": 1},
            use_sliding_window=True,
            sliding_window=3,
            max_window_layers=1,
            rms_norm_eps=1e-3,
            tie_word_embeddings=True,
            attention_dropout=0.1,
            num_labels=2,
        ),
        "one layer, no sharing": Qwen2Config(
            **TINY | {"num_hidden_layers": 1, "num_key_value_heads": 4},
            num_labels=3,
            hidden_act="gelu",
        ),
        "regression": Qwen2Config(**TINY, num_labels=1),
    }
