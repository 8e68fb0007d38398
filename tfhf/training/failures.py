"""What cannot end well in a training, told in plain words before time is lost."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from tfhf.keras_model import LOST

#: A loss is out of all bounds at so many times the first one (at least 1).
EXPLOSION = 1000.0


class StopOnBadLoss(keras.callbacks.Callback):
    """Stop ``fit`` with an explanation when the loss is no number any more, or explodes.

    Raises:
        FloatingPointError: in ``fit``, after the batch that showed it.

    Example:
        >>> callback = StopOnBadLoss()
        >>> callback.on_epoch_begin(0)
        >>> callback.on_train_batch_end(0, {"loss": 0.7})
        >>> callback.on_train_batch_end(1, {"loss": float("nan")})
        Traceback (most recent call last):
        ...
        FloatingPointError: the loss was 0.7 and is nan after batch 2 of epoch 1 and training ...
    """

    def __init__(self) -> None:
        super().__init__()
        self._first: float | None = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Begin a new mean of losses."""
        self._epoch, self._last, self._seen = epoch, 0.0, 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Look at the loss of the last batches, which Keras tells as the epoch's mean so far."""
        mean, seen = float((logs or {}).get("loss", 0.0)), batch + 1
        loss = (mean * seen - self._last * self._seen) / max(1, seen - self._seen)
        limit = math.inf if self._first is None else EXPLOSION * max(1.0, abs(self._first))
        if not math.isfinite(loss) or abs(loss) > limit:
            before = "" if self._first is None else f"was {self._last or self._first:.4g} and "
            raise FloatingPointError(
                f"the loss {before}is {loss:.4g} after batch {seen} of epoch {self._epoch + 1} "
                + LOST
            )
        self._first = loss if self._first is None else self._first
        self._last, self._seen = mean, seen


def require_labels(model: Any, dataset: tf.data.Dataset, argument: str) -> None:
    """Check that a dataset has rows, and the labels that a model's own loss needs.

    Args:
        model: a model of tfhf.
        dataset: batches as ``fit`` takes them; what is no dataset is not looked at.
        argument: its name in messages.

    Raises:
        ValueError: it is empty, or has no labels.
    """
    if not isinstance(dataset, tf.data.Dataset):
        return
    if int(dataset.cardinality()) == 0:
        raise ValueError(f"{argument} is empty")
    parts = dataset.element_spec
    features, *rest = parts if isinstance(parts, tuple) else (parts,)
    names = [*features] if isinstance(features, dict) else [model.main_input_name]
    if rest or any(name in names for name in model.label_outputs):
        return
    raise ValueError(
        f"{argument} has no labels: {type(model).__name__} needs {[*model.label_outputs]} to have "
        f"a loss, but the inputs are {names}. Name the column so; predict needs none"
    )


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Let failed checks of a graph say only what they check.

    Raises:
        FloatingPointError: the loss is no number.
        tf.errors.InvalidArgumentError: another of ``tfhf.layers.checks`` failed.
    """
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        # TensorFlow writes each part of the message in brackets.
        failed = re.search(r"assertion failed: \[(.*?)\]$", str(error), re.MULTILINE)
        message = str(error) if failed is None else failed[1].replace("] [", " ")
        if LOST in message:
            raise FloatingPointError(message) from error
        if failed is None:
            raise
        raise tf.errors.InvalidArgumentError(None, None, message) from error
