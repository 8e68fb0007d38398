"""Phi-3 against PyTorch: long and short texts, part of each head turned."""

from parity import ParityTests
from transformers import Phi3Config

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


class TestPhi3(ParityTests):
    family = "Phi3"
    configs = {
        "plain": Phi3Config(**TINY),
        "every option": Phi3Config(
            **TINY | {"hidden_size": 24, "num_attention_heads": 3, "num_key_value_heads": 1},
            sliding_window=3,
            hidden_act="gelu",
            rms_norm_eps=1e-3,
            tie_word_embeddings=True,
            attention_dropout=0.1,
            resid_pdrop=0.2,
            num_labels=2,
            partial_rotary_factor=0.5,
            # Long: all but texts of one token. Where a text becomes long, its past is to be read
            # anew: what was kept was turned as for a short one.
            original_max_position_embeddings=3,
            rope_parameters={
                "rope_type": "longrope",
                "rope_theta": 50.0,
                "short_factor": [1.1, 1.2],
                "long_factor": [2.1, 4.2],
            },
        ),
        "one layer, no sharing": Phi3Config(
            **TINY | {"num_hidden_layers": 1, "num_key_value_heads": 4}, num_labels=3
        ),
        "regression": Phi3Config(**TINY, num_labels=1),
    }
