"""Collators that stack and pad: the oracle is Transformers' own, with NumPy."""

import numpy as np
import pytest
import tensorflow as tf
import transformers

from tfhf.data.collators import (
    DataCollatorForMultipleChoice,
    DataCollatorForSeq2Seq,
    DataCollatorForTokenClassification,
    DataCollatorWithPadding,
    DefaultDataCollator,
    default_data_collator,
)
from tfhf.tokenization import tensorflow_tokenizer

PADDINGS = [
    {},
    {"pad_to_multiple_of": 8},
    {"padding": "longest", "pad_to_multiple_of": 5},
    {"padding": "max_length", "max_length": 15},
    {"padding": "max_length", "max_length": 15, "pad_to_multiple_of": 8},
    {"padding": "max_length"},
]


def random_rows(random, count=7, shortest=0, longest=13):
    lengths = random.integers(shortest, longest + 1, count)
    lengths[0] = max(lengths[0], 1)  # Transformers looks into the first row only
    return [
        {
            "input_ids": random.integers(5, 25, length).tolist(),
            "token_type_ids": random.integers(0, 2, length).tolist(),
            "special_tokens_mask": random.integers(0, 2, length).tolist(),
            "attention_mask": random.integers(0, 2, length).tolist(),
        }
        for length in lengths
    ]


def with_column(rows, name, values):
    return [{**row, name: value} for row, value in zip(rows, values)]


def converted(rows, kind):
    """The same rows holding lists, arrays or tensors."""
    make = {"lists": list, "arrays": np.array, "tensors": tf.constant}[kind]
    return [
        {name: make(value) if isinstance(value, list) else value for name, value in row.items()}
        for row in rows
    ]


def assert_same(batch, expected):
    assert set(batch) == set(expected)
    for name, array in expected.items():
        assert isinstance(batch[name], tf.Tensor)
        assert batch[name].dtype == (tf.float32 if array.dtype.kind == "f" else tf.int64)
        np.testing.assert_array_equal(batch[name].numpy(), array.astype(batch[name].numpy().dtype))


@pytest.mark.parametrize("options", PADDINGS)
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("kind", ["lists", "arrays"])
def test_with_padding(tokenizer, options, side, kind):
    tokenizer.padding_side = side
    random = np.random.default_rng(1)
    oracle = transformers.DataCollatorWithPadding(tokenizer, return_tensors="np", **options)
    collator = DataCollatorWithPadding(tokenizer, **options)
    for _ in range(5):
        rows = with_column(random_rows(random), "label", random.integers(0, 3, 7))
        expected = oracle(converted(rows, "lists"))
        rows = converted(rows, kind)
        assert_same(collator(rows), expected)
        assert set(rows[0]) == {*expected, "label"} - {"labels"}  # the rows are as before


def test_with_padding_of_tensors_and_of_our_tokenizers(tokenizer):
    rows = random_rows(np.random.default_rng(2), shortest=1)
    expected = transformers.DataCollatorWithPadding(tokenizer, return_tensors="np")(rows)
    assert_same(DataCollatorWithPadding(tokenizer)(converted(rows, "tensors")), expected)
    ours = tensorflow_tokenizer(tokenizer)
    assert_same(DataCollatorWithPadding(ours)(rows), expected)
    texts = ["the quick dog", "a fox jumps over the lazy dog"]
    encoded = [ours(text, return_tensors=None) for text in texts]
    np.testing.assert_array_equal(
        DataCollatorWithPadding(ours)(encoded)["input_ids"],
        ours(texts, padding=True, return_tensors="tf").input_ids,
    )


def test_attention_mask_is_made_where_there_is_none(tokenizer):
    rows = [{"input_ids": [5, 6, 7]}, {"input_ids": [5]}]
    batch = DataCollatorWithPadding(tokenizer)(rows)
    assert batch["attention_mask"].numpy().tolist() == [[1, 1, 1], [1, 0, 0]]
    batch = DataCollatorWithPadding(tokenizer, padding=False)(rows[:1])
    assert batch["attention_mask"].numpy().tolist() == [[1, 1, 1]]
    tokenizer.model_input_names = ["input_ids"]
    assert set(DataCollatorWithPadding(tokenizer)(rows)) == {"input_ids"}


def test_numpy_is_the_same(tokenizer):
    rows = with_column(random_rows(np.random.default_rng(3)), "score", [0.5] * 7)
    tensors = DataCollatorWithPadding(tokenizer)(rows)
    for collator in (
        DataCollatorWithPadding(tokenizer, return_tensors="np"),
        lambda rows: DataCollatorWithPadding(tokenizer)(rows, return_tensors="np"),
    ):
        arrays = collator(rows)
        assert all(isinstance(array, np.ndarray) for array in arrays.values())
        assert_same(tensors, arrays)
    assert arrays["score"].dtype == np.float32 and arrays["input_ids"].dtype == np.int64


def test_global_attention_is_padded_with_minus_one(tokenizer):
    rows = [
        {"input_ids": [5, 6, 7], "global_attention_mask": [1, 0, 0]},
        {"input_ids": [5], "global_attention_mask": [1]},
    ]
    batch = DataCollatorWithPadding(tokenizer)(rows)
    assert batch["global_attention_mask"].numpy().tolist() == [[1, 0, 0], [1, -1, -1]]


def test_tokenizers_with_a_rule_of_their_own_pad_themselves(tokenizer):
    class Own(transformers.BertTokenizer):
        def _pad(self, encoded_inputs, *args, **kwargs):
            padded = super()._pad(encoded_inputs, *args, **kwargs)
            padded["entities"] = padded["input_ids"][::-1]
            return padded

    tokenizer.__class__ = Own
    batch = DataCollatorWithPadding(tokenizer)([{"input_ids": [5, 6]}, {"input_ids": [7]}])
    assert batch["entities"].numpy().tolist() == [[6, 5], [0, 7]]
    batch = DataCollatorForTokenClassification(tokenizer)(
        [{"input_ids": [5, 6], "labels": [1, 2]}, {"input_ids": [7], "labels": [3]}]
    )
    assert batch["labels"].numpy().tolist() == [[1, 2], [3, -100]]


@pytest.mark.parametrize("options", PADDINGS)
@pytest.mark.parametrize("side", ["right", "left"])
def test_token_classification(tokenizer, options, side):
    tokenizer.padding_side = side
    random = np.random.default_rng(4)
    rows = random_rows(random)
    labels = [random.integers(0, 9, len(row["input_ids"])).tolist() for row in rows]
    oracle = transformers.DataCollatorForTokenClassification(
        tokenizer, return_tensors="np", label_pad_token_id=-7, **options
    )
    collator = DataCollatorForTokenClassification(tokenizer, label_pad_token_id=-7, **options)
    for name in ("labels", "label"):
        for kind in ("lists", "arrays"):
            rows_with_labels = converted(with_column(rows, name, labels), kind)
            assert_same(collator(rows_with_labels), oracle(with_column(rows, "labels", labels)))
    assert_same(collator(rows), oracle(rows))


class ShiftingModel:
    """Does what sequence-to-sequence models do with labels, in TensorFlow."""

    def prepare_decoder_input_ids_from_labels(self, labels):
        shifted = tf.pad(labels[:, :-1], [[0, 0], [1, 0]], constant_values=2)
        return tf.where(shifted == -100, tf.zeros_like(shifted), shifted)


class ShiftingOracle:
    def prepare_decoder_input_ids_from_labels(self, labels):
        shifted = np.roll(labels, 1, axis=1)
        shifted[:, 0] = 2
        shifted[shifted == -100] = 0
        return shifted


@pytest.mark.parametrize("options", [*PADDINGS, {"padding": "max_length", "max_length": 21}])
@pytest.mark.parametrize("side", ["right", "left"])
def test_seq2seq(tokenizer, options, side):
    tokenizer.padding_side = side
    random = np.random.default_rng(5)
    rows = random_rows(random)
    labels = [random.integers(0, 9, length).tolist() for length in random.integers(1, 15, 7)]
    rows_with_labels = with_column(rows, "labels", labels)
    oracle = transformers.DataCollatorForSeq2Seq(
        tokenizer, ShiftingOracle(), return_tensors="np", **options
    )
    collator = DataCollatorForSeq2Seq(tokenizer, ShiftingModel(), **options)
    for kind in ("lists", "arrays"):
        expected = oracle(converted(rows_with_labels, kind))
        assert_same(collator(converted(rows_with_labels, kind)), expected)
    del expected["decoder_input_ids"]
    assert_same(DataCollatorForSeq2Seq(tokenizer, **options)(rows_with_labels), expected)
    del expected["labels"]
    assert_same(collator(rows), expected)
    assert_same(collator(with_column(rows, "labels", [None] * 7)), expected)


def test_seq2seq_without_padding(tokenizer):
    rows = [{"input_ids": [5, 6], "labels": [7]}, {"input_ids": [8, 9], "labels": [6]}]
    collator = DataCollatorForSeq2Seq(tokenizer, padding=False)
    assert collator(rows)["labels"].numpy().tolist() == [[7], [6]]
    rows[0]["labels"] = [7, 7]
    with pytest.raises(ValueError, match="'labels' have different lengths"):
        collator(rows)


@pytest.mark.parametrize("options", PADDINGS)
def test_multiple_choice(tokenizer, options):
    random = np.random.default_rng(6)
    choices = [random_rows(random, count=3) for _ in range(4)]
    rows = [{name: [one[name] for one in row] for name in row[0]} for row in choices]
    flat = [one for row in choices for one in row]
    expected = {
        name: array.reshape(4, 3, -1)
        for name, array in tokenizer.pad(
            flat, **{"padding": True, **options}, return_tensors="np"
        ).items()
    }
    collator = DataCollatorForMultipleChoice(tokenizer, **options)
    assert_same(collator(rows), expected)
    expected["labels"] = np.array([0, 2, 1, 1])
    for name in ("label", "labels"):
        assert_same(collator(with_column(rows, name, [0, 2, 1, 1])), expected)


def test_multiple_choice_needs_equal_numbers_of_choices(tokenizer):
    rows = [{"input_ids": [[5], [6]]}, {"input_ids": [[5]]}]
    with pytest.raises(ValueError, match=r"different numbers of choices: \[1, 2\]"):
        DataCollatorForMultipleChoice(tokenizer)(rows)


@pytest.mark.parametrize(
    "rows",
    [
        [{"x": [1, 2], "label": 1}, {"x": [3, 4], "label": 0}],
        [{"x": 1, "label": 0.5, "text": "a", "none": None}, {"x": 2, "label": 1, "text": "b"}],
        [{"x": [[1.5], [2]], "label_ids": [1, 2]}, {"x": [[3], [4]], "label_ids": [0, 5]}],
        [{"x": np.ones((2, 3), np.float64), "labels": np.int32(3), "label": None}] * 2,
        [{"x": np.zeros(2, np.int8)}],
    ],
)
def test_default(rows):
    expected = transformers.default_data_collator(rows, return_tensors="np")
    assert_same(DefaultDataCollator()(rows), expected)
    assert_same(default_data_collator(rows), expected)


def test_default_takes_objects_and_tensors():
    class Row:
        def __init__(self, value):
            self.x, self.label = value, 1

    assert default_data_collator([Row(1), Row(2)], "np")["x"].tolist() == [1, 2]
    batch = DefaultDataCollator()([{"x": tf.constant([1, 2])}, {"x": tf.constant([3, 4])}])
    assert batch["x"].numpy().tolist() == [[1, 2], [3, 4]]
    assert DefaultDataCollator()([{"flag": True}])["flag"].dtype == tf.bool


def test_one_row(tokenizer):
    batch = DataCollatorWithPadding(tokenizer)([{"input_ids": [5], "label": 1}])
    assert {name: array.numpy().tolist() for name, array in batch.items()} == {
        "input_ids": [[5]],
        "attention_mask": [[1]],
        "labels": [1],
    }


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "features: expected at least one row"),
        ([{"x": [1]}], "no column 'input_ids' among"),
        ([{"input_ids": [5], "x": [1]}, {"input_ids": [5], "x": [1, 2]}], "'x' have different"),
        ([{"input_ids": [5], "x": None}], "'x' .* hold no numbers"),
        ([{"input_ids": [5, 6], "token_type_ids": [0]}], "'token_type_ids' are not as long"),
        ([{"input_ids": 5}], "expected lists in 'input_ids', got 5"),
        ([{"input_ids": [5] * 9}], "'input_ids' is 9 long and the batch 8"),
    ],
)
def test_rows_that_do_not_fit_are_named(tokenizer, rows, message):
    with pytest.raises(ValueError, match=message):
        DataCollatorWithPadding(tokenizer, padding="max_length", max_length=8)(rows)


def test_bad_arguments(tokenizer):
    rows = [{"input_ids": [5, 6]}, {"input_ids": [5]}]
    with pytest.raises(ValueError, match='return_tensors: expected "tf" or "np", got \'pt\''):
        DataCollatorWithPadding(tokenizer, return_tensors="pt")(rows)
    with pytest.raises(ValueError, match="shortest"):
        DataCollatorWithPadding(tokenizer, padding="shortest")(rows)
    with pytest.raises(ValueError, match="'input_ids' have different lengths"):
        DataCollatorWithPadding(tokenizer, padding=False)(rows)
    with pytest.raises(ValueError, match="expected lists in 'labels', got 1"):
        DataCollatorForTokenClassification(tokenizer)([{"input_ids": [5], "labels": 1}])
    tokenizer.pad_token = None
    assert DataCollatorWithPadding(tokenizer)(rows[:1])["input_ids"].shape == (1, 2)
    with pytest.raises(ValueError, match="no padding token"):
        DataCollatorWithPadding(tokenizer)(rows)
