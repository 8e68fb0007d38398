"""TFRecord files: what was written comes back, whole, once per epoch, padded as the schema says."""

import json

import datasets
import numpy as np
import pytest
import tensorflow as tf

import tfhf


def random_rows(count=23, seed=0):
    random = np.random.default_rng(seed)
    lengths = random.integers(0, 7, count)
    lengths[3] = 0
    return {
        "input_ids": [random.integers(-5, 2**40, n).tolist() for n in lengths],
        "scores": [np.float32(random.standard_normal(n)).tolist() for n in lengths],
        "labels": [random.integers(0, 9, n).tolist() for n in lengths],
        "row": list(range(count)),
        "weight": np.float32(random.standard_normal(count)).tolist(),
        "right": [bool(n % 2) for n in lengths],
        "text": [f"text {n}" for n in lengths],
    }


def padded(rows, length, fill):
    return [row + [fill] * (length - len(row)) for row in rows]


@pytest.fixture
def written(tmp_path):
    rows = random_rows()
    return rows, tmp_path, tfhf.write_tfrecords(rows, tmp_path, rows_per_file=5)


def test_it_comes_back(written):
    rows, folder, schema = written
    assert schema["rows"] == 23 and len(schema["files"]) == 5
    assert json.loads((folder / "dataset.json").read_text()) == schema
    batches = list(tfhf.read_tfrecords(folder, 4))
    assert [len(batch["row"]) for batch in batches] == [4, 4, 4, 4, 4, 3]
    found = {name: np.concatenate([b[name] for b in batches]) for name in batches[0]}
    assert "text" not in found
    longest = max(map(len, rows["input_ids"]))
    assert found["input_ids"].tolist() == padded(rows["input_ids"], longest, 0)
    assert found["labels"].tolist() == padded(rows["labels"], longest, -100)
    assert found["scores"].tolist() == padded(rows["scores"], longest, 0.0)
    for name in ("row", "weight", "right"):
        assert found[name].tolist() == rows[name]
    assert (found["input_ids"].dtype, found["scores"].dtype) == (np.int64, np.float32)


def test_shapes_are_static(written):
    data = tfhf.read_tfrecords(written[1], 4, max_length=9, drop_remainder=True)
    assert data.element_spec["input_ids"].shape == (4, 9)
    assert data.element_spec["row"].shape == (4,)
    assert len(data) == len(list(data)) == 5


@pytest.mark.parametrize("buffer", [1, 3, 100])
def test_shuffled_epochs_hold_every_row_once_in_new_orders(written, buffer):
    data = tfhf.read_tfrecords(written[1], 4, shuffle=True, shuffle_buffer=buffer, seed=1)
    epochs = [[row for batch in data for row in batch["row"].numpy()] for _ in range(3)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(23))
    assert len(set(map(tuple, epochs))) == 3
    again = tfhf.read_tfrecords(written[1], 4, shuffle=True, shuffle_buffer=buffer, seed=1)
    assert [row for batch in again for row in batch["row"].numpy()] == epochs[0]


def test_training_can_go_on_from_a_position(written):
    position = tfhf.DataPosition(seed=2)
    data = tfhf.read_tfrecords(written[1], 4, shuffle=True, shuffle_buffer=7, position=position)

    def rows(batches):
        return [row for batch in batches for row in batch["row"].numpy().tolist()]

    first = rows(data)
    position.move(epoch=1)
    second = rows(data)
    assert position.batches == 6 and first != second and sorted(second) == list(range(23))
    position.move(epoch=1, batch=2)
    assert rows(data.take(4)) == second[8:]


def test_padding_is_the_tokenizers(tokenizer, tmp_path):
    tokenizer.padding_side = "left"
    tokenizer.pad_token_id = 3
    rows = [tokenizer(text) for text in ("the quick brown fox", "a dog", "jumps")]
    expected = tokenizer.pad(rows, padding="max_length", max_length=8, return_tensors="np")
    tfhf.write_tfrecords(datasets.Dataset.from_list(rows), tmp_path, tokenizer=tokenizer)
    (batch,) = tfhf.read_tfrecords(tmp_path, 3, max_length=8)
    assert sorted(batch) == sorted(expected)
    for name in expected:
        np.testing.assert_array_equal(batch[name], expected[name])


def test_an_interrupted_write_goes_on(tmp_path, monkeypatch):
    rows, begun = random_rows(), []
    real = tf.io.TFRecordWriter

    def failing(path):
        begun.append(path)
        if len(begun) == 3:
            raise OSError("the disk is full")
        return real(path)

    monkeypatch.setattr(tf.io, "TFRecordWriter", failing)
    with pytest.raises(OSError, match="full"):
        tfhf.write_tfrecords(rows, tmp_path, rows_per_file=5)
    with pytest.raises(FileNotFoundError, match="has not finished"):
        tfhf.read_tfrecords(tmp_path)
    schema = tfhf.write_tfrecords(rows, tmp_path, rows_per_file=5)
    assert len(begun) == 3 + 3  # two files were there already
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["dataset.json", *schema["files"]])
    tfhf.write_tfrecords(rows, tmp_path, rows_per_file=5)
    assert len(begun) == 6  # all were


def test_other_rows_replace_those_before(written):
    _, folder, before = written
    rows = random_rows(count=4, seed=1)
    schema = tfhf.write_tfrecords(rows, folder, columns=["row", "labels"])
    assert not set(schema["files"]) & set(before["files"])
    assert sorted(p.name for p in folder.iterdir()) == sorted(["dataset.json", *schema["files"]])
    (batch,) = tfhf.read_tfrecords(folder, 4)
    assert sorted(batch) == ["labels", "row"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: tfhf.write_tfrecords({"a": []}, f), "expected rows"),
        (lambda f: tfhf.write_tfrecords({"a": [1, None]}, f), "'a' has missing values"),
        (lambda f: tfhf.write_tfrecords({"a": ["x"]}, f, columns=["a"]), "columns: 'a'"),
        (lambda f: tfhf.write_tfrecords({"a": [1]}, f, columns=["b"]), "columns: 'b'"),
        (lambda f: tfhf.read_tfrecords(f, 8, drop_remainder=True), "4 rows make no batch of 8"),
        (lambda f: tfhf.read_tfrecords(f, max_length=2), "max_length is 2, but a row is 3 long"),
    ],
)
def test_what_cannot_be(tmp_path, call, message):
    tfhf.write_tfrecords({"ids": [[1], [1, 2, 3], [], [4]]}, tmp_path)
    with pytest.raises(ValueError, match=message):
        call(tmp_path)
