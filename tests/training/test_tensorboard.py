"""What is written for TensorBoard, and the progress line."""

import keras
import numpy as np
import pytest
from sklearn import metrics
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_data import make_model, make_rows, pad

import tfhf
from tfhf.training.progress import _clock
from tfhf.training.tensorboard import LogWriter, confusion_matrix, heat_map, markdown_table


def read(folder):
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    return {tag: events.Tensors(tag) for tag in events.Tags()["tensors"]}


def test_numbers_are_grouped(tmp_path):
    writer = LogWriter(tmp_path)
    writer.write({"loss": 0.5, "eval_f1": np.float32(0.25), "note": "no number"}, step=3)
    writer.write({"loss": 0.25}, step=6)
    events = read(tmp_path)
    assert events.keys() == {"train/loss", "eval/f1"}
    assert [event.step for event in events["train/loss"]] == [3, 6]


class Words:
    def batch_decode(self, rows, skip_special_tokens):
        return [" ".join(f"w{i}" for i in row if i) for row in np.asarray(rows)]


def test_examples(tmp_path):
    model = make_model(num_hidden_layers=2)
    data = model.prepare_tf_dataset(make_rows(5), 4, shuffle=False, collate_fn=pad)
    callback = tfhf.TensorBoardExamples(
        tmp_path, data, Words(), label_names=["low", "high"], examples=3
    )
    callback.set_model(model)
    callback.on_epoch_end(4)
    events = read(tmp_path)
    assert events.keys() == {
        "confusion_matrix",
        "confusion_matrix_counts",
        "examples",
        "attention/layer_0",
        "attention/layer_1",
    }
    text = events["examples"][0].tensor_proto.string_val[0].decode()
    assert len(text.splitlines()) == 2 + 3
    assert " ".join(f"w{i}" for i in make_rows(5)[0]["input_ids"]) in text
    assert {event[0].step for event in events.values()} == {4}


def test_confusion_matrix_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 4, 50), rng.integers(0, 4, 50)
    expected = metrics.confusion_matrix(labels, predictions, labels=range(4))
    np.testing.assert_array_equal(confusion_matrix(labels, predictions, 4), expected)
    labels[::3] = -100
    expected = metrics.confusion_matrix(labels[labels >= 0], predictions[labels >= 0])
    np.testing.assert_array_equal(confusion_matrix(labels, predictions, 4), expected)


def test_a_picture_has_a_cell_for_each_number():
    picture = heat_map(np.array([[0.0, 1.0], [0.5, 2.0]]))
    assert picture.shape == (32, 32, 3)
    assert picture[0, 0].tolist() == [255, 255, 255]
    assert picture[0, 16].tolist() == picture[16, 16].tolist() == [8, 48, 107]
    assert (picture[16:, :16] == picture[16, 0]).all()


def test_a_table_keeps_its_columns():
    assert markdown_table(["a", "b"], [["x|y", 2]]).splitlines()[2] == r"| x\|y | 2 |"


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0:00"), (61.4, "1:01"), (3599.6, "1:00:00"), (90061, "25:01:01")]
)
def test_time_left(seconds, shown):
    assert _clock(seconds) == shown


def test_the_progress_line_says_how_far_training_is(capsys):
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    x, y = np.zeros((6, 2)), np.ones((6, 1))
    model.fit(x, y, batch_size=2, epochs=2, verbose=0, callbacks=[tfhf.ProgressLine()])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[:2] for line in lines] == [
        ["epoch 1/2", "step 3/6"],
        ["epoch 2/2", "step 6/6"],
    ]
    assert lines[-1].endswith("0:00 left")
    assert "loss 0." in lines[-1]
    assert "steps/s" in lines[-1]
