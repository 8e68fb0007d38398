"""Arrow columns -> padded batches, without leaving the TensorFlow graph.

The numbers of a column lie end to end in one tensor. A batch is cut out of it by computing, for
every place of the batch, where its number lies: a few operations for the whole batch, of which none
runs Python.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from tfhf.data.padding import PaddingRule


@dataclass(frozen=True)
class Column:
    """The numbers of all rows end to end, and the length of each row (``None``: one number)."""

    values: np.ndarray
    lengths: np.ndarray | None

    @functools.cached_property
    def starts(self) -> np.ndarray:
        """Where each row of a column of lists begins in ``values``."""
        lengths = np.asarray(self.lengths)
        return np.cumsum(lengths) - lengths

    def rows(self, numbers: np.ndarray) -> list[Any]:
        """Give some rows, as ``datasets`` does in its NumPy format: int64 and float32."""
        kind = np.float32 if self.values.dtype.kind == "f" else np.int64
        if self.lengths is None:
            return list(self.values[numbers].astype(kind))
        starts, lengths = self.starts[numbers], self.lengths[numbers]
        return [self.values[a : a + n].astype(kind) for a, n in zip(starts, lengths)]


def is_readable(kind: pa.DataType) -> bool:
    """Tell whether these are numbers or lists of numbers."""
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    if any(is_list(kind) for is_list in lists):
        kind = kind.value_type
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)


def read_column(column: pa.ChunkedArray) -> Column | None:
    """Read a column that ``is_readable``; ``None`` where values are missing."""
    if column.null_count:
        return None
    if not hasattr(column.type, "value_type"):
        return Column(column.to_numpy(), None)
    chunks = [chunk.flatten() for chunk in column.chunks]
    if any(chunk.null_count for chunk in chunks):
        return None
    values = np.concatenate([chunk.to_numpy(zero_copy_only=False) for chunk in chunks])
    return Column(values, pc.list_value_length(column).to_numpy().astype(np.int64))


def same_lengths(first: Column | None, second: Column | None) -> bool:
    """Tell whether both hold lists, as long in each row."""
    if first is None or second is None or first.lengths is None or second.lengths is None:
        return False
    return np.array_equal(first.lengths, second.lengths)


def batch_gatherer(
    columns: Mapping[str, Column], rule: PaddingRule
) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """Make the function that takes row numbers ``[batch]`` and gives the padded batch.

    It gives what ``rule.pad`` gives for the same rows. The columns are copied into memory of the
    host, 4 bytes for each int32.

    Args:
        columns: The columns of the batch.
        rule: How rows of different lengths are padded. Columns without a rule must have rows of
            equal lengths.

    Raises:
        ValueError: Rows of one column are not as long as those of ``rule.main``.

    """
    columns = dict(columns)
    fills = {} if rule.strategy == "do_not_pad" else rule.fills
    if rule.main is not None:
        main = columns[rule.main]
        if rule.adds_attention_mask and "attention_mask" not in columns:
            columns["attention_mask"] = Column(np.ones(len(main.values), np.int8), main.lengths)
        for name in columns.keys() & fills:
            if not same_lengths(columns[name], main):
                raise ValueError(
                    f"dataset: rows of {name!r} are not as long as those of {rule.main!r}"
                )

    with tf.device("CPU:0"):
        stacked = {
            name: tf.constant(_stack(column))
            for name, column in columns.items()
            if name not in fills
        }
        padded = {name: tf.constant(_flat(columns[name])) for name in columns if name in fills}
        if padded:
            lengths = tf.constant(main.lengths)
            starts = tf.constant(main.starts)

    def gather(rows: tf.Tensor) -> dict[str, tf.Tensor]:
        batch = {name: _standard_type(tf.gather(values, rows)) for name, values in stacked.items()}
        if not padded:
            return batch
        length = tf.gather(lengths, rows)[:, None]
        width = tf.cast(rule.width(tf.reduce_max(length)), tf.int64)
        position = tf.range(width)[None, :]
        if rule.side == "left":
            position -= width - length
        inside = (position >= 0) & (position < length)
        place = tf.where(inside, tf.gather(starts, rows)[:, None] + position, 0)
        for name, values in padded.items():
            found = values if values.shape.rank == 0 else tf.gather(values, place)
            found = _standard_type(found)
            batch[name] = tf.where(inside, found, tf.cast(fills[name] or 0, found.dtype))
        return batch

    return gather


def _stack(column: Column) -> np.ndarray:
    if column.lengths is None:
        return column.values
    return column.values.reshape(len(column.lengths), -1)


def _flat(column: Column) -> np.ndarray:
    values = column.values
    # A mask of ones needs no memory and no look-up.
    constant = values.size == 0 or (values == values[0]).all()
    return values[:1].sum() if constant else values


def _standard_type(values: tf.Tensor) -> tf.Tensor:
    return tf.cast(values, tf.float32 if values.dtype.is_floating else tf.int64)
