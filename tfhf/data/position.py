"""Where in a dataset training is, so that it can go on from there."""

from __future__ import annotations

import numpy as np
import tensorflow as tf


class DataPosition:
    """The epoch that a dataset gives next, and how many of its batches are left out.

    A dataset of ``prepare_tf_dataset(position=…)`` draws the order of an epoch from the seed and
    the epoch's number, not from what it gave before: training that was interrupted goes on with the
    very batches that would have come. :class:`tfhf.TrainingCheckpoint` moves the position; without
    it, every epoch is epoch 0.

    Create it outside a strategy's scope.

    Args:
        seed: of the orders, and of what collators draw from NumPy's global state.

    Attributes:
        seed: as given.
        batches: how many batches an epoch has; set by ``prepare_tf_dataset``.

    Example:
        >>> import datasets, tfhf
        >>> class Model:
        ...     input_names, label_outputs = ("input_ids",), {}
        >>> rows = datasets.Dataset.from_dict({"input_ids": [[i] for i in range(6)]})
        >>> position = DataPosition(seed=1)
        >>> data = tfhf.prepare_tf_dataset(Model(), rows, 2, position=position)
        >>> position.move(epoch=5)
        >>> whole = [batch.numpy().tolist() for batch in data]
        >>> position.move(epoch=5, batch=2)
        >>> iter(data).get_next().numpy().tolist() == whole[2]
        True
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.batches: int | None = None
        with tf.init_scope(), tf.device("CPU:0"):
            self._epoch = tf.Variable(0, trainable=False, dtype=tf.int64)
            self._batch = tf.Variable(0, trainable=False, dtype=tf.int64)

    def move(self, epoch: int, batch: int = 0) -> None:
        """Let the next iteration be that of an epoch, without its first ``batch`` batches."""
        self._epoch.assign(epoch)
        self._batch.assign(batch)

    def random_state(self) -> tf.Tensor:
        """Return the seed and the epoch, int64 [2], for stateless random numbers."""
        return tf.stack([tf.constant(self.seed, tf.int64), self._epoch.read_value()])

    def skip(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Leave out the batches of an epoch that are done."""
        once = tf.data.Dataset.range(1)
        return once.flat_map(lambda _: batches.skip(self._batch.read_value()))


def seed_collator(random_state: np.ndarray, rows: np.ndarray) -> None:
    """Let what a collator draws from NumPy's global state depend on its batch alone.

    Args:
        random_state: of :meth:`DataPosition.random_state`.
        rows: the batch's row numbers, of which the first is that of no other batch in the epoch.
    """
    np.random.seed(np.array([*random_state, rows[0]]) % 2**32)
