"""GPT-2 equals PyTorch's: every head, with every option of its configuration."""

import numpy as np
import tensorflow as tf
from parity import ParityTests
from transformers import GPT2Config

import tfhf

TINY = {
    "vocab_size": 29,
    "n_positions": 24,
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 4,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


class TestGPT2(ParityTests):
    family = "GPT2"
    configs = {
        "plain": GPT2Config(**TINY),
        "every option": GPT2Config(
            **TINY
            | {
                "n_inner": 20,
                "activation_function": "gelu",
                "layer_norm_epsilon": 1e-3,
                "scale_attn_by_inverse_layer_idx": True,
                "reorder_and_upcast_attn": True,
                "add_cross_attention": True,
                "num_labels": 2,
                "classifier_dropout": 0.2,
                "tie_word_embeddings": False,
            }
        ),
        "one layer, unscaled": GPT2Config(
            **TINY | {"n_layer": 1, "n_head": 1, "n_embd": 10, "scale_attn_weights": False}
        ),
        "regression": GPT2Config(**TINY | {"num_labels": 1}),
    }


def test_predict_and_export_leave_keys_and_values_out(tmp_path):
    model = tfhf.TFGPT2LMHeadModel(GPT2Config(**TINY))
    ids = np.random.default_rng(0).integers(1, 29, (3, 6)).astype(np.int32)
    logits = model(ids).logits
    assert "past_key_values" in model(ids)
    predicted = model.predict(ids, verbose=0)
    assert list(predicted) == ["logits"]
    np.testing.assert_allclose(predicted.logits, logits, rtol=0, atol=1e-6)
    served = tf.saved_model.load(model.export(tmp_path / "gpt2")).signatures["tokens"]
    outputs = served(input_ids=tf.constant(ids), attention_mask=tf.ones_like(ids))
    assert list(outputs) == ["logits"]
    np.testing.assert_allclose(outputs["logits"], logits, rtol=0, atol=1e-6)


def test_a_batch_needs_to_know_padding():
    model = tfhf.TFGPT2ForSequenceClassification(GPT2Config(**TINY | {"pad_token_id": None}))
    assert model(np.array([[5, 6]])).logits.shape == (1, 2)
    with np.testing.assert_raises_regex(
        tf.errors.InvalidArgumentError, "config.pad_token_id must be set"
    ):
        model(np.array([[5, 6], [7, 8]]))
