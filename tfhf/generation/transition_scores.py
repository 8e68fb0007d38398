"""What each generated token contributed: the scores of what was chosen, out of those of all."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def compute_transition_scores(
    sequences: tf.Tensor,
    scores: Any,
    beam_indices: tf.Tensor | None = None,
    normalize_logits: bool = False,
) -> tf.Tensor:
    """Return the score of each generated token; see `TFPreTrainedModel` for the arguments."""
    stacked = tf.stack(scores)
    if normalize_logits:
        stacked = tf.nn.log_softmax(stacked)
    if beam_indices is None:
        rows = tf.repeat(tf.range(tf.shape(stacked)[1])[:, None], len(stacked), axis=1)
    else:
        longest = tf.reduce_max(tf.reduce_sum(tf.cast(beam_indices >= 0, tf.int32), axis=1))
        rows = beam_indices[:, :longest]
    steps = tf.range(tf.shape(rows)[1])
    tokens = sequences[:, tf.shape(sequences)[1] - tf.shape(rows)[1] :]
    places = tf.stack([tf.broadcast_to(steps, tf.shape(rows)), tf.maximum(rows, 0), tokens], -1)
    return tf.where(rows >= 0, tf.gather_nd(stacked, places), 0.0)
