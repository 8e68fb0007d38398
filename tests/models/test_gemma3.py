"""Gemma 3 against PyTorch: two rotations, norms of queries and keys, both ways."""

from parity import ParityTests
from transformers import Gemma3TextConfig

TINY = {
    "vocab_size": 29,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 6,
    "query_pre_attn_scalar": 5,
    "sliding_window": 3,
    "max_position_embeddings": 24,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


class TestGemma3(ParityTests):
    family = "Gemma3"
    configs = {
        "plain": Gemma3TextConfig(
            **TINY, layer_types=["sliding_attention", "full_attention"], final_logit_softcapping=0.7
        ),
        "every option": Gemma3TextConfig(
            **TINY | {"hidden_size": 15, "num_attention_heads": 3, "num_key_value_heads": 1},
            attention_bias=True,
            layer_types=["full_attention", "sliding_attention"],
            hidden_activation="silu",
            rms_norm_eps=1e-3,
            tie_word_embeddings=False,
            attention_dropout=0.1,
            num_labels=2,
            rope_parameters={
                "full_attention": {"rope_type": "linear", "rope_theta": 50.0, "factor": 2.5},
                "sliding_attention": {"rope_type": "default", "rope_theta": 9.0},
            },
        ),
        "one layer, no sharing": Gemma3TextConfig(
            **TINY | {"num_hidden_layers": 1, "num_key_value_heads": 4}, num_labels=3
        ),
        "both ways": Gemma3TextConfig(
            **TINY | {"sliding_window": 5},
            use_bidirectional_attention=True,
            layer_types=["sliding_attention", "full_attention"],
        ),
        "regression": Gemma3TextConfig(**TINY, num_labels=1),
    }

    def continues_text(self, head, config):
        return super().continues_text(head, config) and not config.use_bidirectional_attention
