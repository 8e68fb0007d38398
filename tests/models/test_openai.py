"""GPT equals PyTorch's, which cannot keep keys and values: ours can."""

import pytest
from parity import ParityTests
from transformers import OpenAIGPTConfig

import tfhf

TINY = {
    "vocab_size": 29,
    "n_positions": 24,
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 4,
    "pad_token_id": 0,
}


class TestOpenAIGPT(ParityTests):
    family = "OpenAIGPT"
    configs = {
        "plain": OpenAIGPTConfig(**TINY),
        "every option": OpenAIGPTConfig(
            **TINY | {"afn": "silu", "layer_norm_epsilon": 1e-3},
            tie_word_embeddings=False,
            summary_activation="tanh",
            num_labels=3,
        ),
        "one layer": OpenAIGPTConfig(
            **TINY | {"n_layer": 1, "n_head": 1, "n_embd": 9, "afn": "relu"}
        ),
        "regression": OpenAIGPTConfig(**TINY, num_labels=1),
    }

    def inputs(self, head, config, ours, seed=0):
        cases = super().inputs(head, config, ours, seed)
        # There, padding before a text sees the text after it; the cache's tests compare the text.
        del cases["left padding"]
        if head == "DoubleHeadsModel":  # and its masks know no choices
            for case in cases.values():
                case.pop("attention_mask", None)
        return cases


@pytest.mark.parametrize(
    ("option", "value"), [("summary_type", "mean"), ("summary_use_proj", False)]
)
def test_other_scores_of_choices_are_refused(option, value):
    with pytest.raises(ValueError, match=f"config.{option} must be"):
        tfhf.TFOpenAIGPTDoubleHeadsModel(OpenAIGPTConfig(**TINY, **{option: value}))
