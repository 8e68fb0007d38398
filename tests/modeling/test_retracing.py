"""Python runs a model's code when it is traced: seldom, whatever the lengths of the batches."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfhf

LENGTHS = range(2, 32)


@pytest.fixture
def model(make_config):
    """A classifier that counts how often Python runs its code."""

    class Counting(tfhf.TFBertForSequenceClassification):
        calls = 0

        def call(self, *args, **kwargs):
            self.calls += 1
            return super().call(*args, **kwargs)

    model = Counting(make_config(max_position_embeddings=32))
    model.compile(keras.optimizers.SGD(0.01), metrics=["accuracy"])
    return model


def padded_batches(lengths=LENGTHS):
    rng = np.random.default_rng(0)
    for length in lengths:
        ids = rng.integers(1, 20, (3, length))
        yield {"input_ids": ids, "attention_mask": np.ones_like(ids), "labels": ids[:, 0] % 3}


def dataset(lengths=LENGTHS):
    spec = {
        "input_ids": tf.TensorSpec((None, None), tf.int64),
        "attention_mask": tf.TensorSpec((None, None), tf.int64),
        "labels": tf.TensorSpec((None,), tf.int64),
    }
    return tf.data.Dataset.from_generator(lambda: padded_batches(lengths), output_signature=spec)


def test_dataset(model):
    model.fit(dataset(), epochs=2, verbose=0)
    assert model.optimizer.iterations == 60
    assert model.calls <= 2
    model.fit(dataset(), verbose=0)
    assert model.calls <= 2
    model.calls = 0
    model.evaluate(dataset(), verbose=0)
    assert model.calls <= 2
    model.calls = 0
    model.predict(dataset(), verbose=0)
    # The first batch shows predict what it returns.
    assert model.calls <= 3


def test_generator_of_arrays(model):
    model.fit(((batch,) for batch in padded_batches()), verbose=0)
    assert model.optimizer.iterations == 30
    assert model.calls <= 3


def test_datasets_whose_lengths_are_known(model):
    """A new dataset for every length, as a loop over files would make them."""
    for length in LENGTHS:
        batch = next(padded_batches([length]))
        model.fit(tf.data.Dataset.from_tensors(batch), verbose=0)
    assert model.calls <= 3


def test_batches_one_by_one(model):
    for batch in padded_batches():
        model.train_on_batch(batch)
    assert model.calls <= 3


def test_functions(model):
    function = tf.function(model, reduce_retracing=True)
    for batch in padded_batches():
        function(batch)
    assert model.calls <= 3
