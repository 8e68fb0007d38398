"""Mistral against PyTorch: with and without a window."""

import pytest
from parity import ParityTests
from transformers import MistralConfig

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


class TestMistral(ParityTests):
    family = "Mistral"
    configs = {
        "plain": MistralConfig(**TINY, sliding_window=3),
        "every option": MistralConfig(
            **TINY | {"hidden_size": 15, "num_attention_heads": 3, "num_key_value_heads": 1},
            sliding_window=None,
            head_dim=6,
            hidden_act="relu",
            rms_norm_eps=1e-3,
            tie_word_embeddings=True,
            attention_dropout=0.1,
            num_labels=2,
            rope_parameters={
                "rope_type": "yarn",
                "rope_theta": 50.0,
                "factor": 2.5,
                "original_max_position_embeddings": 9,
            },
        ),
        "one layer, itself only": MistralConfig(
            **TINY | {"num_hidden_layers": 1}, sliding_window=1, num_labels=3
        ),
        "regression": MistralConfig(**TINY, num_labels=1, sliding_window=4),
    }
