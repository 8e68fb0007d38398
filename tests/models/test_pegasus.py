"""Pegasus equals PyTorch's."""

import pytest
from parity import ParityTests
from transformers import PegasusConfig

# The code is BART's, whose tests are among the fast ones.
pytestmark = pytest.mark.slow

TINY = {
    "vocab_size": 29,
    "max_position_embeddings": 12,
    "d_model": 12,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 3,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 17,
    "decoder_ffn_dim": 15,
}


class TestPegasus(ParityTests):
    family = "Pegasus"
    configs = {
        "plain": PegasusConfig(**TINY),
        "every option": PegasusConfig(
            **TINY | {"activation_function": "relu", "encoder_layers": 1, "decoder_layers": 3},
            scale_embedding=True,
            activation_dropout=0.1,
            attention_dropout=0.1,
            tie_word_embeddings=False,
            pad_token_id=4,
            decoder_start_token_id=5,
        ),
        "one layer, one head": PegasusConfig(
            **TINY
            | {"encoder_layers": 1, "decoder_layers": 1, "d_model": 9}
            | {"encoder_attention_heads": 1, "decoder_attention_heads": 1}
        ),
    }
