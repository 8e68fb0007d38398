"""Mixed precision: compute in 16 bits; variables, logits and losses in float32."""

import keras
import numpy as np
import pytest

import tfhf

POLICIES = ["mixed_bfloat16", "mixed_float16"]


@pytest.fixture
def global_policy():
    """Set Keras's global policy, and restore it."""
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


def every_layer(model):
    return [*model._flatten_layers(), model]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("way", ["global", "argument"])
def test_policies(make_classifier, sentences, labels, global_policy, policy, way):
    exact = make_classifier()(sentences, labels=labels)
    if way == "global":
        global_policy(policy)
    model = make_classifier(dtype=policy if way == "argument" else None)
    assert {layer.dtype_policy.name for layer in every_layer(model)} == {policy}
    assert {weight.dtype for weight in model.weights} == {"float32"}
    output = model(sentences, labels=labels, output_hidden_states=True)
    assert output.logits.dtype == output.loss.dtype == "float32"
    assert output.hidden_states[1].dtype == model.compute_dtype
    error = np.abs(output.logits - exact.logits).max()
    assert 0 < error < 0.1


@pytest.mark.parametrize("policy", POLICIES)
def test_training(make_classifier, sentences, labels, policy):
    model = make_classifier(dtype=policy)
    model.compile(keras.optimizers.Adam(0.03))  # SGD rests on a plateau, for how long is chance
    scales = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scales == (policy == "mixed_float16")
    history = model.fit(sentences, labels, batch_size=12, epochs=60, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert model.predict(sentences, verbose=0).logits.dtype == np.float32


@pytest.mark.parametrize("policy", ["bfloat16", "float16"])
def test_half_of_everything(make_classifier, sentences, policy):
    model = make_classifier(dtype=policy)
    assert {weight.dtype for weight in model.weights} == {policy}
    exact = make_classifier()(sentences).logits
    logits = model(sentences).logits
    assert logits.dtype == "float32"
    np.testing.assert_allclose(logits, exact, atol=0.1)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("head", ["TFBertForMaskedLM", "TFBertForQuestionAnswering"])
def test_padding_of_whole_rows_gives_no_nan(make_config, sentences, policy, head):
    """The lowest float32 is minus infinity in 16 bits, and a row of those is NaN."""
    model = getattr(tfhf, head)(make_config(num_labels=2), dtype=policy)
    mask = sentences["attention_mask"].copy()
    mask[0] = 0
    for given in (mask, mask[:, None].repeat(7, axis=1)):
        for name, value in model(sentences | {"attention_mask": given}).items():
            assert np.isfinite(value).all(), name


@pytest.mark.parametrize("policy", POLICIES)
def test_vectors_instead_of_ids(make_classifier, sentences, policy):
    model = make_classifier(dtype=policy)
    vectors = model.get_input_embeddings().embeddings.numpy()[sentences["input_ids"]]
    rest = {name: value for name, value in sentences.items() if name != "input_ids"}
    np.testing.assert_allclose(
        model(inputs_embeds=vectors, **rest).logits, model(sentences).logits, atol=1e-6
    )


@pytest.mark.parametrize(
    "policy, loss",
    [("mixed_bfloat16", "own"), ("mixed_float16", "own"), ("mixed_float16", "Keras")],
)
def test_labels_of_a_regression_are_not_rounded(make_classifier, sentences, policy, loss):
    """1001 and 65537 are no 16-bit floats; 65537 overflows float16."""
    model = make_classifier(num_labels=1, dtype=policy)
    model.compile("sgd", loss=None if loss == "own" else "mse", metrics=["mae"])
    targets = np.array([1001, 65537] * 6, np.float32)
    errors = model(sentences).logits.numpy()[:, 0].astype(float) - targets
    expected = np.mean(errors**2)
    if loss == "own":
        np.testing.assert_allclose(model(sentences, labels=targets).loss, expected, rtol=1e-6)
    for arguments in ((sentences | {"labels": targets},), (sentences, targets)):
        results = model.evaluate(*arguments, verbose=0, return_dict=True)
        np.testing.assert_allclose(results["loss"], expected, rtol=1e-6)
        np.testing.assert_allclose(results["mae"], np.mean(np.abs(errors)), rtol=1e-6)
