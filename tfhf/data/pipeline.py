"""``datasets.Dataset`` -> ``tf.data.Dataset``: what ``model.prepare_tf_dataset`` does."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import datasets
import numpy as np
import tensorflow as tf
from transformers import PreTrainedTokenizerBase

from tfhf.data.arrow import Column, batch_gatherer, is_readable, read_column, same_lengths
from tfhf.data.collators import (
    DataCollatorForTokenClassification,
    DataCollatorWithPadding,
    DefaultDataCollator,
)
from tfhf.data.collators.padding import Collator
from tfhf.data.position import DataPosition, seed_collator
from tfhf.losses import IGNORED

GROUPED_BATCHES = 50
"""Rows are grouped by length within stretches of this many batches."""

IN_MEMORY_BYTES = 4 * 2**30
"""Columns that are larger together stay on disk, and rows are read from there."""

_GRAPH_COLLATORS = (
    DefaultDataCollator,
    DataCollatorWithPadding,
    DataCollatorForTokenClassification,
)
_LABEL_COLUMNS = ("label", "label_ids", "labels")


def prepare_tf_dataset(
    model: Any,
    dataset: datasets.Dataset,
    batch_size: int = 8,
    shuffle: bool = True,
    tokenizer: PreTrainedTokenizerBase | None = None,
    collate_fn: Callable | None = None,
    collate_fn_args: Mapping[str, Any] | None = None,
    drop_remainder: bool | None = None,
    prefetch: bool = True,
    group_by_length: bool = True,
    seed: int | None = None,
    position: DataPosition | None = None,
) -> tf.data.Dataset:
    """Wrap a dataset for ``fit``, ``evaluate`` and ``predict`` of a model.

    Columns that the model does not take are left out; its labels come out as ``y``. Batches are
    ``x`` or ``(x, y)``, where each is a dictionary, or the tensor itself if there is only one.
    Integers are int64 and floats float32.

    Where the columns are numbers or lists of numbers, are smaller than 4 GiB, and the collator only
    stacks or pads, batches are made inside the TensorFlow graph, which is the fast way. Everything
    else goes through the collator. Both give the same batches.

    Args:
        model: A model of tfhf, of which only ``input_names`` and ``label_outputs`` are looked at.
        dataset: Rows that are tokenized already.
        batch_size: Rows per batch.
        shuffle: Draw a new random order each epoch. It follows ``keras.utils.set_random_seed``
            and ``tf.random.set_seed``.
        tokenizer: Pads rows, and labels with -100 where there is one per token. Without it and
            without ``collate_fn``, rows must have equal lengths.
        collate_fn: Makes a batch of a list of rows, instead. For shapes that never change, as TPUs
            and XLA need them: ``DataCollatorWithPadding(tokenizer, "max_length", 128)``.
        collate_fn_args: Keyword arguments for ``collate_fn``.
        drop_remainder: Leave out the last rows if they do not fill a batch. By default, when
            ``shuffle``: then other rows every epoch.
        prefetch: Make batches while the model works on earlier ones.
        group_by_length: When shuffling, put rows of similar length into a batch, so that less is
            padded. Within stretches of 50 random batches rows are sorted by length, and the batches
            are shuffled after that: an epoch still holds every row once, in batches that are new
            each epoch.
        seed: Fixes the random orders of the epochs by itself, for workers that must agree on them.
        position: Where to begin, for training that can be resumed; it has a seed of its own.

    Raises:
        TypeError: ``dataset`` is no ``datasets.Dataset``.
        ValueError: An empty dataset, no column that the model takes, rows that do not fit together,
            labels to train on that are no classes of the model.

    Example:
        >>> class Model:
        ...     input_names, label_outputs = ("input_ids", "attention_mask"), {"labels": "logits"}
        >>> rows = {"input_ids": [[1, 2], [3, 4]], "labels": [0, 1], "text": ["a", "b"]}
        >>> data = prepare_tf_dataset(Model(), datasets.Dataset.from_dict(rows), 2, shuffle=False)
        >>> for x, y in data:
        ...     print(x.numpy().tolist(), y.numpy().tolist())
        [[1, 2], [3, 4]] [0, 1]

    """
    if not isinstance(dataset, datasets.Dataset):
        raise TypeError(f"dataset: expected a datasets.Dataset, got {type(dataset).__name__}")
    if batch_size < 1:
        raise ValueError(f"batch_size: expected at least 1, got {batch_size}")
    drop_remainder = shuffle if drop_remainder is None else drop_remainder
    count = len(dataset) // batch_size * batch_size if drop_remainder else len(dataset)
    if count == 0:
        raise ValueError(
            f"dataset: {len(dataset)} rows make no batch of {batch_size}; "
            f"batch_size is too large or drop_remainder ({drop_remainder}) should be False"
        )

    taken = [*model.input_names, *model.label_outputs]
    extra = getattr(collate_fn, "extra_columns", ())
    wanted = {*taken, *_LABEL_COLUMNS, *extra}
    no_input = ValueError(
        f"dataset: none of its columns {dataset.column_names} is an input of "
        f"{type(model).__name__}, which takes {taken}"
    )
    columns: dict[str, Column | None] = {}
    if dataset.format["type"] != "custom":  # a transform may make any columns of any others
        dataset = dataset.select_columns([name for name in dataset.column_names if name in wanted])
        if not dataset.column_names:
            raise no_input
        columns = _read_columns(dataset, extra)
    if collate_fn is None:
        collate_fn = _default_collator(tokenizer, columns)
    in_memory = {name: column for name, column in columns.items() if column is not None}
    if shuffle:  # to train on; the labels of what is only predicted may be unknown
        _check_classes(model, in_memory)
    if len(in_memory) < len(columns):
        in_memory = {}

    collate = _collation(dataset, in_memory, wanted, collate_fn, collate_fn_args or {})
    signature = _signature(collate, _rows_to_try(columns, len(dataset)), taken)
    labels = [name for name in signature if name in model.label_outputs]
    features = [name for name in signature if name not in labels]
    if not features:
        raise no_input
    gather = None if collate_fn_args else _graph_batches(in_memory, collate_fn)
    fetch = gather or _collated_batches(collate, signature, position)

    def batch(rows: tf.Tensor) -> Any:
        found = fetch(rows)
        for name, spec in signature.items():
            found[name] = tf.ensure_shape(found[name], [rows.shape[0], *spec.shape[1:]])
        x = {name: found[name] for name in features}
        y = {name: found[name] for name in labels}
        return (_only(x), _only(y)) if y else _only(x)

    lengths = None
    if group_by_length:
        lengths = _row_lengths(columns, tokenizer or getattr(collate_fn, "tokenizer", None))
    rows = _row_numbers(len(dataset), batch_size, shuffle, drop_remainder, lengths, seed, position)
    # One call after the other where Python is called: collators may draw random numbers.
    data = rows.map(batch, num_parallel_calls=tf.data.AUTOTUNE if gather else None)
    return data.prefetch(tf.data.AUTOTUNE) if prefetch else data


def _read_columns(dataset: datasets.Dataset, may_miss: Sequence[str]) -> dict[str, Column | None]:
    """Read the columns of numbers; ``None`` for the others, and where they are too large."""
    schema = dataset.data.schema
    readable = [name for name in dataset.column_names if is_readable(schema.field(name).type)]
    size = sum(dataset.data.column(name).nbytes for name in readable)
    columns: dict[str, Column | None] = dict.fromkeys(dataset.column_names)
    if not readable or size * len(dataset) / len(dataset.data) > IN_MEMORY_BYTES:
        return columns
    table = dataset.select_columns(readable).with_format("arrow")[:]
    for name in readable:
        columns[name] = read_column(table.column(name))
        if columns[name] is None and name not in may_miss:
            raise ValueError(f"dataset: column {name!r} has missing values")
    return columns


def _check_classes(model: Any, columns: Mapping[str, Column]) -> None:
    """Refuse labels that are no classes of the model before the batch comes that has them."""
    names = ("SequenceClassification", "TokenClassification")
    if not type(model).__name__.endswith(names) or model.config.num_labels < 2:
        return
    classes = model.config.num_labels
    for name in columns.keys() & {*_LABEL_COLUMNS}:
        values = columns[name].values
        if values.dtype.kind in "iu":
            wrong = values[(values != IGNORED) & ((values < 0) | (values >= classes))]
            if wrong.size:
                raise ValueError(
                    f"dataset: {name!r} must be 0 to {classes - 1} (num_labels = {classes}) or "
                    f"{IGNORED}, but {wrong.size} are not, among them {wrong[0]}"
                )


def _default_collator(
    tokenizer: PreTrainedTokenizerBase | None, columns: Mapping[str, Column | None]
) -> Collator:
    if tokenizer is None:
        return DefaultDataCollator()
    ids = columns.get(tokenizer.model_input_names[0])
    labels = columns.get("label") or columns.get("labels")
    if same_lengths(ids, labels):
        return DataCollatorForTokenClassification(tokenizer)
    return DataCollatorWithPadding(tokenizer)


def _collation(
    dataset: datasets.Dataset,
    columns: Mapping[str, Column],
    wanted: set[str],
    collate_fn: Callable,
    arguments: Mapping[str, Any],
) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Make the function that takes row numbers and gives the collated batch, in NumPy."""
    if isinstance(collate_fn, Collator):
        arguments = {"return_tensors": "np", **arguments}
    if dataset.format["type"] not in ("custom", "numpy"):
        dataset = dataset.with_format("numpy")

    def read(rows: np.ndarray) -> dict[str, Any]:
        if columns:
            return {name: column.rows(rows) for name, column in columns.items()}
        in_a_row = (np.diff(rows) == 1).all()
        found = dataset[int(rows[0]) : int(rows[-1]) + 1] if in_a_row else dataset[rows]
        return {name: values for name, values in found.items() if name in wanted}

    def collate(rows: np.ndarray) -> dict[str, np.ndarray]:
        found = read(rows)
        features = [dict(zip(found, values)) for values in zip(*found.values())]
        batch = collate_fn(features, **arguments)
        return {name: np.asarray(values) for name, values in batch.items()}

    return collate


def _rows_to_try(columns: Mapping[str, Column | None], count: int) -> np.ndarray:
    """Choose rows that show which axes of the batches vary: the shortest, the longest, others."""
    rows = {*np.linspace(0, count - 1, 8, dtype=np.int64)}
    for column in columns.values():
        if column is not None and column.lengths is not None:
            rows |= {column.lengths.argmin(), column.lengths.argmax()}
    return np.array(sorted(rows))


def _signature(
    collate: Callable[[np.ndarray], dict[str, np.ndarray]], rows: np.ndarray, taken: list[str]
) -> dict[str, tf.TensorSpec]:
    """Collate a few rows, together and one by one, to see the types and shapes that are taken."""
    together = collate(rows)
    batches = [together] + [collate(row[None]) for row in rows]
    signature = {}
    for name in [name for name in together if name in taken]:
        kind = together[name].dtype.kind
        if kind not in "iubf":
            raise ValueError(f"dataset: expected numbers in {name!r}, got {together[name][0]!r}")
        shapes = {batch[name].shape[1:] for batch in batches}
        shape = [sizes[0] if len(set(sizes)) == 1 else None for sizes in zip(*shapes)]
        signature[name] = tf.TensorSpec([None, *shape], tf.float32 if kind == "f" else tf.int64)
    return signature


def _graph_batches(
    columns: Mapping[str, Column], collate_fn: Callable
) -> Callable[[tf.Tensor], dict[str, tf.Tensor]] | None:
    """Make the function that makes batches in the graph, where this is possible."""
    # A subclass may do more than its base's rule says.
    if not isinstance(collate_fn, Collator) or type(collate_fn) not in _GRAPH_COLLATORS:
        return None
    rule = collate_fn.padding_rule()
    named = {"labels" if name in _LABEL_COLUMNS else name: columns[name] for name in columns}
    if rule is None or not columns or len(named) < len(columns):
        return None
    return batch_gatherer(named, rule)


def _collated_batches(
    collate: Callable[[np.ndarray], dict[str, np.ndarray]],
    signature: Mapping[str, tf.TensorSpec],
    position: DataPosition | None,
) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """Make the function that calls the collator from the graph."""
    types = {name: spec.dtype for name, spec in signature.items()}

    def arrays(rows: np.ndarray, *random_state: np.ndarray) -> list[np.ndarray]:
        for state in random_state:
            seed_collator(state, rows)
        batch = collate(rows)
        return [batch[name].astype(kind.as_numpy_dtype) for name, kind in types.items()]

    def fetch(rows: tf.Tensor) -> dict[str, tf.Tensor]:
        inputs = [rows] if position is None else [rows, position.random_state()]
        return dict(zip(types, tf.numpy_function(arrays, inputs, list(types.values()))))

    return fetch


def _row_lengths(
    columns: Mapping[str, Column | None], tokenizer: PreTrainedTokenizerBase | None
) -> np.ndarray | None:
    column = columns.get("input_ids" if tokenizer is None else tokenizer.model_input_names[0])
    return None if column is None else column.lengths


def _row_numbers(
    count: int,
    batch_size: int,
    shuffle: bool,
    drop_remainder: bool,
    lengths: np.ndarray | None,
    seed: int | None,
    position: DataPosition | None,
) -> tf.data.Dataset:
    """Give the row numbers of each batch, int64 ``[batch]``."""
    full = count // batch_size * batch_size
    per_epoch = full // batch_size if drop_remainder else -(-count // batch_size)
    if lengths is not None:
        with tf.device("CPU:0"):
            lengths = tf.constant(lengths)

    def epoch(seed: tf.Tensor) -> tf.Tensor:
        rows = tf.random.experimental.stateless_shuffle(tf.range(count, dtype=tf.int64), seed)
        if drop_remainder:
            rows = rows[:full]
        if lengths is None:
            return rows
        stretch = tf.range(tf.size(rows, tf.int64)) // (GROUPED_BATCHES * batch_size)
        by_length = stretch * (tf.reduce_max(lengths) + 1) + tf.gather(lengths, rows)
        rows = tf.gather(rows, tf.argsort(by_length))
        batches = tf.reshape(rows[:full], [-1, batch_size])
        batches = tf.random.experimental.stateless_shuffle(batches, seed + 1)
        return tf.concat([tf.reshape(batches, [-1]), rows[full:]], axis=0)

    if not shuffle:
        numbers = tf.data.Dataset.range(count).batch(batch_size, drop_remainder=drop_remainder)
    else:
        if position is None:
            # Stateful random ops would repeat themselves every epoch under a global seed.
            seeds = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True)
            seeds = seeds.batch(2).take(1)
        else:
            seeds = tf.data.Dataset.range(1).map(lambda _: position.random_state())
        numbers = seeds.map(epoch).rebatch(batch_size, drop_remainder=drop_remainder)
    if position is not None:
        position.batches = per_epoch
        numbers = position.skip(numbers)
    return numbers.apply(tf.data.experimental.assert_cardinality(per_epoch))


def _only(tensors: dict[str, tf.Tensor]) -> Any:
    return next(iter(tensors.values())) if len(tensors) == 1 else tensors
