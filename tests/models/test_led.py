"""LED equals PyTorch's: windows that differ by layer, global tokens, lengths to be filled."""

import numpy as np
import pytest
import tensorflow as tf
from parity import ParityTests
from random_decoders import in_torch, randomize, to_torch
from transformers import LEDConfig

import tfhf

TINY = {
    "vocab_size": 29,
    "max_encoder_position_embeddings": 16,
    "max_decoder_position_embeddings": 11,
    "attention_window": 4,
    "d_model": 12,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 3,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 17,
    "decoder_ffn_dim": 15,
}


class TestLED(ParityTests):
    family = "LED"
    configs = {
        "plain": LEDConfig(**TINY),
        "every option": LEDConfig(
            **TINY
            | {"activation_function": "relu", "decoder_layers": 1, "attention_window": [4, 8]},
            activation_dropout=0.1,
            attention_dropout=0.1,
            tie_word_embeddings=False,
            decoder_start_token_id=5,
            pad_token_id=4,
        ),
        "one layer, one head": LEDConfig(
            **TINY
            | {"encoder_layers": 1, "decoder_layers": 1, "d_model": 9, "attention_window": 10}
            | {"encoder_attention_heads": 1, "decoder_attention_heads": 1}
        ),
    }

    def inputs(self, head, config, ours, seed=0):
        """Global tokens at random: none, some, all, in padding too."""
        cases = super().inputs(head, config, ours, seed)
        ids = cases["right padding"]["input_ids"]
        marked = np.random.default_rng(seed + 1).integers(0, 2, ids.shape)
        for name in ("right padding", "left padding", "vectors"):
            cases[f"{name}, global"] = cases[name] | {"global_attention_mask": marked}
        cases["every input"]["global_attention_mask"] = np.where(
            cases["every input"]["attention_mask"], marked, -1
        )
        for name, value in {"all": 1, "none": 0}.items():
            given = {"global_attention_mask": np.full_like(ids, value)}
            cases[f"{name} global"] = cases["no mask"] | given
        return cases


@pytest.mark.oracle
@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_global_tokens_in_generate(jit_compile):
    ours = tfhf.TFLEDForConditionalGeneration(LEDConfig(**TINY))
    randomize(ours, 3)
    theirs = in_torch(ours)
    ids = np.random.default_rng(0).integers(3, 29, (3, 7))
    mask = (np.arange(7) < [[7], [5], [2]]).astype(np.int64)
    inputs = {"input_ids": ids, "attention_mask": mask}
    options = {
        "num_beams": 3,
        "max_new_tokens": 6,
        "return_dict_in_generate": True,
        "output_scores": True,
    }
    found = []
    for marked in (np.zeros_like(mask), np.array([[1, 0, 0, 0, 1, 0, 0]] * 3)):
        inputs["global_attention_mask"] = marked
        expected = theirs.generate(**to_torch(inputs), **options)
        got = ours.generate(**inputs, **options, jit_compile=jit_compile)
        np.testing.assert_array_equal(got.sequences, expected.sequences)
        scores = expected.sequences_scores
        np.testing.assert_allclose(got.sequences_scores, scores, rtol=0, atol=1e-5)
        found.append(scores.numpy())
    assert np.abs(found[0] - found[1]).min() > 1e-3


def test_unknown_length():
    model = tfhf.TFLEDModel(LEDConfig(**TINY))
    ids = np.random.default_rng(0).integers(6, 29, (2, 13))
    spec = tf.TensorSpec([None, None], tf.int64)
    target = ids[:, :5]
    compiled = tf.function(
        lambda ids: model(ids, decoder_input_ids=target)[0], input_signature=[spec]
    )
    expected = model(ids, decoder_input_ids=target)[0]
    np.testing.assert_allclose(compiled(tf.constant(ids)), expected, rtol=0, atol=1e-6)


def test_limits_of_source_and_target():
    model = tfhf.TFLEDModel(LEDConfig(**TINY))
    ids = np.full((1, 17), 5)
    assert model(ids[:, :16], decoder_input_ids=ids[:, :11])[0].shape == (1, 11, 12)
    with pytest.raises(Exception, match="input_ids"):
        model(ids, decoder_input_ids=ids[:, :11])
    with pytest.raises(Exception, match="decoder_input_ids"):
        model(ids[:, :16], decoder_input_ids=ids[:, :12])
