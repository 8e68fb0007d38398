"""CTRL equals PyTorch's: positions as waves, tied and untied scores with a bias."""

from parity import ParityTests
from transformers import CTRLConfig

TINY = {
    "vocab_size": 29,
    "n_positions": 24,
    "n_embd": 12,
    "dff": 17,
    "n_layer": 2,
    "n_head": 3,
    "pad_token_id": 0,
}


class TestCTRL(ParityTests):
    family = "CTRL"
    configs = {
        "plain": CTRLConfig(**TINY),
        "untied": CTRLConfig(
            **TINY | {"n_embd": 10, "n_head": 2, "layer_norm_epsilon": 1e-3},
            tie_word_embeddings=False,
            num_labels=3,
        ),
        "one layer, odd size": CTRLConfig(**TINY | {"n_layer": 1, "n_head": 1, "n_embd": 9}),
        "regression": CTRLConfig(**TINY, num_labels=1),
    }
