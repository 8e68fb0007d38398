"""OPT equals PyTorch's: both orders of normalisation, other sizes of vectors, no biases."""

from parity import ParityTests
from transformers import OPTConfig

TINY = {
    "vocab_size": 29,
    "max_position_embeddings": 12,
    "hidden_size": 12,
    "ffn_dim": 17,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
}


class TestOPT(ParityTests):
    family = "OPT"
    configs = {
        "plain": OPTConfig(**TINY),
        "like 350m": OPTConfig(
            **TINY | {"word_embed_proj_dim": 10, "do_layer_norm_before": False}, num_labels=3
        ),
        "every option": OPTConfig(
            **TINY | {"word_embed_proj_dim": 14, "activation_function": "gelu"},
            enable_bias=False,
            layer_norm_elementwise_affine=False,
            tie_word_embeddings=False,
            num_labels=2,
        ),
        "no final norm": OPTConfig(
            **TINY | {"num_hidden_layers": 1, "num_attention_heads": 1},
            _remove_final_layer_norm=True,
        ),
        "neither biases nor gammas, after": OPTConfig(
            **TINY | {"num_hidden_layers": 1, "do_layer_norm_before": False},
            enable_bias=False,
            layer_norm_elementwise_affine=False,
        ),
        "regression": OPTConfig(**TINY, num_labels=1),
    }
