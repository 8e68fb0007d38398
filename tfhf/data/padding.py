"""Rows of different lengths -> one rectangular array, in NumPy.

Integers become int64 and floats float32, as ``datasets.Dataset.to_tf_dataset`` has them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase
from transformers.utils import PaddingStrategy

# Only its tokenizer knows how to pad for a model such as LUKE, whose entities are padded as well.
_STANDARD_PAD = PreTrainedTokenizerBase._pad

# Above this, model_max_length means that the checkpoint does not say.
_NO_LIMIT = 1e20


@dataclass(frozen=True)
class PaddingRule:
    """To which length, with what and on which side the rows of each column are padded.

    Attributes:
        strategy: ``"longest"`` row of the batch, ``"max_length"`` or ``"do_not_pad"``.
        max_length: The length under ``"max_length"``.
        multiple: Lengths are rounded up to a multiple of this.
        side: ``"right"`` or ``"left"``.
        main: The column that decides how long a row is, usually ``input_ids``.
        fills: What the columns that are as long as ``main`` are padded with; ``None`` where
            nothing is known. A column that is not here is left as it is.
        adds_attention_mask: Whether an ``attention_mask`` is made when there is none.

    """

    strategy: str = "do_not_pad"
    max_length: int | None = None
    multiple: int | None = None
    side: str = "right"
    main: str | None = None
    fills: Mapping[str, int | None] = field(default_factory=dict)
    adds_attention_mask: bool = False

    def width(self, longest: Any) -> Any:
        """Give the padded length of a batch whose longest row is ``longest``, an int or tensor."""
        if self.strategy == "do_not_pad":
            return longest
        return round_up(
            self.max_length if self.strategy == "max_length" else longest, self.multiple
        )

    def pad(self, features: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
        """Stack the columns of a list of rows, padded.

        Raises:
            ValueError: Rows that cannot be brought to one length, with the name of their column.

        """
        columns = {name: [row[name] for row in features] for name in features[0]}
        if self.main not in columns:
            raise ValueError(f"features: no column {self.main!r} among {sorted(columns)}")
        lengths = row_lengths(self.main, columns[self.main])
        if self.adds_attention_mask and "attention_mask" not in columns:
            columns["attention_mask"] = [np.ones(length, np.int64) for length in lengths]
        width = self.width(int(lengths.max()))
        fills = {} if self.strategy == "do_not_pad" else self.fills
        return {
            name: pad_rows(name, rows, width, fills[name], self.side, like=(self.main, lengths))
            if name in fills
            else as_array(name, rows)
            for name, rows in columns.items()
        }


def padding_rule(
    tokenizer: Any,
    padding: bool | str | PaddingStrategy = True,
    max_length: int | None = None,
    pad_to_multiple_of: int | None = None,
) -> PaddingRule | None:
    """Give the rule by which ``tokenizer.pad`` pads, or ``None`` where it has one of its own."""
    if getattr(type(tokenizer), "_pad", None) is not _STANDARD_PAD:
        return None
    if isinstance(padding, bool):
        padding = "longest" if padding else "do_not_pad"
    strategy = PaddingStrategy(padding).value
    if strategy == "max_length" and max_length is None:
        if tokenizer.model_max_length < _NO_LIMIT:
            max_length = tokenizer.model_max_length
        else:
            strategy = "do_not_pad"
    main = tokenizer.model_input_names[0]
    return PaddingRule(
        strategy=strategy,
        max_length=max_length,
        multiple=pad_to_multiple_of,
        side=tokenizer.padding_side,
        main=main,
        fills={
            main: tokenizer.pad_token_id,
            "attention_mask": 0,
            "token_type_ids": tokenizer.pad_token_type_id,
            "special_tokens_mask": 1,
            # LED adds 1 to it and multiplies: 0 would mean "attends locally", not "is padding".
            "global_attention_mask": -1,
        },
        adds_attention_mask="attention_mask" in tokenizer.model_input_names,
    )


def pad_features(
    tokenizer: Any,
    features: Sequence[Mapping[str, Any]],
    padding: bool | str | PaddingStrategy = True,
    max_length: int | None = None,
    pad_to_multiple_of: int | None = None,
) -> dict[str, np.ndarray]:
    """Do what ``tokenizer.pad(..., return_tensors="np")`` does, for the whole batch at once."""
    rule = padding_rule(tokenizer, padding, max_length, pad_to_multiple_of)
    if rule is not None:
        return rule.pad(features)
    batch = tokenizer.pad(
        list(features),
        padding=padding,
        max_length=max_length,
        pad_to_multiple_of=pad_to_multiple_of,
        return_tensors="np",
    )
    return {name: as_array(name, rows) for name, rows in batch.items()}


def pad_rows(
    name: str,
    rows: Sequence[Any],
    width: int,
    fill: int | None,
    side: str,
    like: tuple[str | None, np.ndarray] | None = None,
) -> np.ndarray:
    """Stack rows of ``[length, ...]`` to ``[len(rows), width, ...]``.

    Args:
        name: The column, for error messages.
        rows: Lists, arrays or tensors.
        width: The length of every row of the result.
        fill: What is put where a row ends; ``None`` is an error if there is such a place.
        side: Where to put it, ``"right"`` or ``"left"``.
        like: The name and the lengths of a column whose rows must be as long as these.

    """
    lengths = row_lengths(name, rows)
    if like is not None and not np.array_equal(lengths, like[1]):
        raise ValueError(f"features: rows of {name!r} are not as long as those of {like[0]!r}")
    if lengths.max() > width:
        raise ValueError(
            f"features: a row of {name!r} is {lengths.max()} long and the batch {width}: truncate "
            "when you tokenize, or pad to a greater length"
        )
    if fill is None and lengths.min() < width:
        raise ValueError(
            "tokenizer: it has no padding token. Choose one first, for example "
            "tokenizer.pad_token = tokenizer.eos_token"
        )
    filled = [np.asarray(row) for row, length in zip(rows, lengths) if length]
    flat = _standard_type(np.concatenate(filled) if filled else np.zeros(0, np.int64))
    position = np.arange(width)
    inside = position < lengths[:, None]
    if side == "left":
        inside = position >= width - lengths[:, None]
    padded = np.full((len(rows), width, *flat.shape[1:]), fill or 0, flat.dtype)
    padded[inside] = flat
    return padded


def as_array(name: str, rows: Any) -> np.ndarray:
    """Stack rows that all have the same shape."""
    try:
        array = np.asarray([row.numpy() for row in rows] if hasattr(rows[0], "numpy") else rows)
    except ValueError:
        array = np.empty(0, object)
    if array.dtype == object:
        raise ValueError(
            f"features: the rows of {name!r} have different lengths or hold no numbers, and no "
            "rule pads them. Remove the column, or use the collator made for it."
        )
    return _standard_type(array)


def row_lengths(name: str | None, rows: Sequence[Any]) -> np.ndarray:
    """Give the length of each row of a column, int64."""
    try:
        return np.fromiter(map(len, rows), np.int64, len(rows))
    except TypeError:
        raise ValueError(f"features: expected lists in {name!r}, got {rows[0]!r}") from None


def round_up(length: Any, multiple: int | None) -> Any:
    """Give the next multiple at or above a length, an int or an integer tensor."""
    return length if multiple is None else -(-length // multiple) * multiple


def _standard_type(array: np.ndarray) -> np.ndarray:
    standard = {"i": np.int64, "u": np.int64, "f": np.float32}.get(array.dtype.kind)
    return array if standard is None else array.astype(standard, copy=False)
