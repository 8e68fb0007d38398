"""model.save("x.keras") and load_model."""

import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
from transformers import DistilBertConfig

import tfhf


def save_and_load(model, folder):
    model.save(folder / "model.keras")
    return keras.saving.load_model(folder / "model.keras")


@pytest.mark.parametrize("policy", [None, "mixed_bfloat16", "bfloat16"])
def test_model(make_config, sentences, tmp_path, policy):
    config = make_config(id2label={0: "bad", 1: "mixed", 2: "good"})
    model = tfhf.TFBertForSequenceClassification(config, dtype=policy, name="critic")
    again = save_and_load(model, tmp_path)
    assert type(again) is tfhf.TFBertForSequenceClassification
    assert again.config.to_dict() == config.to_dict()
    assert again.name == "critic"
    assert again.dtype_policy.name == model.dtype_policy.name
    np.testing.assert_array_equal(again(sentences).logits, model(sentences).logits)


@pytest.mark.parametrize("add_pooling_layer", [True, False])
def test_body(make_config, sentences, tmp_path, add_pooling_layer):
    model = tfhf.TFBertModel(make_config(), add_pooling_layer=add_pooling_layer)
    output, again = model(sentences), save_and_load(model, tmp_path)(sentences)
    assert list(output) == list(again)
    for name, value in output.items():
        np.testing.assert_array_equal(value, again[name])


def test_distilbert(sentences, tmp_path):
    config = DistilBertConfig(
        vocab_size=20, dim=8, n_layers=1, n_heads=2, hidden_dim=12, sinusoidal_pos_embds=True
    )
    model = tfhf.TFDistilBertForTokenClassification(config)
    again = save_and_load(model, tmp_path)
    ids = sentences["input_ids"]
    np.testing.assert_array_equal(again(ids).logits, model(ids).logits)
    assert len(again.trainable_weights) == len(model.trainable_weights) == len(model.weights) - 1


@pytest.mark.parametrize(
    "frozen, loss", [("nothing", "own"), ("body", "own"), ("embeddings", "Keras")]
)
def test_training_goes_on_as_if_it_had_not_stopped(
    make_classifier, sentences, labels, tmp_path, frozen, loss
):
    given = {"loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}
    model = make_classifier()
    if frozen == "body":
        model.base_model.trainable = False
    if frozen == "embeddings":
        model.base_model.embeddings.trainable = False
    model.compile(
        keras.optimizers.Adam(0.01), metrics=["accuracy"], **given if loss == "Keras" else {}
    )
    model.fit(sentences, labels, batch_size=6, shuffle=False, verbose=0)
    again = save_and_load(model, tmp_path)
    assert again.optimizer.iterations == 2
    for a, b in zip(model.optimizer.variables, again.optimizer.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(again.trainable_weights) == len(model.trainable_weights)
    histories = [
        one.fit(sentences, labels, batch_size=6, shuffle=False, verbose=0).history
        for one in (model, again)
    ]
    assert histories[0] == histories[1]
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_body_may_be_frozen_and_thawed_after_loading(make_classifier, tmp_path):
    model = make_classifier()
    model.base_model.trainable = False
    again = save_and_load(model, tmp_path)
    assert len(again.trainable_weights) == 2
    again.base_model.trainable = True
    assert len(again.trainable_weights) == len(again.weights)


def test_functional_model(make_config, sentences, tmp_path):
    body = tfhf.TFBertModel(make_config(), add_pooling_layer=False)
    ids = keras.Input((None,), dtype="int32", name="input_ids")
    mask = keras.Input((None,), dtype="int32", name="attention_mask")
    states = body({"input_ids": ids, "attention_mask": mask}).last_hidden_state
    model = keras.Model([ids, mask], keras.layers.Dense(3)(states[:, 0]))
    again = save_and_load(model, tmp_path)
    features = [sentences["input_ids"], sentences["attention_mask"]]
    np.testing.assert_array_equal(again(features), model(features))
    assert any(type(layer) is tfhf.TFBertModel for layer in again.layers)


def test_functional_model_with_a_whole_output(make_config, sentences, tmp_path):
    ids = keras.Input((None,), dtype="int32", name="input_ids")
    model = keras.Model(ids, tfhf.TFBertModel(make_config())(ids, output_hidden_states=True))
    again = save_and_load(model, tmp_path)
    output = again(sentences["input_ids"])
    expected = model(sentences["input_ids"])
    np.testing.assert_array_equal(output["hidden_states"][1], expected["hidden_states"][1])


def test_weights_alone(make_classifier, sentences, tmp_path):
    model = make_classifier()
    model.save_weights(tmp_path / "model.weights.h5")
    other = make_classifier()
    for weight in other.weights:
        weight.assign(weight * 0)
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(other(sentences).logits, model(sentences).logits)


def test_copies(make_classifier, sentences):
    model = make_classifier()
    clone = keras.models.clone_model(model)
    assert clone is not model and clone.config is not model.config
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(clone(sentences).logits, model(sentences).logits)


@pytest.mark.slow
def test_another_process(make_config, sentences, tmp_path):
    """Keras finds the class once ``tfhf`` has loaded it."""
    model = tfhf.TFBertModel(make_config())
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "ids.npy", sentences["input_ids"])
    program = """
        import sys
        import keras, numpy, tfhf
        tfhf.TFBertModel
        model = keras.saving.load_model(sys.argv[1] + "/model.keras")
        ids = numpy.load(sys.argv[1] + "/ids.npy")
        numpy.save(sys.argv[1] + "/states.npy", model(ids).last_hidden_state)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program), tmp_path], check=True)
    states = np.load(tmp_path / "states.npy")
    expected = model(sentences["input_ids"]).last_hidden_state
    np.testing.assert_allclose(states, expected, atol=1e-6)
