"""Cross-entropy with smoothed labels."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfhf.layers.replicas import weighted_mean
from tfhf.losses import IGNORED


@keras.saving.register_keras_serializable("tfhf")
class LabelSmoother(keras.losses.Loss):
    """Cross-entropy with labels of which a part is spread over all classes.

    Source: Szegedy et al., 2016, https://arxiv.org/abs/1512.00567; the same numbers as
    ``transformers.Trainer`` with ``label_smoothing_factor``.

    Args:
        factor: how large a part, 0 to 1.
        shift: whether a score is compared with the label that follows: for causal language models.
        name: the Keras name.

    Example:
        >>> loss = LabelSmoother(0.1)
        >>> round(float(loss([0, -100], [[2.0, 0.0], [0.0, 0.0]])), 4)
        0.2269
    """

    #: On replicas, values add up to that of the global batch, as with models' own losses.
    adds_up = True

    def __init__(self, factor: float, shift: bool = False, name: str = "label_smoother") -> None:
        super().__init__(name=name, reduction="none", dtype="float32")
        self.factor = factor
        self.shift = shift

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Return the mean over the labels [...] that are not -100; scores are [..., classes]."""
        labels, scores = tf.cast(y_true, tf.int32), tf.cast(y_pred, tf.float32)
        if self.shift:
            labels, scores = labels[:, 1:], scores[:, :-1]
        labels = tf.reshape(labels, tf.shape(scores)[:-1])
        counted = labels != IGNORED
        costs = -tf.nn.log_softmax(scores)
        own = tf.gather(costs, tf.where(counted, labels, 0), axis=-1, batch_dims=labels.shape.rank)
        losses = (1 - self.factor) * own + self.factor * tf.reduce_mean(costs, axis=-1)
        return weighted_mean(losses, tf.cast(counted, tf.float32))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments."""
        return {"factor": self.factor, "shift": self.shift, "name": self.name}
