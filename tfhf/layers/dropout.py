"""Dropout with cheap random numbers."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


class Dropout(keras.layers.Layer):
    """Zero values at random and scale the others, so that sums stay the same on average.

    Each value takes 16 random bits: the rate is rounded to a multiple of 2**-16, and the scale is
    that of the rounded rate. ``keras.utils.set_random_seed`` makes the choice repeatable.

    Source: Srivastava et al., 2014, https://jmlr.org/papers/v15/srivastava14a.html.

    Args:
        rate: share of the values that become zero, 0 to 1.
        **kwargs: those of a Keras layer.

    Raises:
        ValueError: ``rate`` is not 0 to 1.

    Example:
        >>> Dropout(0.5)(tf.ones([2, 3])).numpy().tolist()
        [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
        >>> sorted({*Dropout(0.5)(tf.ones([100]), training=True).numpy().tolist()})
        [0.0, 2.0]
    """

    def __init__(self, rate: float, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        if not 0 <= rate <= 1:
            raise ValueError(f"rate must be 0 to 1, but it is {rate}")
        self.rate = rate
        if rate > 0:
            self.seed_generator = keras.random.SeedGenerator()
        self.built = True

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return ``inputs`` of any shape as they are, or with ``training``, some of them zero."""
        kept = round((1.0 - self.rate) * 2**16)  # of 2**16 values
        if not training or kept == 2**16:
            return inputs
        seed = tf.cast(self.seed_generator.next(), tf.int32)  # XLA knows no seeds of 64 bits
        if replica := tf.distribute.get_replica_context():
            # The generator has the same state on all replicas, which see different examples.
            seed += tf.stack([replica.replica_id_in_sync_group, 0])
        size = tf.size(inputs)
        pairs = tf.random.stateless_uniform([(size + 1) // 2], seed, None, None, tf.uint32)
        bits = tf.reshape(tf.bitcast(pairs, tf.uint16), [-1])[:size]
        factors = tf.cast(bits < kept, tf.float32) * (2**16 / max(kept, 1))
        outputs = tf.cast(inputs, tf.float32) * tf.reshape(factors, tf.shape(inputs))
        return tf.cast(outputs, inputs.dtype)
