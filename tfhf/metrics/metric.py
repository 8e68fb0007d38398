"""Metric: predictions and references, given at once or batch by batch, then judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


class Metric:
    """A metric, as the ``evaluate`` library has them.

    Args:
        name: what it is called.
        function: takes the lists ``predictions`` and ``references``, and settings by name; returns
            the results by name.
        needs_references: whether predictions are compared with anything.

    Example:
        >>> metric = Metric("hits", lambda predictions, references: {
        ...     "hits": sum(a == b for a, b in zip(predictions, references))})
        >>> metric.add_batch(predictions=[1, 2], references=[1, 3])
        >>> metric.add(prediction=4, reference=4)
        >>> metric.compute()
        {'hits': 2}
    """

    def __init__(
        self, name: str, function: Callable[..., dict[str, Any]], needs_references: bool = True
    ) -> None:
        self.name = name
        self.function = function
        self.needs_references = needs_references
        self._predictions: list[Any] = []
        self._references: list[Any] = []

    def __repr__(self) -> str:
        return f"Metric({self.name!r}, {len(self._predictions)} predictions so far)"

    def add(self, *, prediction: Any, reference: Any = None) -> None:
        """Remember one prediction, and what would have been right."""
        self.add_batch(
            predictions=[prediction], references=[reference] if self.needs_references else None
        )

    def add_batch(self, *, predictions: Any, references: Any = None) -> None:
        """Remember a batch of predictions, and what would have been right.

        Args:
            predictions: a list, array or tensor with one item for each example.
            references: as many.

        Raises:
            ValueError: there are not as many references as predictions.
        """
        predictions = as_list(predictions)
        if self.needs_references:
            references = [] if references is None else as_list(references)
            if len(predictions) != len(references):
                raise ValueError(
                    f"references of the metric {self.name} must be as many as predictions: "
                    f"{len(predictions)}, but they are {len(references)}"
                )
            self._references += references
        elif references is not None:
            raise ValueError(f"the metric {self.name} takes no references")
        self._predictions += predictions

    def compute(
        self, *, predictions: Any = None, references: Any = None, **settings: Any
    ) -> dict[str, Any]:
        """Judge what was added, and these, and forget all of it.

        Args:
            predictions: as for :meth:`add_batch`.
            references: as for :meth:`add_batch`.
            **settings: what this metric can be told.

        Returns:
            The results by name.

        Raises:
            ValueError: nothing was given to judge.
        """
        if predictions is not None or references is not None:
            self.add_batch(
                predictions=[] if predictions is None else predictions, references=references
            )
        if not self._predictions:
            raise ValueError(f"predictions of the metric {self.name} are empty: nothing to judge")
        given = {"predictions": self._predictions}
        if self.needs_references:
            given["references"] = self._references
        try:
            return self.function(**given, **settings)
        finally:
            self._predictions, self._references = [], []


def as_list(items: Any) -> list[Any]:
    """Return a list of Python values: of a tensor or an array, its rows."""
    if isinstance(items, np.ndarray) or not isinstance(items, Sequence):
        return np.asarray(items).tolist()
    return [item.item() if isinstance(item, np.generic) else item for item in items]
