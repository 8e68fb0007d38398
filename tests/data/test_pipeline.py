"""``prepare_tf_dataset``: the oracles are the collators, ``to_tf_dataset``, and counting rows."""

import datasets
import keras
import numpy as np
import pytest
import tensorflow as tf

import tfhf.data.pipeline
from tfhf.data import prepare_tf_dataset
from tfhf.data.collators import (
    DataCollatorForLanguageModeling,
    DataCollatorForMultipleChoice,
    DataCollatorForSeq2Seq,
    DataCollatorForTokenClassification,
    DataCollatorForWholeWordMask,
    DataCollatorWithPadding,
)

CLS = 2


class Model:
    input_names = ("input_ids", "attention_mask", "token_type_ids")
    label_outputs = {"labels": "logits"}


class AnsweringModel:
    input_names = ("input_ids", "attention_mask")
    label_outputs = {"start_positions": "start_logits", "end_positions": "end_logits"}


def random_dataset(count=100, longest=20, seed=0, **columns):
    """Rows that can be told apart: the last id of each row is its number plus 1000."""
    random = np.random.default_rng(seed)
    ids = [
        [*random.integers(5, 22, random.integers(0, longest)).tolist(), 1000 + number]
        for number in range(count)
    ]
    return datasets.Dataset.from_dict(
        {
            "input_ids": ids,
            "token_type_ids": [random.integers(0, 2, len(row)).tolist() for row in ids],
            "attention_mask": [[1] * len(row) for row in ids],
            "label": random.integers(0, 3, count).tolist(),
            "text": ["a text"] * count,
            **columns,
        }
    )


def prepare(dataset, *arguments, model=None, **options):
    return prepare_tf_dataset(model or Model(), dataset, *arguments, **options)


def arrays(batch):
    return tf.nest.map_structure(lambda tensor: tensor.numpy(), batch)


def epoch(data):
    return [arrays(batch) for batch in data]


def assert_same_batches(found, expected):
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected):
        tf.nest.assert_same_structure(one, other)
        for a, b in zip(tf.nest.flatten(one), tf.nest.flatten(other)):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


def row_numbers(batches):
    """The rows of each batch, recognized by their last id."""
    return [(x["input_ids"].max(axis=1) - 1000).tolist() for x, _ in batches]


def through_collator(collator):
    """The same collator, hidden from the fast path."""
    return lambda rows: collator(rows, "np")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pad_to_multiple_of": 8},
        {"padding": "max_length", "max_length": 33},
        {"padding": "max_length"},
        {"padding": "max_length", "max_length": 27, "pad_to_multiple_of": 16},
    ],
)
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("shuffle", [True, False])
def test_graph_gives_what_the_collator_gives(tokenizer, options, side, shuffle):
    tokenizer.padding_side = side
    dataset = random_dataset()
    collator = DataCollatorWithPadding(tokenizer, **options)
    common = {"tokenizer": tokenizer, "shuffle": shuffle, "drop_remainder": False, "seed": 1}
    fast = prepare(dataset, 8, collate_fn=collator, **common)
    slow = prepare(dataset, 8, collate_fn=through_collator(collator), **common)
    assert fast.element_spec == slow.element_spec
    for _ in range(2):
        assert_same_batches(epoch(fast), epoch(slow))


def test_unshuffled_is_what_to_tf_dataset_gives(tokenizer):
    dataset = random_dataset(50)
    expected = dataset.to_tf_dataset(
        batch_size=8,
        columns=["input_ids", "attention_mask", "token_type_ids"],
        label_cols="labels",
        collate_fn=DataCollatorWithPadding(tokenizer),
    )
    found = prepare(dataset, 8, shuffle=False, tokenizer=tokenizer)
    assert_same_batches(epoch(found), epoch(expected))


def graph_only(monkeypatch):
    """Fail where a batch would be collated by Python."""
    monkeypatch.setattr(tfhf.data.pipeline, "_collated_batches", None)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("labels", [[0.5, 1.0, 0.0]] * 30),
        ("labels", [float(number) for number in range(30)]),
        ("labels", [[number, 1] for number in range(30)]),
        ("labels", [number % 2 == 0 for number in range(30)]),
        ("label_ids", list(range(30))),
    ],
)
def test_labels_of_every_kind(tokenizer, monkeypatch, name, values):
    dataset = random_dataset(30).remove_columns("label").add_column(name, values)
    slow = prepare(
        dataset,
        shuffle=False,
        collate_fn=through_collator(DataCollatorWithPadding(tokenizer)),
    )
    expected = epoch(slow)
    graph_only(monkeypatch)
    found = epoch(prepare(dataset, shuffle=False, tokenizer=tokenizer))
    assert_same_batches(found, expected)
    np.testing.assert_array_equal(np.concatenate([y for _, y in found]), np.array(values))


@pytest.mark.parametrize(
    "feature",
    [
        datasets.List(datasets.Value("int8"), length=4),
        datasets.LargeList(datasets.Value("uint16")),
        datasets.List(datasets.Value("float16")),
        datasets.List(datasets.Value("bool")),
    ],
)
def test_arrow_types(tokenizer, monkeypatch, feature):
    values = [[0, 1, number % 2, 1] for number in range(30)]
    column = datasets.Dataset.from_dict({"labels": values}).cast_column("labels", feature)
    dataset = datasets.concatenate_datasets(
        [random_dataset(30).remove_columns("label"), column], axis=1
    )
    graph_only(monkeypatch)
    batches = epoch(prepare(dataset, shuffle=False, tokenizer=tokenizer))
    np.testing.assert_array_equal(np.concatenate([y for _, y in batches]), values)
    floats = "float" in str(feature)
    assert batches[0][1].dtype == (np.float32 if floats else np.int64)


def test_label_wins_over_labels(tokenizer):
    dataset = random_dataset(8, labels=[9] * 8)
    (batch,) = epoch(prepare(dataset, 8, shuffle=False, tokenizer=tokenizer))
    assert batch[1].tolist() == dataset["label"][:]


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_label_per_token(tokenizer, monkeypatch, side):
    tokenizer.padding_side = side
    dataset = random_dataset(30).remove_columns("label")
    labels = [[1] * (len(row) - 1) + [2] for row in dataset["input_ids"]]
    dataset = dataset.add_column("label", labels)
    collator = DataCollatorForTokenClassification(tokenizer)
    slow = prepare(dataset, shuffle=False, collate_fn=through_collator(collator))
    expected = epoch(slow)
    graph_only(monkeypatch)
    for options in ({"tokenizer": tokenizer}, {"collate_fn": collator}):
        assert_same_batches(epoch(prepare(dataset, shuffle=False, **options)), expected)
    x, y = expected[0]
    np.testing.assert_array_equal(y == -100, x["attention_mask"] == 0)


def test_mask_is_made_where_there_is_none(tokenizer, monkeypatch):
    dataset = random_dataset(20)
    expected = epoch(prepare(dataset, shuffle=False, tokenizer=tokenizer))
    graph_only(monkeypatch)
    found = prepare(dataset.remove_columns("attention_mask"), shuffle=False, tokenizer=tokenizer)
    for (x, _), (other, _) in zip(epoch(found), expected):
        np.testing.assert_array_equal(x["attention_mask"], other["attention_mask"])


def test_rows_of_equal_length_need_no_tokenizer(tokenizer, monkeypatch):
    graph_only(monkeypatch)
    rows = {"input_ids": np.arange(24).reshape(6, 4).tolist(), "labels": list(range(6))}
    dataset = datasets.Dataset.from_dict(rows)
    x, y = arrays(next(iter(prepare(dataset, 6, shuffle=False))))
    np.testing.assert_array_equal(x, np.arange(24).reshape(6, 4))
    assert y.tolist() == list(range(6))
    collator = DataCollatorWithPadding(tokenizer, padding=False)
    x, _ = arrays(next(iter(prepare(dataset, 6, shuffle=False, collate_fn=collator))))
    assert x["attention_mask"].tolist() == [[1] * 4] * 6


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("group", [False, True])
@pytest.mark.parametrize("drop", [False, True])
def test_every_row_once_and_another_order_each_epoch(tokenizer, monkeypatch, slow, group, drop):
    monkeypatch.setattr(tfhf.data.pipeline, "GROUPED_BATCHES", 3)
    dataset = random_dataset(101)
    collator = through_collator(DataCollatorWithPadding(tokenizer)) if slow else None
    data = prepare(
        dataset,
        8,
        tokenizer=tokenizer,
        collate_fn=collator,
        drop_remainder=drop,
        group_by_length=group,
    )
    orders = []
    for _ in range(3):
        batches = epoch(data)
        assert len(batches) == len(data) == (12 if drop else 13)
        orders.append([row for batch in row_numbers(batches) for row in batch])
        assert len(set(orders[-1])) == len(orders[-1]) == (96 if drop else 101)
        sizes = sorted(len(batch) for batch in row_numbers(batches))
        assert sizes == ([8] * 12 if drop else [5] + [8] * 12)
        for x, _ in batches:  # each row is as it was, whatever the batch it is in
            for ids, mask, kinds in zip(x["input_ids"], x["attention_mask"], x["token_type_ids"]):
                row = dataset[int(ids.max()) - 1000]
                assert ids[mask == 1].tolist() == row["input_ids"]
                assert kinds[mask == 1].tolist() == row["token_type_ids"]
                assert not ids[mask == 0].any()
    assert orders[0] != orders[1] != orders[2] != orders[0]
    if drop:
        assert len({frozenset(order) for order in orders}) == 3  # other rows are left out


def test_grouping_saves_padding_and_hides_nothing(tokenizer):
    dataset = random_dataset(4000, longest=121)
    lengths = np.array([len(row) for row in dataset["input_ids"]])
    options = {"tokenizer": tokenizer, "drop_remainder": False, "seed": 3}
    places = {}
    for group in (False, True):
        batches = epoch(prepare(dataset, 8, group_by_length=group, **options))
        places[group] = sum(x["input_ids"].size for x, _ in batches)
        means = np.array([lengths[rows].mean() for rows in row_numbers(batches)])
        # A batch's length tells nothing of its place, nor of the next batch's length.
        for other in (np.arange(len(means) - 1), means[1:]):
            assert abs(np.corrcoef(means[:-1], other)[0, 1]) < 5 / np.sqrt(len(means))
    assert places[False] > 1.6 * lengths.sum()
    assert places[True] < 1.03 * lengths.sum()


def test_rows_meet_other_rows_each_epoch(tokenizer):
    dataset = random_dataset(800)
    data = prepare(dataset, 8, tokenizer=tokenizer)
    together = [{frozenset(batch) for batch in row_numbers(epoch(data))} for _ in range(2)]
    assert not together[0] & together[1]


def test_every_place_is_equally_likely():
    dataset = datasets.Dataset.from_dict({"input_ids": [[number] for number in range(16)]})
    data = prepare(dataset, 16, prefetch=False)
    counts = np.zeros((16, 16))
    for _ in range(40):
        (ids,) = data
        counts[np.arange(16), ids.numpy()[:, 0]] += 1
    expected = 40 / 16
    chi_square = ((counts - expected) ** 2 / expected).sum()
    degrees = 15 * 15
    assert abs(chi_square - degrees) < 5 * np.sqrt(2 * degrees)


@pytest.mark.parametrize("set_seed", [keras.utils.set_random_seed, tf.random.set_seed])
def test_global_seeds_fix_the_orders(tokenizer, set_seed):
    dataset = random_dataset(60)

    def orders():
        data = prepare(dataset, 4, tokenizer=tokenizer)
        return [row_numbers(epoch(data)) for _ in range(3)]

    set_seed(7)
    first = orders()
    assert first[0] != first[1] != first[2]
    assert orders() != first
    set_seed(7)
    assert orders() == first
    set_seed(8)
    assert orders() != first


def test_own_seed_fixes_the_orders(tokenizer):
    dataset = random_dataset(60)
    first, second, other = (
        row_numbers(epoch(prepare(dataset, 4, tokenizer=tokenizer, seed=seed)))
        for seed in (5, 5, 6)
    )
    assert first == second != other


@pytest.mark.parametrize("kind", [DataCollatorForLanguageModeling, DataCollatorForWholeWordMask])
def test_masks_follow_the_global_seed(tokenizer, kind):
    dataset = datasets.Dataset.from_dict({"input_ids": [[5, 6, 7, 8, 9, 10]] * 60})

    def labels(seed):
        keras.utils.set_random_seed(seed)
        data = prepare(dataset, 60, collate_fn=kind(tokenizer, mlm_probability=0.5))
        return [y.tolist() for _ in range(2) for _, y in epoch(data)]

    first = labels(1)
    assert first[0] != first[1]
    assert labels(1) == first
    assert labels(2) != first


def test_collators_get_the_columns_that_only_they_need(tokenizer):
    dataset = random_dataset(20, special_tokens_mask=[[1]] * 20, input_ids=[[5]] * 20)
    dataset = dataset.remove_columns(["token_type_ids", "attention_mask"])
    collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=1.0)
    for x, y in prepare(dataset, collate_fn=collator):
        assert set(x) == {"input_ids", "attention_mask"}
        assert (y.numpy() == -100).all()


def test_seq2seq_and_multiple_choice(tokenizer):
    class Seq2Seq:
        input_names = ("input_ids", "attention_mask", "decoder_input_ids")
        label_outputs = {"labels": "logits"}

        def prepare_decoder_input_ids_from_labels(self, labels):
            return tf.pad(labels[:, :-1], [[0, 0], [1, 0]])

    dataset = random_dataset(10).remove_columns("label")
    dataset = dataset.add_column("labels", [[5] * (1 + number) for number in range(10)])
    collator = DataCollatorForSeq2Seq(tokenizer, Seq2Seq())
    x, y = next(iter(prepare(dataset, 10, shuffle=False, collate_fn=collator, model=Seq2Seq())))
    assert set(x) == {"input_ids", "attention_mask", "decoder_input_ids"}
    assert y.shape == x["decoder_input_ids"].shape == (10, 10)

    choices = {"input_ids": [[[5], [6, 7, 8], [9]], [[5, 6], [6], [9]]] * 5, "label": [0, 1] * 5}
    dataset = datasets.Dataset.from_dict(choices)
    collator = DataCollatorForMultipleChoice(tokenizer)
    data = prepare(dataset, 5, collate_fn=collator)
    for x, y in data:
        assert x["input_ids"].shape == (5, 3, 3) and y.shape == (5,)
    assert data.element_spec[0]["input_ids"].shape.as_list() == [5, 3, None]


def test_what_the_model_takes(tokenizer):
    answers = random_dataset(9, start_positions=list(range(9)), end_positions=list(range(9)))
    x, y = next(iter(prepare(answers, 9, False, tokenizer, model=AnsweringModel())))
    assert set(x) == {"input_ids", "attention_mask"}
    assert set(y) == {"start_positions", "end_positions"}
    unlabelled = prepare(answers.remove_columns("label"), 9, tokenizer=tokenizer)
    assert set(next(iter(unlabelled))) == {"input_ids", "attention_mask", "token_type_ids"}


def test_pictures_keep_their_known_shape(monkeypatch):
    class Viewer:
        input_names, label_outputs = ("pixel_values",), {"labels": "logits"}

    pictures = np.random.default_rng(0).random((9, 3, 4, 4)).astype(np.float32)
    dataset = datasets.Dataset.from_dict({"pixel_values": pictures, "label": list(range(9))})
    x, y = next(iter(prepare(dataset, 9, shuffle=False, model=Viewer())))
    np.testing.assert_array_equal(x, pictures)
    assert prepare(dataset, 3, model=Viewer()).element_spec[0].shape == (3, 3, 4, 4)
    monkeypatch.setattr(tfhf.data.pipeline, "IN_MEMORY_BYTES", 0)
    x, y = next(iter(prepare(dataset, 9, shuffle=False, model=Viewer())))
    np.testing.assert_array_equal(x, pictures)
    assert y.numpy().tolist() == list(range(9))


def test_shapes_that_never_change(tokenizer, monkeypatch):
    graph_only(monkeypatch)
    collator = DataCollatorWithPadding(tokenizer, "max_length", 32)
    data = prepare(random_dataset(20), 4, collate_fn=collator)
    for spec in tf.nest.flatten(data.element_spec):
        assert spec.shape in [(4, 32), (4,)]
    data = prepare(random_dataset(21), 4, collate_fn=collator, drop_remainder=False)
    assert data.element_spec[0]["input_ids"].shape.as_list() == [None, 32]


def test_selected_chunked_and_formatted_datasets(tokenizer):
    dataset = random_dataset(40)
    expected = epoch(prepare(dataset.select(range(30, 10, -1)), shuffle=False, tokenizer=tokenizer))
    mapped = dataset.map(lambda row: row, writer_batch_size=3).select(range(30, 10, -1))
    assert mapped.data.column("input_ids").num_chunks > 1
    variants = [
        mapped,
        mapped.with_format("np"),
        mapped.with_format("tf", columns=["label"]),
        mapped.flatten_indices(),
        mapped.cast_column("input_ids", datasets.LargeList(datasets.Value("int32"))),
        dataset.select(range(11, 31)).select(range(19, -1, -1)),
    ]
    for variant in variants:
        assert_same_batches(epoch(prepare(variant, shuffle=False, tokenizer=tokenizer)), expected)


def test_larger_than_memory(tokenizer, monkeypatch):
    dataset = random_dataset(40).select(range(39, -1, -1))
    expected = epoch(prepare(dataset, tokenizer=tokenizer, seed=1, group_by_length=False))
    monkeypatch.setattr(tfhf.data.pipeline, "IN_MEMORY_BYTES", 100)
    assert_same_batches(epoch(prepare(dataset, tokenizer=tokenizer, seed=1)), expected)


def test_transforms_are_applied(tokenizer):
    texts = ["the dog", "a quick brown fox", "walk"] * 4
    dataset = datasets.Dataset.from_dict({"text": texts}).with_transform(
        lambda batch: dict(tokenizer(batch["text"]), other=batch["text"])
    )
    (x,) = prepare(dataset, 12, tokenizer=tokenizer, shuffle=False)
    expected = tokenizer(texts, padding=True, return_tensors="np")
    assert set(x) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(x[name], array)


def test_missing_values(tokenizer):
    for rows in (
        {"input_ids": [[5], [6, 7]], "label": [0, None]},
        {"input_ids": [[5], [6, 7]], "label": [[0], [1, None]]},
        {"input_ids": [[5], [6, 7]], "label": [[0], None]},
    ):
        with pytest.raises(ValueError, match="column 'label' has missing values"):
            prepare(datasets.Dataset.from_dict(rows), 2, tokenizer=tokenizer)
    words = {"input_ids": [[CLS, 5, 17], [CLS, 6, 18]], "word_ids": [[None, 0, 0]] * 2}
    collator = DataCollatorForWholeWordMask(tokenizer, mlm_probability=0.7)
    (batch,) = epoch(prepare(datasets.Dataset.from_dict(words), 2, collate_fn=collator))
    assert sorted(batch[1].tolist()) == [[-100, 5, 17], [-100, 6, 18]]


def test_one_row(tokenizer):
    data = prepare(random_dataset(1, longest=1), 4, tokenizer=tokenizer, drop_remainder=False)
    ((x, y),) = list(data)
    assert x["input_ids"].numpy().tolist() == [[1000]] and y.shape == (1,)


def test_fit_sees_every_batch(tokenizer):
    class Count(keras.Model):
        input_names, label_outputs = ("input_ids",), {"labels": "logits"}

        def __init__(self):
            super().__init__()
            self.embed = keras.layers.Embedding(1100, 4)
            self.head = keras.layers.Dense(3)

        def call(self, input_ids):
            return self.head(keras.ops.mean(self.embed(input_ids), axis=1))

    model = Count()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    data = prepare(random_dataset(21), 4, tokenizer=tokenizer, model=model, drop_remainder=False)
    assert len(data) == 6
    model.fit(data, epochs=2, verbose=0)
    assert int(model.optimizer.iterations) == 12


def test_distributed(tokenizer):
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    data = prepare(random_dataset(20), 4, tokenizer=tokenizer, drop_remainder=False)
    shared = strategy.experimental_distribute_dataset(data)
    rows = [row for x, _ in shared for row in (x["input_ids"].numpy().max(axis=1) - 1000).tolist()]
    assert sorted(rows) == list(range(20))
    shards = [
        prepare(random_dataset(20), 4, tokenizer=tokenizer, seed=3).shard(2, n) for n in (0, 1)
    ]
    rows = [row for shard in shards for batch in row_numbers(epoch(shard)) for row in batch]
    assert len(set(rows)) == len(rows) == 20


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({}, {"batch_size": 0}, "batch_size: expected at least 1, got 0"),
        ({}, {"batch_size": 200}, "100 rows make no batch of 200"),
        ({}, {"tokenizer": None}, "'input_ids' have different lengths"),
        ({"labels": ["a"] * 100}, {}, "expected numbers in 'labels', got .*'a'"),
        ({"attention_mask": [[1]] * 100}, {}, "'attention_mask' are not as long"),
        (
            {},
            {"collate_fn": lambda tokenizer: DataCollatorWithPadding(tokenizer, "max_length", 5)},
            "'input_ids' is 20 long and the batch 5",
        ),
    ],
)
def test_bad_arguments(tokenizer, columns, options, message):
    options = {"tokenizer": tokenizer, **options}
    if "collate_fn" in options:
        options["collate_fn"] = options["collate_fn"](tokenizer)
    dataset = random_dataset()
    for name in columns:
        if name in dataset.column_names:
            dataset = dataset.remove_columns(name)
        dataset = dataset.remove_columns("label") if name == "labels" else dataset
        dataset = dataset.add_column(name, columns[name])
    with pytest.raises(ValueError, match=message):
        prepare(dataset, **options)


def test_bad_datasets(tokenizer):
    with pytest.raises(TypeError, match=r"expected a datasets\.Dataset, got DatasetDict"):
        prepare(datasets.DatasetDict({"train": random_dataset(3)}))
    with pytest.raises(ValueError, match="0 rows make no batch"):
        prepare(random_dataset(3).select([]), tokenizer=tokenizer, shuffle=False)
    for columns in ({"text": ["a"] * 8}, {"label": [1] * 8}):
        dataset = datasets.Dataset.from_dict(columns)
        with pytest.raises(ValueError, match=r"none of its columns \['\w+'\] is an input of Model"):
            prepare(dataset)
