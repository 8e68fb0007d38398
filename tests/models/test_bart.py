"""BART equals PyTorch's: every head, with every option of its configuration."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
import transformers
from parity import ParityTests, randomize, to_torch
from random_decoders import config_of
from safetensors.numpy import load_file, save_file
from transformers import BartConfig

import tfhf

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


class TestBart(ParityTests):
    family = "Bart"
    configs = {
        "plain": BartConfig(**TINY),
        "every option": BartConfig(
            **TINY | {"activation_function": "relu", "encoder_layers": 1, "decoder_layers": 3},
            scale_embedding=True,
            activation_dropout=0.1,
            attention_dropout=0.1,
            classifier_dropout=0.2,
            tie_word_embeddings=False,
            decoder_start_token_id=5,
            pad_token_id=4,
        ),
        "one layer, one head": BartConfig(
            **TINY
            | {"encoder_layers": 1, "decoder_layers": 1, "d_model": 10}
            | {"encoder_attention_heads": 1, "decoder_attention_heads": 1}
        ),
        "regression": BartConfig(**TINY, num_labels=1),
    }


def model(head="ForConditionalGeneration", **changes):
    return getattr(tfhf, f"TFBart{head}")(BartConfig(**TINY | changes))


IDS = np.array([[5, 6, 7, 2], [8, 9, 2, 1]])


def test_two_labels_are_still_two_in_the_file(tmp_path):
    """Transformers 5.23 writes none of them then, and reads three."""
    model("ForSequenceClassification", num_labels=2).save_pretrained(tmp_path)
    assert BartConfig.from_pretrained(tmp_path).num_labels == 2
    again = tfhf.TFBartForSequenceClassification.from_pretrained(tmp_path)
    assert again(IDS).logits.shape == (2, 2)


def test_a_file_without_the_fixed_bias(tmp_path):
    ours = model()
    ours.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    assert tensors.pop("final_logits_bias").shape == (1, 29)
    save_file(tensors, tmp_path / "model.safetensors")
    again, info = type(ours).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    np.testing.assert_array_equal(again.lm_head.bias, np.zeros(29))
    np.testing.assert_array_equal(again(IDS).logits, ours(IDS).logits)


def test_the_fixed_bias_is_not_trained():
    ours = model()
    ours.lm_head.bias.assign(np.arange(29.0))
    ours.compile("sgd")
    ours.fit({"input_ids": IDS, "labels": IDS}, verbose=0)
    np.testing.assert_array_equal(ours.lm_head.bias, np.arange(29.0))
    assert len(ours.trainable_weights) == len(ours.weights) - 1


@pytest.mark.parametrize("stack", ["encoder", "decoder"])
@pytest.mark.parametrize("drop", [0.0, 0.5, 1.0])
def test_layers_are_left_out_in_training(stack, drop):
    ours = model(**{f"{stack}_layerdrop": drop, "dropout": 0.0, f"{stack}_layers": 3})
    skipped = {True: [], False: []}
    for training, seen in skipped.items():
        for _ in range(12 if drop == 0.5 else 2):
            states = ours(IDS, output_hidden_states=True, training=training)
            states = [state.numpy() for state in states[f"{stack}_hidden_states"]]
            seen.append([np.array_equal(a, b) for a, b in itertools.pairwise(states)])
    assert not np.any(skipped[False])
    shares = np.mean(skipped[True], axis=0)
    np.testing.assert_allclose(shares, [drop] * 3, atol=0.45 * (drop == 0.5))
    if drop == 0.5:  # each by itself
        assert len({tuple(row) for row in skipped[True]}) > 2


def test_training_with_layers_left_out():
    ours = model(encoder_layerdrop=0.5, decoder_layerdrop=0.5)
    ours.compile("sgd")
    losses = ours.fit({"input_ids": IDS, "labels": IDS}, epochs=3, verbose=0).history["loss"]
    assert np.all(np.isfinite(losses))


@pytest.mark.oracle
@pytest.mark.parametrize("infinite", [False, True])
@pytest.mark.parametrize("family", ["Bart", "LED", "Marian", "MBart", "Pegasus"])
def test_states_that_float16_cannot_hold(family, infinite, tmp_path):
    """The encoder's are cut: near the limit in mBART and Pegasus, beside an infinity in others."""
    import torch

    head = "MTModel" if family == "Marian" else "ForConditionalGeneration"
    theirs = getattr(transformers, f"{family}{head}")(config_of(f"TF{family}{head}")).eval()
    randomize(theirs, 0)
    layer = theirs.get_encoder().layers[0]
    last = layer.fc2 if family in ("MBart", "Pegasus") else layer.final_layer_norm
    last.bias.data[0] = 65200
    if infinite:
        last.weight.data[1] = 60000
        last.bias.data[1] = 60000
    theirs.save_pretrained(tmp_path)
    theirs = type(theirs).from_pretrained(tmp_path, dtype=torch.float16)
    ours = getattr(tfhf, f"TF{family}{head}").from_pretrained(tmp_path, dtype="float16")
    inputs = {"input_ids": IDS, "decoder_input_ids": IDS}
    with torch.no_grad():
        expected = theirs(**to_torch(inputs), output_hidden_states=True).encoder_hidden_states[1]
    got = ours(inputs, output_hidden_states=True).encoder_hidden_states[1]
    # Two of float16's last bits, of numbers up to 4; the weight of unit 1 makes 60 of one.
    rounding = 0.004
    np.testing.assert_array_equal(got[..., 0], expected[..., 0])
    atol = 128 if infinite else rounding
    np.testing.assert_allclose(got[..., 1], expected[..., 1], rtol=0, atol=atol)
    np.testing.assert_allclose(got[..., 2:], expected[..., 2:], rtol=0, atol=rounding)
    largest = np.max(got, axis=(0, 1))[0]
    is_cut = infinite or family in ("MBart", "Pegasus")
    assert largest == 64512 if is_cut else 64512 < largest < np.inf


def test_labels_are_shifted_to_make_what_the_decoder_reads():
    ours = model()
    labels = np.array([[5, 6, 2, -100], [7, 2, -100, -100]])
    shifted = ours.prepare_decoder_input_ids_from_labels(labels)
    np.testing.assert_array_equal(shifted, [[2, 5, 6, 2], [2, 7, 2, 1]])
    made = ours(IDS, labels=labels)
    given = ours(IDS, labels=labels, decoder_input_ids=shifted)
    np.testing.assert_array_equal(made.loss, given.loss)
    assert "past_key_values" not in made and "past_key_values" in ours(IDS)
    with pytest.raises(ValueError, match="config.decoder_start_token_id must be set"):
        model(decoder_start_token_id=None).prepare_decoder_input_ids_from_labels(labels)


@pytest.mark.parametrize("kind", [tuple, list, tf.constant, "output"])
def test_what_the_encoder_said_may_be_given(kind):
    ours = model()
    expected = ours(IDS, output_hidden_states=True)
    states = expected.encoder_last_hidden_state
    given = {
        tuple: (states, expected.encoder_hidden_states),
        list: [states],
        tf.constant: states,
        "output": tfhf.outputs.TFBaseModelOutput(states),
    }[kind]
    got = ours(encoder_outputs=given, decoder_input_ids=ours.shift_tokens_right(tf.constant(IDS)))
    np.testing.assert_allclose(got.logits, expected.logits, rtol=0, atol=1e-6)
    assert ("encoder_hidden_states" in got) == (kind is tuple)


def test_heads_are_silenced_one_by_one():
    ours = model()
    targets = ours.shift_tokens_right(tf.constant(IDS))
    plain = ours(IDS, decoder_input_ids=targets, output_attentions=True)
    masks = {
        "head_mask": ("encoder_attentions", np.array([[1, 0, 1], [1, 1, 1]])),
        "decoder_head_mask": ("decoder_attentions", np.array([[1, 1], [0, 1]])),
        "cross_attn_head_mask": ("cross_attentions", np.array([[0, 1], [1, 1]])),
    }
    for name, (attentions, mask) in masks.items():
        got = ours(IDS, decoder_input_ids=targets, output_attentions=True, **{name: mask})
        assert np.abs(got.logits - plain.logits).max() > 1e-6
        for weights, row in zip(got[attentions], mask):
            seen = np.any(weights.numpy() != 0, axis=(0, 2, 3))
            np.testing.assert_array_equal(seen, row == 1)


@pytest.mark.parametrize(
    ("inputs", "fault"),
    [
        ({}, "needs decoder_input_ids or decoder_inputs_embeds"),
        ({"decoder_input_ids": IDS}, "exactly one of input_ids and inputs_embeds, not neither"),
        (
            {
                "input_ids": IDS,
                "decoder_input_ids": IDS,
                "decoder_inputs_embeds": np.ones((2, 4, 12)),
            },
            "exactly one of decoder_input_ids and decoder_inputs_embeds, not both",
        ),
        ({"input_ids": np.ones((1, 13), int)}, "input_ids has 13 positions"),
        (
            {"input_ids": IDS, "decoder_input_ids": np.ones((2, 13), int)},
            "decoder_input_ids has 13",
        ),
        ({"encoder_outputs": np.ones((2, 4)), "decoder_input_ids": IDS}, "encoder_outputs must be"),
    ],
)
def test_input_that_cannot_be_right(inputs, fault):
    with pytest.raises(ValueError, match=fault):
        model()(**inputs)


def test_ids_that_cannot_be_right():
    with pytest.raises(tf.errors.InvalidArgumentError, match="decoder_input_ids must be 0 to 28"):
        model()(IDS, decoder_input_ids=np.array([[29], [0]]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="eos_token_id = 2 in each row"):
        model("ForSequenceClassification")(np.array([[5, 2], [5, 6]]))
    with pytest.raises(ValueError, match="needs input_ids, to find where they end"):
        vectors = np.ones((1, 2, 12), np.float32)
        model("ForSequenceClassification")(inputs_embeds=vectors, decoder_inputs_embeds=vectors)
