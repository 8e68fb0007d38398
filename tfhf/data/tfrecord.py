"""Rows in TFRecord files: what hosts of a TPU pod, and many workers, read on their own.

A folder holds the files and ``dataset.json``, which says what is in them. Folders are local or of
any file system that TensorFlow knows, such as ``gs://bucket/folder``.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfhf.data.arrow import Column, is_readable, read_column
from tfhf.data.padding import padding_rule
from tfhf.data.position import DataPosition

logger = logging.getLogger(__name__)

SCHEMA_FILE = "dataset.json"
LABEL_PADDING = -100
#: Files whose rows are mixed when they are shuffled.
MIXED_FILES = 16


def write_tfrecords(
    dataset: datasets.Dataset | Mapping[str, Sequence[Any]],
    folder: str | os.PathLike[str],
    *,
    columns: Sequence[str] | None = None,
    tokenizer: Any = None,
    rows_per_file: int = 10_000,
    label_names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Write the rows of a tokenized dataset as TFRecord files.

    A file appears when it is whole, and ``dataset.json`` when all are. Called again after an
    interruption with the same rows, it writes what is missing; with other rows, it replaces them.

    Args:
        dataset: the rows, or a dictionary of columns.
        folder: where to.
        columns: those to write; default: all that hold numbers or lists of numbers.
        tokenizer: says with what, and on which side, rows are padded when they are read. Without
            it: with 0, and labels of tokens with -100.
        rows_per_file: many files let many hosts read at the same time.
        label_names: what the labels 0, 1, … are called; ``dataset.json`` keeps it.

    Returns:
        What ``dataset.json`` holds: the number of rows, the files, for each column its type,
        whether it holds lists, the longest of them and what they are padded with, and the names of
        labels.

    Raises:
        ValueError: no rows, a column that is not there, holds other things or misses values.
        tf.errors.OpError: the file system refuses.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> rows = {"input_ids": [[5, 6, 7], [8]], "attention_mask": [[1, 1, 1], [1]]}
        >>> write_tfrecords(rows, folder)["columns"]["input_ids"]
        {'dtype': 'int64', 'list': True, 'longest': 3, 'padding': 0}
        >>> for batch in read_tfrecords(folder, batch_size=2):
        ...     print(batch["input_ids"].numpy().tolist())
        [[5, 6, 7], [8, 0, 0]]
    """
    if isinstance(dataset, Mapping):
        dataset = datasets.Dataset.from_dict(dict(dataset))
    if rows_per_file < 1 or not len(dataset):
        raise ValueError(
            f"expected rows and rows_per_file of at least 1, got {len(dataset)} and {rows_per_file}"
        )
    dataset = dataset.select_columns(_chosen(dataset, columns)).with_format("arrow")
    schema = _describe(dataset, tokenizer)
    count = -(-len(dataset) // rows_per_file)
    name = f"{schema.pop('digest')}-{{:05d}}-of-{count:05d}.tfrecord"
    schema["files"] = [name.format(i) for i in range(count)]
    if label_names is not None:
        schema["label_names"] = list(label_names)

    folder = os.fspath(folder)
    tf.io.gfile.makedirs(folder)
    for i, file in enumerate(schema["files"]):
        path = os.path.join(folder, file)
        if not tf.io.gfile.exists(path):
            rows = dataset[i * rows_per_file : (i + 1) * rows_per_file]
            with _appearing(path) as temporary, tf.io.TFRecordWriter(temporary) as writer:
                for example in _examples(rows):
                    writer.write(example)
    with _appearing(os.path.join(folder, SCHEMA_FILE)) as temporary:
        tf.io.write_file(temporary, json.dumps(schema, indent=2) + "\n")
    for file in tf.io.gfile.listdir(folder):
        if ".tfrecord" in file and file not in schema["files"]:
            tf.io.gfile.remove(os.path.join(folder, file))
    return schema


def read_tfrecords(
    folder: str | os.PathLike[str],
    batch_size: int = 8,
    *,
    max_length: int | None = None,
    shuffle: bool = False,
    shuffle_buffer: int = 10_000,
    seed: int | None = None,
    drop_remainder: bool = False,
    position: DataPosition | None = None,
) -> tf.data.Dataset:
    """Read what :func:`write_tfrecords` wrote, in batches of one shape.

    With ``drop_remainder``, all of it is what a TPU takes. Under several workers each batch is
    shared out by rows.

    Args:
        folder: the folder.
        batch_size: rows of the global batch.
        max_length: lists are padded to this length; default: that of the longest of all.
        shuffle: read the files in a new order each epoch, many at a time, and shuffle the rows
            within stretches of ``shuffle_buffer``.
        shuffle_buffer: rows that wait in memory to be shuffled.
        seed: fixes the orders; default: ``keras.utils.set_random_seed`` does.
        drop_remainder: leave out the last rows if they do not fill a batch.
        position: where to begin, for training that can be resumed; it has a seed of its own.

    Returns:
        Dictionaries of int64 and float32, [batch] or [batch, max_length]; labels are among them.

    Raises:
        FileNotFoundError: the folder holds no whole dataset.
        ValueError: rows are longer than ``max_length``, or too few for one batch.
    """
    folder = os.fspath(folder)
    schema = read_schema(folder)
    batches = schema["rows"] // batch_size if drop_remainder else -(-schema["rows"] // batch_size)
    if batch_size < 1 or batches < 1:
        raise ValueError(f"batch_size: {schema['rows']} rows make no batch of {batch_size}")
    longest = max(column["longest"] for column in schema["columns"].values())
    if max_length is not None and max_length < longest:
        raise ValueError(f"max_length is {max_length}, but a row is {longest} long")

    paths = [os.path.join(folder, file) for file in schema["files"]]
    if not shuffle:
        rows = tf.data.TFRecordDataset(paths).batch(batch_size, drop_remainder=drop_remainder)
    else:
        if position is not None:
            states = tf.data.Dataset.range(1).map(lambda _: position.random_state())
        else:
            states = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).batch(2).take(1)

        def epoch(state: tf.Tensor) -> tf.data.Dataset:
            files = tf.data.Dataset.from_tensor_slices(shuffled(paths, state))
            rows = files.interleave(tf.data.TFRecordDataset, MIXED_FILES, block_length=1)
            stretches = rows.batch(shuffle_buffer).enumerate()
            return stretches.map(lambda number, stretch: shuffled(stretch, state + number))

        shuffled = tf.random.experimental.stateless_shuffle
        rows = states.flat_map(epoch).rebatch(batch_size, drop_remainder=drop_remainder)
    if position is not None:
        position.batches = batches
        rows = position.skip(rows)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    parse = _parser(schema, max_length or longest, batch_size if drop_remainder else None)
    data = rows.map(parse, num_parallel_calls=tf.data.AUTOTUNE)
    data = data.apply(tf.data.experimental.assert_cardinality(batches))
    return data.prefetch(tf.data.AUTOTUNE).with_options(options)


def read_schema(folder: str) -> dict[str, Any]:
    """Read what :func:`write_tfrecords` wrote into ``dataset.json``, and returned.

    Raises:
        FileNotFoundError: the folder holds no whole dataset.
    """
    try:
        return json.loads(tf.io.read_file(os.path.join(folder, SCHEMA_FILE)).numpy())
    except tf.errors.NotFoundError:
        raise FileNotFoundError(
            f"{folder} holds no {SCHEMA_FILE}: write_tfrecords has not finished there"
        ) from None


def _chosen(dataset: datasets.Dataset, columns: Sequence[str] | None) -> list[str]:
    kinds = dataset.data.schema
    readable = [name for name in dataset.column_names if is_readable(kinds.field(name).type)]
    wrong = [name for name in columns or () if name not in readable]
    if wrong:
        raise ValueError(f"columns: {wrong[0]!r} is none of those that hold numbers: {readable}")
    left_out = [name for name in dataset.column_names if name not in readable]
    if columns is None and left_out:
        logger.info("columns that hold no numbers are left out: %s", left_out)
    return list(readable if columns is None else columns)


def _describe(dataset: datasets.Dataset, tokenizer: Any) -> dict[str, Any]:
    """Read all rows once: their types and lengths, and a digest of what they hold."""
    rule = None if tokenizer is None else padding_rule(tokenizer)
    fills = {} if rule is None else rule.fills
    digest = hashlib.sha256()
    longest = dict.fromkeys(dataset.column_names, 0)
    columns: dict[str, Any] = {}
    for table in dataset.iter(10_000):
        for name, column in _columns(table).items():
            kind = "float32" if column.values.dtype.kind == "f" else "int64"
            digest.update(name.encode() + column.values.astype(kind).tobytes())
            columns[name] = {"dtype": kind, "list": column.lengths is not None}
            if column.lengths is not None:
                digest.update(column.lengths.tobytes())
                longest[name] = max(longest[name], int(column.lengths.max()))
    for name, column in columns.items():
        column["longest"] = longest[name]
        default = LABEL_PADDING if name in ("label", "labels") else 0
        column["padding"] = fills.get(name, default) or 0
    side = "right" if rule is None else rule.side
    digest.update(json.dumps([columns, side]).encode())
    return {
        "digest": digest.hexdigest()[:16],
        "rows": len(dataset),
        "padding_side": side,
        "columns": columns,
    }


def _columns(table: pa.Table) -> dict[str, Column]:
    found = {}
    for name in table.column_names:
        column = read_column(table.column(name))
        if column is None:
            raise ValueError(f"dataset: column {name!r} has missing values")
        found[name] = column
    return found


def _examples(table: pa.Table) -> Iterator[bytes]:
    """Serialize rows as ``tf.train.Example``."""
    columns = _columns(table)
    rows = {name: column.rows(np.arange(table.num_rows)) for name, column in columns.items()}
    for values in zip(*rows.values()):
        features = {}
        for name, value in zip(rows, values):
            value = np.atleast_1d(value)
            if value.dtype.kind == "f":
                features[name] = tf.train.Feature(float_list=tf.train.FloatList(value=value))
            else:
                features[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=value))
        yield tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def _parser(schema: Mapping[str, Any], length: int, batch_size: int | None) -> Any:
    """Make the function from a batch of serialized rows to padded columns."""
    features = {
        name: tf.io.RaggedFeature(column["dtype"], row_splits_dtype=tf.int64)
        if column["list"]
        else tf.io.FixedLenFeature([], column["dtype"])
        for name, column in schema["columns"].items()
    }
    backwards = slice(None, None, -1)

    def parse(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        batch = tf.io.parse_example(serialized, features)
        for name, column in schema["columns"].items():
            values = batch[name]
            if column["list"]:
                if schema["padding_side"] == "left":
                    values = values[:, backwards]
                values = values.to_tensor(column["padding"], shape=[None, length])
                if schema["padding_side"] == "left":
                    values = values[:, backwards]
                batch[name] = tf.ensure_shape(values, [batch_size, length])
            else:
                batch[name] = tf.ensure_shape(values, [batch_size])
        return batch

    return parse


class _appearing:
    """A temporary path beside ``path``, which takes its place when all went well."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.temporary = f"{path}.{uuid.uuid4().hex}.part"

    def __enter__(self) -> str:
        return self.temporary

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            tf.io.gfile.rename(self.temporary, self.path, overwrite=True)
        elif tf.io.gfile.exists(self.temporary):
            tf.io.gfile.remove(self.temporary)
