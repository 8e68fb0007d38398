"""GPT-J equals PyTorch's: neighbours turned together, in a part of each vector or in all of it."""

from parity import ParityTests
from transformers import GPTJConfig

TINY = {
    "vocab_size": 29,
    "n_positions": 24,
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 2,
    "rotary_dim": 4,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


class TestGPTJ(ParityTests):
    family = "GPTJ"
    configs = {
        "plain": GPTJConfig(**TINY),
        "every option": GPTJConfig(
            **TINY | {"rotary_dim": 8, "n_inner": 20, "activation_function": "gelu"},
            layer_norm_epsilon=1e-3,
            tie_word_embeddings=True,
            num_labels=2,
        ),
        "one layer": GPTJConfig(
            **TINY | {"n_layer": 1, "n_head": 1, "n_embd": 9, "rotary_dim": 2}, num_labels=3
        ),
        "regression": GPTJConfig(**TINY, num_labels=1),
    }
