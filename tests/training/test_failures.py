"""Failures in plain words, at once: in the callback, and in a plain ``fit``."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from training_data import make_model, make_rows, pad

import tfhf


def fit(model, epochs=1, **kwargs):
    data = model.prepare_tf_dataset(make_rows(), 4, collate_fn=pad, drop_remainder=False)
    return model.fit(data, epochs=epochs, verbose=0, **kwargs)


def feed(losses):
    """Give the callback the running means that Keras would, of batches with these losses."""
    callback = tfhf.StopOnBadLoss()
    callback.on_epoch_begin(0)
    for batch in range(len(losses)):
        callback.on_train_batch_end(batch, {"loss": np.mean(losses[: batch + 1])})


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 5000.0, -5000.0])
def test_a_bad_loss_stops_training(bad):
    with pytest.raises(FloatingPointError, match="after batch 4 of epoch 1"):
        feed([0.7, 0.6, 3.0, bad, 0.5])


def test_a_loss_that_is_bad_from_the_start():
    with pytest.raises(FloatingPointError, match="the loss is nan after batch 1"):
        feed([float("nan")])


@pytest.mark.parametrize("losses", [[0.7] * 5, [5e6, 4e6, 6e6], [1e-9, 0.1, 50.0], [-1.0, -90.0]])
def test_a_loss_that_is_large_but_sane_does_not(losses):
    feed(losses)


def test_a_plain_fit_stops_before_the_weights_are_lost():
    model = make_model()
    model.compile(keras.optimizers.SGD(1.0))
    variable = model.trainable_variables[-1]
    variable.assign([np.nan, 0.0])
    before = [weight.numpy() for weight in model.trainable_variables]
    with pytest.raises(FloatingPointError, match=r"^the loss is -?nan and training"):
        fit(model)
    for weight, value in zip(model.trainable_variables, before):
        np.testing.assert_array_equal(weight, value)


def test_a_plain_fit_tells_of_an_id_that_is_no_token():
    model = make_model(vocab_size=30)
    model.compile(tfhf.AdamWeightDecay(1e-3), run_eagerly=True)
    with pytest.raises(tf.errors.InvalidArgumentError) as raised:
        fit(model)
    assert "input_ids must be 0 to 29 but they reach from" in str(raised.value)


def test_a_plain_fit_looks_at_its_data_first():
    model = make_model()
    model.compile(tfhf.AdamWeightDecay(1e-3))
    data = model.prepare_tf_dataset(make_rows(8), 4, collate_fn=pad)
    unlabelled = data.map(lambda x, y: x)
    with pytest.raises(ValueError, match="x is empty"):
        model.fit(data.take(0))
    with pytest.raises(ValueError, match="x has no labels"):
        model.fit(unlabelled)
    with pytest.raises(ValueError, match=r"validation_data has no labels: .* needs \['labels'\]"):
        model.fit(data, validation_data=unlabelled)
    with pytest.raises(ValueError, match="validation_data is empty"):
        model.fit(data, validation_data=data.take(0))


def test_labels_within_the_features_are_labels():
    model = make_model()
    model.compile(tfhf.AdamWeightDecay(1e-3), run_eagerly=True)
    data = model.prepare_tf_dataset(make_rows(8), 4, collate_fn=pad)
    inside = data.map(lambda x, y: {**x, "labels": y})
    assert model.fit(inside, validation_data=inside, verbose=0).history["val_loss"]


@pytest.mark.parametrize("label", [2, -1])
def test_labels_to_train_on_must_be_classes(label):
    rows = make_rows()
    labels = [label, *rows["labels"][1:]]
    rows = rows.remove_columns("labels").add_column("labels", labels)
    model = make_model()
    with pytest.raises(ValueError, match=f"num_labels = 2.* among them {label}"):
        model.prepare_tf_dataset(rows, 4, collate_fn=pad)
    model.prepare_tf_dataset(rows, 4, collate_fn=pad, shuffle=False)  # to predict
    make_model(num_labels=1).prepare_tf_dataset(rows, 4, collate_fn=pad)  # a regression
