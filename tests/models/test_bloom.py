"""BLOOM equals PyTorch's: any number of heads, both kinds of residuals."""

from parity import ParityTests
from transformers import BloomConfig

TINY = {
    "vocab_size": 29,
    "hidden_size": 16,
    "n_layer": 2,
    "n_head": 4,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 3,
}


class TestBloom(ParityTests):
    family = "Bloom"
    configs = {
        "plain": BloomConfig(**TINY),
        "six heads": BloomConfig(
            **TINY | {"n_head": 6, "hidden_size": 18},
            apply_residual_connection_post_layernorm=True,
            layer_norm_epsilon=1e-3,
            tie_word_embeddings=False,
            num_labels=2,
        ),
        "one layer, one head": BloomConfig(
            **TINY | {"n_layer": 1, "n_head": 1, "hidden_size": 9}, num_labels=3
        ),
        "regression": BloomConfig(**TINY, num_labels=1),
    }
