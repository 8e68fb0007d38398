"""Losses that models compute from ``labels``, equal to those of the PyTorch classes.

All are scalars in float32: the mean over the examples, or over the tokens that are not ignored.
On a replica of a ``tf.distribute`` strategy, its share of the mean over the global batch.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfhf.layers.checks import require_range
from tfhf.layers.replicas import weighted_mean

IGNORED = -100


def cross_entropy(
    labels: tf.Tensor, logits: tf.Tensor, *, argument: str = "labels", ignored: Any = IGNORED
) -> tf.Tensor:
    """Mean cross-entropy of class indices; rows labelled ``ignored`` do not count.

    Args:
        labels: integers [...], or [..., 1].
        logits: [..., classes].
        argument: the name of ``labels`` in error messages.
        ignored: the label that is left out. Where all are left out the loss is 0.

    Raises:
        ValueError: the labels are of another shape.
        tf.errors.InvalidArgumentError: a label is outside 0 to classes - 1, on every device; or the
            number of labels, where it was unknown at tracing.

    Example:
        >>> float(cross_entropy(tf.constant([0, -100]), tf.zeros((2, 4))))  # log 4
        1.3862943649291992
    """
    rows, given = logits.shape[:-1], labels.shape
    if not (given.is_compatible_with(rows) or given.is_compatible_with(rows.concatenate(1))):
        raise ValueError(f"{argument} must be of shape {rows}, but their shape is {given}")
    classes = tf.shape(logits)[-1]
    labels = tf.reshape(tf.cast(labels, tf.int32), [-1])
    logits = tf.reshape(tf.cast(logits, tf.float32), [-1, classes])
    counted = tf.not_equal(labels, ignored)
    labels = require_range(tf.where(counted, labels, 0), classes, argument)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    return weighted_mean(losses, tf.cast(counted, tf.float32))


def causal_lm_loss(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of each next token: labels are shifted here. [batch, length], and + [vocab]."""
    return cross_entropy(labels[:, 1:], logits[:, :-1])


def replaced_token_loss(
    labels: tf.Tensor, logits: tf.Tensor, attention_mask: tf.Tensor | None
) -> tf.Tensor:
    """Binary cross-entropy of ELECTRA's discriminator: which tokens were replaced (1)?

    Args:
        labels: [batch, length], each 0 or 1.
        logits: [batch, length].
        attention_mask: [batch, length], 1 for the tokens that count; ``None``: all do.

    Raises:
        ValueError: labels or mask are of another shape.
        tf.errors.InvalidArgumentError: a label is neither 0 nor 1.

    Example:
        >>> float(replaced_token_loss(tf.constant([[1, 0]]), tf.zeros((1, 2)), None))  # log 2
        0.6931471824645996
    """
    for argument, value in {"labels": labels, "attention_mask": attention_mask}.items():
        if value is not None and not value.shape.is_compatible_with(logits.shape):
            raise ValueError(
                f"{argument} must be [batch, length] = {logits.shape}, "
                f"but the shape is {value.shape}"
            )
    targets = tf.cast(require_range(labels, 2, "labels"), tf.float32)
    losses = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)
    if attention_mask is None:
        return weighted_mean(losses)
    return weighted_mean(losses, tf.cast(tf.equal(attention_mask, 1), tf.float32))


def sequence_classification_loss(labels: tf.Tensor, logits: tf.Tensor, config: Any) -> tf.Tensor:
    """Loss by ``config.problem_type``, guessed as Transformers does where it is not set.

    One label: mean squared error. Integer labels: cross-entropy. Else several labels at a time:
    binary cross-entropy, with labels [batch, num_labels] of zeros and ones.

    Raises:
        ValueError: an unknown problem type, or labels whose shape does not fit it.
    """
    problem_type = getattr(config, "problem_type", None)
    if problem_type is None:
        if config.num_labels == 1:
            problem_type = "regression"
        elif labels.dtype.is_integer:
            problem_type = "single_label_classification"
        else:
            problem_type = "multi_label_classification"
    if problem_type == "single_label_classification":
        return cross_entropy(labels, logits)
    logits = tf.cast(logits, tf.float32)
    targets = tf.cast(labels, tf.float32)
    if problem_type == "regression" and config.num_labels == 1:
        return weighted_mean(tf.square(tf.reshape(logits, [-1]) - tf.reshape(targets, [-1])))
    if not targets.shape.is_compatible_with(logits.shape):
        raise ValueError(
            f"labels of a {problem_type} must be [batch, num_labels] = {logits.shape}, but their "
            f"shape is {targets.shape} (labels that are classes must be integers)"
        )
    if problem_type == "regression":
        return weighted_mean(tf.square(logits - targets))
    if problem_type == "multi_label_classification":
        return weighted_mean(tf.nn.sigmoid_cross_entropy_with_logits(targets, logits))
    raise ValueError(
        "config.problem_type must be regression, single_label_classification or "
        f"multi_label_classification, but it is {problem_type!r}"
    )


def question_answering_loss(
    start_positions: tf.Tensor,
    end_positions: tf.Tensor,
    start_logits: tf.Tensor,
    end_logits: tf.Tensor,
) -> tf.Tensor:
    """Mean of the cross-entropies of start and end; positions past the input do not count."""
    length = tf.shape(start_logits)[1]

    def loss(positions: tf.Tensor, logits: tf.Tensor, argument: str) -> tf.Tensor:
        positions = tf.clip_by_value(tf.cast(tf.reshape(positions, [-1]), tf.int32), 0, length)
        return cross_entropy(positions, logits, argument=argument, ignored=length)

    start = loss(start_positions, start_logits, "start_positions")
    return (start + loss(end_positions, end_logits, "end_positions")) / 2
