"""What a TPU cannot take is refused with the reason; what it can take, XLA compiles.

There is no TPU here. The stand-in is one device, XLA and shapes that never change.
"""

import datasets
import keras
import numpy as np
import pytest
import tensorflow as tf
from transformers import BertConfig

import tfhf
from tfhf.training.strategy import make_strategy
from tfhf.training.tpu import require_tpu_ready

ROWS = {"input_ids": [[5, 6, 7], [8], [9, 9]] * 3, "labels": [0, 1, 1] * 3}


@pytest.fixture(scope="module")
def model():
    model = tfhf.TFBertForSequenceClassification(
        BertConfig(
            vocab_size=10,
            hidden_size=4,
            num_hidden_layers=1,
            num_attention_heads=1,
            intermediate_size=4,
        )
    )
    model.compile("sgd")
    return model


def batches(drop_remainder=True, **columns):
    columns = {"input_ids": np.ones((9, 3), np.int64), "labels": np.zeros(9, np.int64)} | columns
    return tf.data.Dataset.from_tensor_slices(columns).batch(4, drop_remainder)


def test_static_numbers_are_fine(model):
    require_tpu_ready(model, batches(), replicas=4)


def test_tfrecords_are_fine(model, tmp_path):
    tfhf.write_tfrecords(ROWS, tmp_path)
    require_tpu_ready(
        model, tfhf.read_tfrecords(tmp_path, 4, shuffle=True, drop_remainder=True), replicas=2
    )


@pytest.mark.parametrize(
    ("data", "replicas", "message"),
    [
        (lambda: batches(drop_remainder=False), 1, r"\[input_ids\].*\(None, 3\).*drop_remainder"),
        (lambda: batches(text=["a"] * 9), 1, r"dataset\[text\] holds strings"),
        (lambda: batches(), 8, "4 rows, which 8 cores"),
        (
            lambda: batches().map(lambda batch: tf.RaggedTensor.from_tensor(batch["input_ids"])),
            1,
            "dataset is a RaggedTensor",
        ),
        (
            lambda: batches().map(
                lambda batch: {
                    name: tf.ensure_shape(tf.numpy_function(lambda x: x, [t], t.dtype), t.shape)
                    for name, t in batch.items()
                }
            ),
            1,
            "calls Python.*write_tfrecords",
        ),
    ],
)
def test_datasets_that_a_tpu_cannot_take(model, data, replicas, message):
    with pytest.raises(ValueError, match=message):
        require_tpu_ready(model, data(), replicas)


def test_all_reasons_are_told_at_once(model):
    with pytest.raises(ValueError) as error:
        require_tpu_ready(model, batches(drop_remainder=False, text=["a"] * 9))
    assert str(error.value).count("\n- ") == 3


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda x: tf.ensure_shape(tf.numpy_function(abs, [x], x.dtype), x.shape), "calls Python"),
        (lambda x: tf.strings.to_number(tf.strings.as_string(x)), "strings, with StringToNumber"),
    ],
)
def test_models_that_a_tpu_cannot_run(layer, message):
    class Model(keras.Model):
        def call(self, inputs):
            return layer(inputs)

    model = Model()
    model.compile("sgd", "mse", jit_compile=False)
    data = tf.data.Dataset.from_tensor_slices(tf.ones((4, 2))).batch(2, drop_remainder=True)
    with pytest.raises(ValueError, match=message):
        require_tpu_ready(model, data)


def test_jit_compile_is_refused():
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=True)
    data = tf.data.Dataset.from_tensor_slices(tf.ones((4, 2))).batch(2, drop_remainder=True)
    with pytest.raises(ValueError, match="jit_compile"):
        require_tpu_ready(model, data)


def test_fit_begins_with_it(monkeypatch):
    """``TPUStrategy`` is a made-up one here: the strategy of one device by another name."""
    monkeypatch.setattr(tf.distribute, "TPUStrategy", tf.distribute.OneDeviceStrategy)
    with make_strategy("one_device").scope():
        model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse", jit_compile=False)
    data = tf.data.Dataset.from_tensor_slices((tf.ones((5, 2)), tf.ones((5, 1))))
    with pytest.raises(ValueError, match="drop_remainder=True"):
        model.fit(data.batch(2), verbose=0)
    model.fit(data.batch(2, drop_remainder=True), verbose=0)


@pytest.mark.slow
def test_stand_in_of_a_tpu(tmp_path):
    """One device, XLA, bfloat16, static shapes from TFRecords, several steps per execution."""
    rows = datasets.Dataset.from_dict(ROWS)
    rows = rows.map(lambda row: {"attention_mask": [1] * len(row["input_ids"])})
    tfhf.write_tfrecords(rows, tmp_path)
    try:
        strategy = make_strategy("one_device", mixed_precision="mixed_bfloat16")
        data = tfhf.read_tfrecords(tmp_path, 4, max_length=8, shuffle=True, drop_remainder=True)
        with strategy.scope():
            model = tfhf.TFBertForSequenceClassification(
                BertConfig(
                    vocab_size=10,
                    hidden_size=8,
                    num_hidden_layers=1,
                    num_attention_heads=1,
                    intermediate_size=8,
                )
            )
            optimizer = tfhf.AdamWeightDecay(0.01, global_clipnorm=1.0)
            model.compile(optimizer, jit_compile=True, steps_per_execution=2)
        losses = model.fit(data, epochs=12, verbose=0).history["loss"]
    finally:
        keras.config.set_dtype_policy("float32")
    assert losses[-1] < 0.7 * losses[0]
    assert int(optimizer.iterations) == 24
