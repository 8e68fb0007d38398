"""Collators that stack or pad rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf
from transformers import PreTrainedTokenizerBase
from transformers.utils import PaddingStrategy

from tfhf.data.padding import (
    PaddingRule,
    as_array,
    pad_features,
    pad_rows,
    padding_rule,
    round_up,
    row_lengths,
)

Batch = dict[str, Any]
"""Column name -> tensor or array whose first axis is the batch."""


class Collator:
    """Base of the collators: a list of rows in, a batch of tensors out.

    A subclass collates in NumPy; tensors are made once, at the end. Integers are int64 and floats
    float32 in both.
    """

    return_tensors: str

    def __call__(self, features: Sequence[Any], return_tensors: str | None = None) -> Batch:
        """Collate rows.

        Args:
            features: The rows: mappings from column names to values.
            return_tensors: ``"tf"`` or ``"np"``, instead of the collator's own.

        Raises:
            ValueError: No rows, rows that do not fit together, or another kind of tensors.

        """
        wanted = return_tensors or self.return_tensors
        if wanted not in ("tf", "np"):
            raise ValueError(f'return_tensors: expected "tf" or "np", got {wanted!r}')
        if len(features) == 0:
            raise ValueError("features: expected at least one row, got none")
        batch = self.collate(features)
        if wanted == "np":
            return batch
        return {name: tf.convert_to_tensor(array) for name, array in batch.items()}

    def collate(self, features: Sequence[Any]) -> dict[str, np.ndarray]:
        """Make the batch as arrays."""
        raise NotImplementedError

    def padding_rule(self) -> PaddingRule | None:
        """Give the rule if this collator does no more than pad by it and name labels ``labels``."""
        return None


@dataclass
class DefaultDataCollator(Collator):
    """Stacks columns whose rows have equal shapes; ``label`` or ``label_ids`` becomes ``labels``.

    Columns of strings and of ``None`` are left out.

    Example:
        >>> batch = DefaultDataCollator()([{"x": [1, 2], "label": 0}, {"x": [3, 4], "label": 1}])
        >>> {name: tensor.shape.as_list() for name, tensor in batch.items()}
        {'x': [2, 2], 'labels': [2]}

    """

    return_tensors: str = "tf"

    def collate(self, features: Sequence[Any]) -> dict[str, np.ndarray]:
        """Make the batch as arrays."""
        rows = [row if isinstance(row, Mapping) else vars(row) for row in features]
        names = [name for name, value in rows[0].items() if not isinstance(value, str | None)]
        batch = {name: as_array(name, [row[name] for row in rows]) for name in names}
        return _name_labels(batch)

    def padding_rule(self) -> PaddingRule:
        """Give the rule that pads nothing."""
        return PaddingRule()


def default_data_collator(features: Sequence[Any], return_tensors: str = "tf") -> Batch:
    """Collate rows as ``DefaultDataCollator`` does."""
    return DefaultDataCollator(return_tensors)(features)


@dataclass
class DataCollatorWithPadding(Collator):
    """Pads tokenized rows to one length, as ``tokenizer.pad`` does.

    Attributes:
        tokenizer: A tokenizer of Transformers, loaded by tfhf or not.
        padding: ``True`` or ``"longest"``: to the longest row of the batch. ``"max_length"``: to
            ``max_length``, or to the tokenizer's own limit. ``False``: rows are equally long.
        max_length: See ``padding``.
        pad_to_multiple_of: Lengths are rounded up to a multiple of this.
        return_tensors: ``"tf"`` or ``"np"``.

    Example:
        >>> from transformers import BertTokenizer
        >>> tokenizer = BertTokenizer(vocab={"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3})
        >>> rows = [{"input_ids": [2, 3], "label": 1}, {"input_ids": [2, 1, 3], "label": 0}]
        >>> DataCollatorWithPadding(tokenizer)(rows)["input_ids"].numpy().tolist()
        [[2, 3, 0], [2, 1, 3]]

    """

    tokenizer: PreTrainedTokenizerBase
    padding: bool | str | PaddingStrategy = True
    max_length: int | None = None
    pad_to_multiple_of: int | None = None
    return_tensors: str = "tf"

    def collate(self, features: Sequence[Any]) -> dict[str, np.ndarray]:
        """Make the batch as arrays."""
        return _name_labels(_pad(self, features))

    def padding_rule(self) -> PaddingRule | None:
        """Give the tokenizer's rule."""
        return _rule(self)


@dataclass
class DataCollatorForTokenClassification(Collator):
    """Pads tokenized rows, and their label per token with ``label_pad_token_id``.

    Attributes as in ``DataCollatorWithPadding``.
    """

    tokenizer: PreTrainedTokenizerBase
    padding: bool | str | PaddingStrategy = True
    max_length: int | None = None
    pad_to_multiple_of: int | None = None
    label_pad_token_id: int = -100
    return_tensors: str = "tf"

    def collate(self, features: Sequence[Any]) -> dict[str, np.ndarray]:
        """Make the batch as arrays."""
        features, labels = _take_labels(features)
        batch = _pad(self, features)
        if labels is not None:
            width = batch["input_ids"].shape[1]
            side = self.tokenizer.padding_side
            batch["labels"] = pad_rows("labels", labels, width, self.label_pad_token_id, side)
        return batch

    def padding_rule(self) -> PaddingRule | None:
        """Give the tokenizer's rule, with labels."""
        rule = _rule(self)
        if rule is None:
            return None
        return replace(rule, fills={**rule.fills, "labels": self.label_pad_token_id})


@dataclass
class DataCollatorForSeq2Seq(Collator):
    """Pads tokenized inputs, and labels to their own length with ``label_pad_token_id``.

    Attributes:
        model: If given, ``model.prepare_decoder_input_ids_from_labels(labels=...)`` makes
            ``decoder_input_ids``. The others are as in ``DataCollatorWithPadding``.

    """

    tokenizer: PreTrainedTokenizerBase
    model: Any | None = None
    padding: bool | str | PaddingStrategy = True
    max_length: int | None = None
    pad_to_multiple_of: int | None = None
    label_pad_token_id: int = -100
    return_tensors: str = "tf"

    def collate(self, features: Sequence[Any]) -> dict[str, np.ndarray]:
        """Make the batch as arrays."""
        features, labels = _take_labels(features)
        batch = _pad(self, features)
        if labels is None:
            return batch
        if self.padding in (False, "do_not_pad"):
            batch["labels"] = as_array("labels", labels)
        else:
            longest = int(row_lengths("labels", labels).max())
            width = self.max_length if self.padding == "max_length" else None
            width = round_up(longest if width is None else width, self.pad_to_multiple_of)
            side = self.tokenizer.padding_side
            batch["labels"] = pad_rows("labels", labels, width, self.label_pad_token_id, side)
        shift = getattr(self.model, "prepare_decoder_input_ids_from_labels", None)
        if shift is not None:
            batch["decoder_input_ids"] = np.asarray(shift(labels=tf.constant(batch["labels"])))
        return batch


@dataclass
class DataCollatorForMultipleChoice(Collator):
    """Pads every choice of every row to one length: ``[batch, choices, length]``.

    The rows hold one list per choice; attributes are as in ``DataCollatorWithPadding``.
    """

    tokenizer: PreTrainedTokenizerBase
    padding: bool | str | PaddingStrategy = True
    max_length: int | None = None
    pad_to_multiple_of: int | None = None
    return_tensors: str = "tf"

    def collate(self, features: Sequence[Any]) -> dict[str, np.ndarray]:
        """Make the batch as arrays."""
        features, labels = _take_labels(features)
        choices = {len(row["input_ids"]) for row in features}
        if len(choices) > 1:
            raise ValueError(f"features: rows have different numbers of choices: {sorted(choices)}")
        (count,) = choices
        flat = [
            {name: value[choice] for name, value in row.items()}
            for row in features
            for choice in range(count)
        ]
        batch = {
            name: array.reshape(len(features), count, *array.shape[1:])
            for name, array in _pad(self, flat).items()
        }
        if labels is not None:
            batch["labels"] = as_array("labels", labels)
        return batch


def _rule(collator: Any) -> PaddingRule | None:
    return padding_rule(
        collator.tokenizer, collator.padding, collator.max_length, collator.pad_to_multiple_of
    )


def _pad(collator: Any, features: Sequence[Any]) -> dict[str, np.ndarray]:
    return pad_features(
        collator.tokenizer,
        features,
        collator.padding,
        collator.max_length,
        collator.pad_to_multiple_of,
    )


def _name_labels(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    for name in ("label", "label_ids"):
        if name in batch:
            batch["labels"] = batch.pop(name)
    return batch


def _take_labels(features: Sequence[Any]) -> tuple[list[dict[str, Any]], list[Any] | None]:
    """Separate the labels from the rows; ``None`` where there are none."""
    name = "label" if "label" in features[0] else "labels"
    rows = [{key: value for key, value in row.items() if key != name} for row in features]
    if features[0].get(name) is None:
        return rows, None
    return rows, [row[name] for row in features]
