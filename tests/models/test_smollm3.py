"""SmolLM3 against PyTorch: layers whose queries and keys are not turned."""

import pytest
from parity import ParityTests
from transformers import SmolLM3Config

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


class TestSmolLM3(ParityTests):
    family = "SmolLM3"
    configs = {
        "plain": SmolLM3Config(**TINY, no_rope_layers=[1, 0]),
        "every option": SmolLM3Config(
            **TINY | {"hidden_size": 18, "num_attention_heads": 3, "num_key_value_heads": 1},
            attention_bias=True,
            mlp_bias=True,
            use_sliding_window=True,
            sliding_window=3,
            no_rope_layer_interval=2,
            rms_norm_eps=1e-3,
            tie_word_embeddings=False,
            attention_dropout=0.1,
            num_labels=2,
        ),
        "one layer, never turned": SmolLM3Config(
            **TINY | {"num_hidden_layers": 1, "num_key_value_heads": 4},
            no_rope_layers=[0],
            num_labels=3,
        ),
        "regression": SmolLM3Config(**TINY, num_labels=1),
    }
