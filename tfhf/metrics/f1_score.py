"""F1Score: a Keras metric that Keras lacks."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

AVERAGES = ("binary", "macro", "micro", "weighted")
IGNORED_LABEL = -100


@keras.saving.register_keras_serializable("tfhf")
class F1Score(keras.metrics.Metric):
    """The F1 score of scores per class and integer labels, as ``sklearn.metrics.f1_score``.

    ``keras.metrics.F1Score`` takes one-hot labels, and adds a constant to its denominators. Labels
    of -100 are not counted, as in the losses.

    Args:
        num_labels: the number of classes.
        average: "binary" is the F1 of class 1 out of two; "macro" the mean over the classes that
            occur among labels or predictions; "weighted" the mean weighted by the classes' labels;
            "micro" that of all decisions together, which is the accuracy.
        name: the name in the logs.
        dtype: of the result; float32 by default.

    Raises:
        ValueError: an unknown ``average``; "binary" with ``num_labels`` other than 2; scores whose
            last axis is not ``num_labels``.

    Example:
        >>> metric = F1Score()
        >>> metric.update_state([1, 1, 0], [[0.1, 2.0], [0.3, -1.0], [1.0, 0.0]])
        >>> round(float(metric.result()), 6)
        0.666667
    """

    def __init__(
        self,
        num_labels: int = 2,
        average: str = "binary",
        name: str = "f1",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        if average not in AVERAGES:
            raise ValueError(f"average must be one of {AVERAGES}, but it is {average!r}")
        if average == "binary" and num_labels != 2:
            raise ValueError(f"average 'binary' needs num_labels = 2, but it is {num_labels}")
        self.num_labels = num_labels
        self.average = average
        self._direction = "up"
        self.correct, self.predicted, self.labelled = (
            self.add_variable(shape=(num_labels,), initializer="zeros", name=name)
            for name in ("correct", "predicted", "labelled")
        )

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count one batch.

        Args:
            y_true: integer labels [...].
            y_pred: scores [..., num_labels], of any scale; the largest one decides.
            sample_weight: weights that broadcast to the labels' shape.
        """
        y_true, y_pred = tf.convert_to_tensor(y_true), tf.convert_to_tensor(y_pred)
        if y_pred.shape[-1] != self.num_labels:
            raise ValueError(
                f"y_pred must be scores [..., num_labels = {self.num_labels}], "
                f"but its shape is {tuple(y_pred.shape)}"
            )
        labels = tf.reshape(tf.cast(y_true, tf.int64), tf.shape(y_pred)[:-1])
        decisions = tf.argmax(y_pred, axis=-1)
        weights = tf.cast(labels != IGNORED_LABEL, self.dtype)
        if sample_weight is not None:
            weights *= tf.cast(sample_weight, self.dtype)
        hits = tf.where(labels == decisions, weights, 0)
        # Segments below 0, the ignored labels, are left out.
        self.correct.assign_add(tf.math.unsorted_segment_sum(hits, labels, self.num_labels))
        self.predicted.assign_add(tf.math.unsorted_segment_sum(weights, decisions, self.num_labels))
        self.labelled.assign_add(tf.math.unsorted_segment_sum(weights, labels, self.num_labels))

    def result(self) -> tf.Tensor:
        """Return the score of everything counted so far, 0 to 1: a scalar."""
        decided = self.predicted + self.labelled
        if self.average == "micro":
            return tf.math.divide_no_nan(2 * tf.reduce_sum(self.correct), tf.reduce_sum(decided))
        scores = tf.math.divide_no_nan(2 * self.correct.value, decided)
        if self.average == "binary":
            return scores[1]
        if self.average == "macro":
            weights = tf.cast(decided > 0, self.dtype)
        else:
            weights = self.labelled.value
        return tf.math.divide_no_nan(tf.reduce_sum(scores * weights), tf.reduce_sum(weights))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments."""
        return super().get_config() | {"num_labels": self.num_labels, "average": self.average}
