"""mT5 equals PyTorch's: T5 without a scale before the head."""

import pytest
from parity import ParityTests
from transformers import MT5Config

import tfhf

# The code is T5's, whose tests are among the fast ones.
pytestmark = pytest.mark.slow

TINY = {"vocab_size": 29, "d_model": 12, "d_kv": 5, "d_ff": 17, "num_layers": 2, "num_heads": 3}


class TestMT5(ParityTests):
    family = "MT5"
    configs = {
        "plain": MT5Config(**TINY),
        "every option": MT5Config(
            **TINY | {"num_layers": 1, "num_decoder_layers": 2, "num_heads": 1},
            feed_forward_proj="relu",
            relative_attention_num_buckets=9,
            relative_attention_max_distance=12,
        ),
        "one layer": MT5Config(**TINY | {"num_layers": 1}, feed_forward_proj="gated-silu"),
    }

    def marks(self, test, config_name):
        """Most is T5's, and tested there."""
        return super().marks(test, config_name) if config_name == "plain" else [pytest.mark.slow]


def test_auto_classes():
    config = MT5Config(**TINY | {"num_layers": 1})
    model = tfhf.TFAutoModelForSeq2SeqLM.from_config(config)
    assert isinstance(model, tfhf.TFMT5ForConditionalGeneration)
    encoder = tfhf.TFAutoModelForTextEncoding.from_config(config)
    assert isinstance(encoder, tfhf.TFMT5EncoderModel)
