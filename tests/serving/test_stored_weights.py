"""Exports whose weights are stored in fewer bits."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from transformers import BertConfig, GPT2Config, T5Config

import tfhf
from tfhf.serving.stored_weights import StoredWeight

TEXTS = ["a moving film", "bad!", "", "é 電 zz"]
#: Of the float32 weights: how large the stored ones may be, and how far apart scores.
BOUNDS = {"bfloat16": (0.52, 0.01), "int8": (0.28, 0.02)}


@pytest.fixture(scope="module")
def classifier():
    config = BertConfig(
        vocab_size=2000,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=256,
        max_position_embeddings=64,
        initializer_range=0.1,
        num_labels=3,
    )
    return tfhf.TFBertForSequenceClassification(config)


def scores_of(answer):
    return {"surest": float(answer(text=TEXTS)["scores"].max())}


def size_of(version):
    return sum(file.stat().st_size for file in Path(version, "variables").iterdir())


def card_of(version):
    return Path(version, "README.md").read_text()


@pytest.mark.parametrize("storage", BOUNDS)
def test_fewer_bytes_and_nearly_the_same_scores(tmp_path, classifier, tokenizer, storage):
    whole = classifier.export(tmp_path, tokenizer, evaluate=scores_of)
    before = [variable.numpy() for variable in classifier.variables]
    small = classifier.export(tmp_path, tokenizer, weights=storage, evaluate=scores_of)
    for variable, value in zip(classifier.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)  # measuring rounds them for a while
    share, bound = BOUNDS[storage]
    assert size_of(small) < share * size_of(whole)

    exact, rounded = (
        tf.saved_model.load(version).signatures["serving_default"](text=tf.constant(TEXTS))
        for version in (whole, small)
    )
    difference = np.abs(rounded["scores"] - exact["scores"]).max()
    assert 0 < difference < bound
    surest = [f"{outputs['scores'].numpy().max():.4g}" for outputs in (rounded, exact)]
    assert f"| surest | {surest[0]}; {surest[1]} with float32 weights |" in card_of(small)
    assert f"| surest | {surest[1]} |" in card_of(whole)
    assert f" MB, {storage} |" in card_of(small)
    assert " MB, float32 |" in card_of(whole)


def test_int8_is_as_near_as_it_can_be():
    """Half a step at most, of which each channel has its own."""
    rng = np.random.default_rng(0)
    value = (rng.normal(size=(3, 5, 7)) * [1e-4, 1, 9, 0, 1e5, 2, 3]).astype(np.float32)
    found = StoredWeight(tf.constant(value), "int8").expanded().numpy()
    step = np.abs(value).max(axis=(0, 1)) / 127
    assert np.all(np.abs(found - value) <= 0.5001 * step)
    by_row = StoredWeight(tf.constant(value), "int8", channel_axis=0)
    assert by_row.parts[1].shape == (3, 1, 1)


def test_what_it_costs_was_not_measured(tmp_path, classifier, tokenizer):
    version = classifier.export(tmp_path, tokenizer, weights="int8", figures={"epochs": 3})
    assert "| cost of the small weights | not measured |" in card_of(version)
    assert "| epochs | 3 |" in card_of(version)


def test_there_is_no_such_storage(tmp_path, classifier):
    with pytest.raises(ValueError, match="weights must be 'bfloat16' or 'int8', but is 'int4'"):
        classifier.export(tmp_path, weights="int4")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("storage", BOUNDS)
def test_without_python(tmp_path, program, classifier, tokenizer, storage):
    version = classifier.export(tmp_path, tokenizer, weights=storage)
    found = program.predict(version, {"text": np.array(TEXTS, object)})
    served = tf.saved_model.load(version).signatures["serving_default"]
    expected = served(text=tf.constant(TEXTS))
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-6)
    assert found["label"].tolist() == expected["label"].numpy().tolist()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("class_name", "config"),
    [
        ("TFGPT2LMHeadModel", GPT2Config(vocab_size=9000, n_embd=64, n_layer=2, n_head=2)),
        (
            "TFT5ForConditionalGeneration",
            T5Config(vocab_size=9000, d_model=64, d_ff=128, num_heads=2, decoder_start_token_id=0),
        ),
    ],
)
def test_tied_weights_are_there_once(tmp_path, class_name, config):
    """And nothing of an optimizer is."""
    model = getattr(tfhf, class_name)(config)
    model.compile("adam")
    model.optimizer.build(model.trainable_variables)
    model.generation_config.max_new_tokens = 3
    version = model.export(tmp_path)
    weights = sum(weight.numpy().nbytes for weight in model.weights)
    assert weights <= size_of(version) < 1.05 * weights
    stored = [shape for _, shape in tf.train.list_variables(f"{version}/variables/variables")]
    expected = [list(weight.shape) for weight in model.variables]
    assert sorted(stored) == sorted([[], *expected])  # one says what is where
    assert stored.count([9000, 64]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("storage", BOUNDS)
def test_a_model_that_writes(tmp_path, program, storage):
    """Its weights are read inside a loop, and one of them in two places."""
    config = GPT2Config(
        vocab_size=97, n_embd=32, n_layer=2, n_head=2, n_positions=32, initializer_range=0.3
    )
    config.bos_token_id = config.eos_token_id = config.pad_token_id = 0
    model = tfhf.TFGPT2LMHeadModel(config)
    model.generation_config.max_new_tokens = 9
    version = model.export(tmp_path, weights=storage)
    inputs = {"input_ids": np.array([[5, 6, 7], [9, 9, 1]], np.int32)}
    inputs["attention_mask"] = np.ones_like(inputs["input_ids"])
    found = program.predict(version, inputs, "generate")["sequences"]
    for variable in model.variables:
        if len(variable.shape) > 1 or storage == "bfloat16":
            axis = 0 if variable.name == "embeddings" else -1
            variable.assign(StoredWeight(variable.value, storage, axis).expanded())
    np.testing.assert_array_equal(found, model.generate(**inputs))
