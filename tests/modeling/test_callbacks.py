"""Keras's callbacks."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfhf


class Stop(Exception):
    """Somebody pulled the plug."""


class PullThePlug(keras.callbacks.Callback):
    def __init__(self, batch):
        super().__init__()
        self.batches_left = batch

    def on_train_batch_begin(self, batch, logs=None):
        if not self.batches_left:
            raise Stop
        self.batches_left -= 1


def assert_same_weights(a, b):
    for first, second in zip(a, b, strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.fixture
def data(sentences, labels):
    """Three batches, in the same order in every epoch."""
    return tf.data.Dataset.from_tensor_slices((sentences, labels)).batch(4)


class TestModelCheckpoint:
    def test_whole_model(self, make_classifier, data, sentences, tmp_path):
        model = make_classifier()
        model.compile("adam", metrics=["accuracy"])
        path = tmp_path / "epoch-{epoch}.keras"
        states = []
        model.fit(
            data,
            epochs=2,
            verbose=0,
            callbacks=[
                keras.callbacks.ModelCheckpoint(path),
                keras.callbacks.LambdaCallback(
                    on_epoch_end=lambda epoch, logs: states.append(model.get_weights())
                ),
            ],
        )
        for epoch, weights in enumerate(states, start=1):
            again = keras.saving.load_model(tmp_path / f"epoch-{epoch}.keras")
            assert type(again) is tfhf.TFBertForSequenceClassification
            assert_same_weights(again.get_weights(), weights)
        np.testing.assert_array_equal(again(sentences).logits, model(sentences).logits)

    def test_best_weights(self, make_classifier, data, tmp_path):
        """A learning rate that is far too large makes the first epoch the best."""
        path = tmp_path / "best.weights.h5"
        states = []
        model = make_classifier()
        model.compile(keras.optimizers.SGD(0.0))
        model.fit(
            data,
            epochs=2,
            verbose=0,
            validation_data=data,
            callbacks=[
                keras.callbacks.LearningRateScheduler(lambda epoch: [0.01, 9.0][epoch]),
                keras.callbacks.ModelCheckpoint(
                    path, "val_loss", save_best_only=True, save_weights_only=True
                ),
                keras.callbacks.LambdaCallback(
                    on_epoch_end=lambda epoch, logs: states.append(model.get_weights())
                ),
            ],
        )
        assert any(np.abs(a - b).max() > 0 for a, b in zip(*states))
        other = make_classifier()
        other.load_weights(path)
        assert_same_weights(other.get_weights(), states[0])


class TestBackupAndRestore:
    def test_resumed_run_equals_an_uninterrupted_one(self, make_classifier, data, tmp_path):
        def run(*callbacks):
            model = make_classifier()
            model.compile(keras.optimizers.Adam(0.01), metrics=["accuracy"])
            history = model.fit(data, epochs=3, verbose=0, callbacks=list(callbacks)).history
            return history["loss"], model.get_weights()

        losses, weights = run()
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        with pytest.raises(Stop):
            run(backup, PullThePlug(batch=5))  # in the middle of the second epoch
        resumed_losses, resumed = run(keras.callbacks.BackupAndRestore(tmp_path / "backup"))
        assert resumed_losses == losses[1:]
        assert_same_weights(resumed, weights)


def test_early_stopping_restores_the_best(make_classifier, data):
    model = make_classifier()
    model.compile(keras.optimizers.SGD(20.0))
    before = model.evaluate(data, verbose=0)
    stopping = keras.callbacks.EarlyStopping("loss", patience=1, restore_best_weights=True)
    history = model.fit(data, epochs=9, verbose=0, callbacks=[stopping]).history["loss"]
    assert len(history) == np.argmin(history) + 2 < 9
    assert model.evaluate(data, verbose=0) != before


def test_tensorboard(make_classifier, data, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    model = make_classifier()
    model.compile("sgd", metrics=["accuracy"])
    board = keras.callbacks.TensorBoard(tmp_path, write_graph=False, update_freq=1)
    history = model.fit(data, epochs=2, validation_data=data, verbose=0, callbacks=[board]).history

    def scalars(run, tag):
        events = EventAccumulator(str(tmp_path / run), size_guidance={"tensors": 0}).Reload()
        return [tf.make_ndarray(event.tensor_proto).item() for event in events.Tensors(tag)]

    for name in ("loss", "accuracy"):
        np.testing.assert_allclose(scalars("train", f"epoch_{name}"), history[name])
        np.testing.assert_allclose(scalars("validation", f"epoch_{name}"), history[f"val_{name}"])
    assert len(scalars("train", "batch_loss")) == 6
