"""F1Score against scikit-learn."""

import warnings

import keras
import numpy as np
import pytest
from sklearn.metrics import f1_score

from tfhf.metrics import F1Score


def sklearn_f1(labels, decisions, average, weights=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about classes without labels or predictions
        return f1_score(labels, decisions, average=average, sample_weight=weights, zero_division=0)


@pytest.mark.parametrize(
    ("average", "num_labels"),
    [("binary", 2)] + [(a, n) for a in ("macro", "micro", "weighted") for n in (2, 3, 9)],
)
@pytest.mark.parametrize("rows", [1, 3, 200])
@pytest.mark.parametrize("weighted", [False, True])
def test_equals_sklearn(average, num_labels, rows, weighted):
    for _ in range(10):
        metric = F1Score(num_labels, average)
        scores = np.random.randn(rows, num_labels).astype(np.float32)
        # Not every class occurs.
        labels = np.random.randint(0, np.random.randint(num_labels) + 1, rows)
        weights = np.random.rand(rows).astype(np.float32) if weighted else None
        for part in np.array_split(np.arange(rows), 4):  # empty batches too
            metric.update_state(labels[part], scores[part], weights[part] if weighted else None)
        expected = sklearn_f1(labels, scores.argmax(1), average, weights)
        assert float(metric.result()) == pytest.approx(expected, abs=1e-6)


def test_ignored_labels_of_tokens():
    scores = np.random.randn(4, 7, 5).astype(np.float32)
    labels = np.random.randint(0, 5, (4, 7))
    labels[np.random.rand(4, 7) < 0.4] = -100
    metric = F1Score(5, "macro")
    metric.update_state(labels, scores)
    kept = labels != -100
    expected = sklearn_f1(labels[kept], scores.argmax(-1)[kept], "macro")
    assert float(metric.result()) == pytest.approx(expected, abs=1e-6)


def test_nothing_counted_is_zero_and_reset_forgets():
    metric = F1Score()
    assert float(metric.result()) == 0
    metric.update_state([1], [[0.0, 1.0]])
    assert float(metric.result()) == 1
    metric.reset_state()
    assert float(metric.result()) == 0


def test_in_fit_beside_accuracy_and_after_saving(tmp_path):
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=["accuracy", F1Score()])
    x, y = np.random.randn(50, 3), np.random.randint(0, 2, 50)
    history = model.fit(x, y, epochs=2, verbose=0, validation_data=(x, y)).history
    decisions = model.predict(x, verbose=0).argmax(1)
    assert history["val_accuracy"][-1] == pytest.approx((decisions == y).mean())
    assert history["val_f1"][-1] == pytest.approx(sklearn_f1(y, decisions, "binary"), abs=1e-6)
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    assert copy.evaluate(x, y, verbose=0) == pytest.approx(model.evaluate(x, y, verbose=0))


def test_config():
    metric = F1Score(7, "weighted", name="f1_weighted")
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert copy.get_config() == metric.get_config()
    assert (copy.num_labels, copy.average, copy.name) == (7, "weighted", "f1_weighted")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: F1Score(average="mean"), "average .* 'mean'"),
        (lambda: F1Score(3), "num_labels = 2, but it is 3"),
        (lambda: F1Score(3, "macro").update_state([1], [[0.0, 1.0]]), r"y_pred .* \(1, 2\)"),
    ],
)
def test_arguments_that_cannot_be_right(call, message):
    with pytest.raises(ValueError, match=message):
        call()
