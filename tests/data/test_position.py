"""DataPosition: any epoch from any batch on, the same whatever came before."""

import datasets
import numpy as np
import pytest

import tfhf


class Model:
    input_names, label_outputs = ("input_ids", "attention_mask"), {"labels": "logits"}


ROWS = datasets.Dataset.from_dict(
    {"input_ids": [[i] * (1 + i % 5) for i in range(23)], "labels": list(range(23))}
)


def pad(features):
    width = max(len(row["input_ids"]) for row in features)
    noise = np.random.random((len(features), width))
    return {"input_ids": noise, "labels": np.array([row["labels"] for row in features])}


def make(position, **kwargs):
    options = {"collate_fn": pad, "drop_remainder": False} | kwargs
    return tfhf.prepare_tf_dataset(Model(), ROWS, 4, position=position, **options)


def read(data):
    return [(x.numpy().tolist(), y.numpy().tolist()) for x, y in data]


@pytest.mark.parametrize("options", [{}, {"group_by_length": False}, {"shuffle": False}])
def test_an_epoch_goes_on_with_the_very_batches(options):
    position = tfhf.DataPosition(seed=3)
    data = make(position, **options)
    assert (position.batches, len(data)) == (6, 6)
    epochs = []
    for epoch in range(3):
        position.move(epoch)
        epochs.append(read(data))
        assert sorted(i for _, labels in epochs[-1] for i in labels) == list(range(23))
    fresh = tfhf.DataPosition(seed=3)
    again = make(fresh, **options)
    np.random.seed(99)  # what the collator draws is the batch's own, too
    for epoch, batch in ((2, 4), (0, 0), (1, 5)):
        fresh.move(epoch, batch)
        numbers = iter(again)
        rest = [next(numbers) for _ in range(6 - batch)]
        assert read(rest) == epochs[epoch][batch:]


def test_epochs_and_seeds_differ():
    orders = []
    for seed, epoch in ((3, 0), (3, 1), (4, 0)):
        position = tfhf.DataPosition(seed)
        data = make(position)
        position.move(epoch)
        orders.append([labels for _, labels in read(data)])
    assert orders[0] != orders[1]
    assert orders[0] != orders[2]
    assert orders[1] != orders[2]


def test_the_last_rows_may_be_left_out():
    position = tfhf.DataPosition(seed=3)
    assert len(make(position, drop_remainder=True)) == position.batches == 5
