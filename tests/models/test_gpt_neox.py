"""GPT-NeoX equals PyTorch's: parallel parts or not, some or all of each vector turned."""

from typing import ClassVar

from parity import ParityTests
from transformers import GPTNeoXConfig

TINY = {
    "vocab_size": 29,
    "max_position_embeddings": 24,
    "hidden_size": 16,
    "intermediate_size": 19,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "pad_token_id": 0,
}


class TestGPTNeoX(ParityTests):
    family = "GPTNeoX"
    in_memory: ClassVar[dict[str, str]] = {"embed_out.weight": "lm_head.weight"}
    configs = {
        "plain": GPTNeoXConfig(**TINY),
        "every option": GPTNeoXConfig(
            **TINY | {"num_attention_heads": 4, "hidden_act": "gelu_new"},
            use_parallel_residual=False,
            attention_bias=False,
            tie_word_embeddings=True,
            layer_norm_eps=1e-3,
            num_labels=2,
            rope_parameters={
                "rope_type": "linear",
                "rope_theta": 50.0,
                "factor": 3.0,
                "partial_rotary_factor": 0.5,
            },
        ),
        "one layer, all turned": GPTNeoXConfig(
            **TINY | {"num_hidden_layers": 1, "hidden_size": 10, "num_attention_heads": 1},
            rotary_pct=1.0,
        ),
        "regression": GPTNeoXConfig(**TINY, num_labels=1),
    }
