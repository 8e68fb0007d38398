"""Gemma 2 against PyTorch: bounded scores, windows, norms after the parts."""

from parity import ParityTests
from transformers import Gemma2Config

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


class TestGemma2(ParityTests):
    family = "Gemma2"
    configs = {
        "plain": Gemma2Config(**TINY, attn_logit_softcapping=0.5, final_logit_softcapping=0.7),
        "every option": Gemma2Config(
            **TINY | {"hidden_size": 15, "num_attention_heads": 3, "num_key_value_heads": 1},
            attention_bias=True,
            attn_logit_softcapping=None,
            final_logit_softcapping=None,
            layer_types=["full_attention", "sliding_attention"],
            hidden_activation="silu",
            rms_norm_eps=1e-3,
            tie_word_embeddings=False,
            attention_dropout=0.1,
            num_labels=2,
            rope_parameters={"rope_type": "linear", "rope_theta": 50.0, "factor": 2.5},
        ),
        "one layer, no sharing": Gemma2Config(
            **TINY | {"num_hidden_layers": 1, "num_key_value_heads": 4}, num_labels=3
        ),
        "regression": Gemma2Config(**TINY, num_labels=1),
    }
