"""What TensorBoard shows of a training beside Keras's own curves.

Pictures are drawn here, one coloured cell for each number, so that no drawing library is needed;
texts beside them have the names and the numbers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

#: Pixels of a cell of a picture.
CELL = 16
#: From nothing to all: white to dark blue, as red, green and blue.
WHITE, BLUE = np.array([255, 255, 255]), np.array([8, 48, 107])


class LogWriter:
    """Write numbers for TensorBoard: those that begin with ``eval_`` as ``eval/…``.

    Args:
        log_dir: the folder that ``tensorboard --logdir`` is given.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> LogWriter(folder).write({"loss": 0.5, "eval_accuracy": 0.9}, step=10)
        >>> len(os.listdir(folder))
        1
    """

    def __init__(self, log_dir: str | os.PathLike[str]) -> None:
        self.log_dir = os.fspath(log_dir)
        self._writer: Any = None

    def write(self, logs: Mapping[str, Any], step: int) -> None:
        """Write the numbers among ``logs``, as those after ``step`` updates."""
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(self.log_dir)
        with self._writer.as_default():
            for name, value in logs.items():
                group, _, rest = name.partition("_")
                shown = f"{group}/{rest}" if group in ("eval", "test") else f"train/{name}"
                if isinstance(value, int | float | np.number):
                    tf.summary.scalar(shown, float(value), step)
        self._writer.flush()


class TensorBoardExamples(keras.callbacks.Callback):
    """Show in TensorBoard, after each epoch, what a classifier makes of a few examples.

    Texts with their labels and predictions, the confusion matrix, and where the tokens of the first
    example look: one picture per layer, the mean over the heads.

    Args:
        log_dir: the folder that ``tensorboard --logdir`` is given.
        dataset: batches of inputs and labels, as ``fit`` takes them; all of it is predicted.
        tokenizer: turns ids into texts; None: no texts.
        label_names: of the classes; default: the model's ``config.id2label``.
        examples: how many texts are shown.
        attention: whether to show attention pictures.

    Example:
        >>> data = tf.data.Dataset.from_tensors(({"input_ids": [[1, 2]]}, [1]))
        >>> TensorBoardExamples("runs/logs", data, attention=False).examples
        8
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str],
        dataset: tf.data.Dataset,
        tokenizer: Any = None,
        label_names: Sequence[str] | None = None,
        examples: int = 8,
        attention: bool = True,
    ) -> None:
        super().__init__()
        self.log_dir = os.fspath(log_dir)
        self.dataset = dataset
        self.tokenizer = tokenizer
        self.label_names = label_names
        self.examples = examples
        self.attention = attention
        self._writer: Any = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Predict the dataset and write everything."""
        labels: list[Any] = []
        predictions: list[Any] = []
        rows: list[Any] = []
        for data in self.dataset:
            features, found = self.model.named_batch(data)
            logits = self.model.predict_on_batch(features).logits
            labels.extend(np.reshape(next(iter(found.values())), -1))
            predictions.extend(np.argmax(logits, axis=-1).reshape(-1))
            if self.tokenizer is not None and len(rows) < self.examples:
                rows.extend(self.tokenizer.batch_decode(features["input_ids"], True))
        names = self.label_names or self._configured_names()
        matrix = confusion_matrix(labels, predictions, len(names))
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(self.log_dir)
        with self._writer.as_default(step=epoch):
            tf.summary.image("confusion_matrix", heat_map(_shares(matrix))[None])
            tf.summary.text("confusion_matrix_counts", _matrix_table(matrix, names))
            if rows:
                table = zip(rows[: self.examples], labels, predictions)
                shown = [(text, names[label], names[guess]) for text, label, guess in table]
                tf.summary.text("examples", markdown_table(("text", "label", "prediction"), shown))
            if self.attention:
                self._write_attention()
        self._writer.flush()

    def _write_attention(self) -> None:
        features, _ = self.model.named_batch(next(iter(self.dataset)))
        first = {name: value[:1] for name, value in features.items()}
        attentions = self.model(first, output_attentions=True).attentions
        for layer, weights in enumerate(attentions):
            picture = heat_map(np.mean(weights[0], axis=0))
            tf.summary.image(f"attention/layer_{layer}", picture[None])

    def _configured_names(self) -> list[str]:
        return [self.model.config.id2label[i] for i in range(self.model.config.num_labels)]


def confusion_matrix(labels: Sequence[int], predictions: Sequence[int], size: int) -> np.ndarray:
    """Count how often each label (row) was taken for each class (column); -100 does not count.

    Returns:
        int64 [size, size].

    Example:
        >>> confusion_matrix([0, 1, 1, -100], [0, 1, 0, 1], 2).tolist()
        [[1, 0], [1, 1]]
    """
    matrix = np.zeros((size, size), np.int64)
    label_array, prediction_array = np.asarray(labels), np.asarray(predictions)
    counted = label_array >= 0
    np.add.at(matrix, (label_array[counted], prediction_array[counted]), 1)
    return matrix


def heat_map(values: np.ndarray) -> np.ndarray:
    """Draw numbers from 0 to 1 as cells from white to blue.

    Args:
        values: [rows, columns].

    Returns:
        uint8 [rows * 16, columns * 16, 3].

    Example:
        >>> heat_map(np.array([[0.0, 1.0]])).shape
        (16, 32, 3)
    """
    cells = np.kron(np.clip(values, 0, 1), np.ones((CELL, CELL)))[..., None]
    return np.round(WHITE + cells * (BLUE - WHITE)).astype(np.uint8)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Write a table as TensorBoard's texts show it.

    Example:
        >>> print(markdown_table(["text", "label"], [["a | b", 1]]))
        | text | label |
        |---|---|
        | a \\| b | 1 |
    """
    lines = [header, *rows]
    text = ["| " + " | ".join(str(c).replace("|", "\\|") for c in line) + " |" for line in lines]
    return "\n".join([text[0], "|" + "---|" * len(header), *text[1:]])


def _shares(matrix: np.ndarray) -> np.ndarray:
    return matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)


def _matrix_table(matrix: np.ndarray, names: Sequence[str]) -> str:
    rows = [(name, *counts) for name, counts in zip(names, matrix.tolist())]
    return markdown_table(("label \\ prediction", *names), rows)
