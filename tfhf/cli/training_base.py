"""What each task that can be trained from the command line says of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import datasets
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from tfhf.cli.training_data import with_names

Columns = dict[str, list[Any]]
Answer = dict[str, Any]


class TrainingTask:
    """A task that can be trained.

    Args:
        name: what the command line calls it.
        tokenizer: that of the checkpoint.
        config: that of the checkpoint; `learn_labels` writes the names of labels into it.
        max_length: tokens; the rest of a text is cut off.

    Attributes:
        inputs: the columns that must be there.
        target: the column that is learnt, where it is not the inputs.
        outputs: how many outputs of a model are its answer.
        can_answer: whether there are `answers`.
        can_measure: whether there are `metrics`.
    """

    inputs: ClassVar[tuple[str, ...]] = ("text",)
    target: ClassVar[str | None] = None
    outputs: ClassVar[int] = 1
    can_answer: ClassVar[bool] = True
    can_measure: ClassVar[bool] = True

    def __init__(
        self,
        name: str,
        tokenizer: PreTrainedTokenizerBase,
        config: PretrainedConfig,
        max_length: int,
    ) -> None:
        self.name = name
        self.tokenizer = tokenizer
        self.config = config
        self.max_length = max_length

    def learn_labels(self, rows: datasets.Dataset) -> None:
        """Write into the configuration what labels the rows to train on have."""

    def tokenize(self, rows: datasets.Dataset, with_target: bool = True) -> datasets.Dataset:
        """Return what the model reads, and the labels.

        Raises:
            ValueError: a column is missing, or has what the task cannot read.
        """
        target = [self.target] if self.target and with_target else []
        for column in [*self.inputs, *target]:
            self._require(rows, column)
        if target:
            rows = with_names(rows, target[0])
        elif self.target in rows.column_names:
            rows = rows.remove_columns(self.target)
        return rows.map(self.encode, batched=True, remove_columns=rows.column_names)

    def encode(self, rows: Columns) -> Mapping[str, list[Any]]:
        """Tokenize some rows."""
        raise NotImplementedError

    def collator(self, model: Any) -> Callable | None:
        """Return what makes batches; ``None``: padding is all."""
        return None

    def metrics(self, predictions: Any, labels: Any) -> dict[str, float]:
        """Return how good predictions are."""
        raise NotImplementedError

    def answers(self, predictions: Any, tokens: datasets.Dataset) -> Iterator[Answer]:
        """Yield what predictions mean, row by row."""
        raise NotImplementedError

    def _require(self, rows: datasets.Dataset, column: str) -> None:
        if column not in rows.column_names:
            raise ValueError(
                f"{self.name} needs the column {column!r}, but there is "
                f"{', '.join(rows.column_names)}: pass --column {column}=…"
            )
        if None in rows[column]:
            raise ValueError(f"the column {column!r} has rows without a value")
