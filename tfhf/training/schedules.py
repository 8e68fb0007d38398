"""Learning rate schedules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("tfhf")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """Rise from 0 to ``initial_learning_rate``, then follow another schedule.

    The same as Transformers 4's. Step ``s`` (counted from 0) has the learning rate
    ``initial_learning_rate * (s / warmup_steps) ** power`` while ``s < warmup_steps``, then
    ``decay_schedule_fn(s - warmup_steps)``.

    Args:
        initial_learning_rate: the learning rate at the end of the warm-up.
        decay_schedule_fn: a Keras schedule, or another function from a step to a learning rate.
        warmup_steps: the length of the warm-up in steps, at least 1.
        power: 1 for a linear warm-up.
        name: of the schedule's operations in the graph.

    Raises:
        ValueError: ``warmup_steps`` is below 1.

    Example:
        >>> decay = keras.optimizers.schedules.PolynomialDecay(1.0, 10, end_learning_rate=0.0)
        >>> schedule = WarmUp(1.0, decay, warmup_steps=4)
        >>> [float(schedule(step)) for step in (0, 2, 4, 9, 14)]
        [0.0, 0.5, 1.0, 0.5, 0.0]
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_schedule_fn: Callable[[Any], Any],
        warmup_steps: int,
        power: float = 1.0,
        name: str | None = None,
    ) -> None:
        if warmup_steps < 1:
            raise ValueError(f"warmup_steps must be at least 1, but it is {warmup_steps}")
        self.initial_learning_rate = initial_learning_rate
        self.decay_schedule_fn = decay_schedule_fn
        self.warmup_steps = warmup_steps
        self.power = power
        self.name = name

    def __call__(self, step: Any) -> tf.Tensor:
        """Return the learning rate of ``step``, a number or an integer tensor []: float32 []."""
        with tf.name_scope(self.name or "WarmUp"):
            step = tf.convert_to_tensor(step)
            done = tf.cast(step, tf.float32) / self.warmup_steps
            return tf.where(
                step < self.warmup_steps,
                self.initial_learning_rate * tf.pow(done, self.power),
                self.decay_schedule_fn(tf.maximum(step - self.warmup_steps, 0)),
            )

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, with the inner schedule as Keras serializes it."""
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "decay_schedule_fn": keras.saving.serialize_keras_object(self.decay_schedule_fn),
            "warmup_steps": self.warmup_steps,
            "power": self.power,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Make the schedule that :meth:`get_config` described."""
        inner = keras.saving.deserialize_keras_object(config["decay_schedule_fn"])
        return cls(**{**config, "decay_schedule_fn": inner})
