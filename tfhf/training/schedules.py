"""Learning rate schedules."""

from __future__ import annotations

import math
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


SCHEDULERS = (
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
)
#: What each schedule can be given beside its numbers of steps, and what it is where it is not.
_OPTIONS: dict[str, dict[str, Any]] = {
    "cosine": {"num_cycles": 0.5},
    "cosine_with_restarts": {"num_cycles": 1},
    "polynomial": {"lr_end": 1e-7, "power": 1.0},
    "inverse_sqrt": {"timescale": None},
}


def get_scheduler(
    name: str,
    init_lr: float,
    num_warmup_steps: int = 0,
    num_training_steps: int | None = None,
    scheduler_specific_kwargs: dict[str, Any] | None = None,
) -> Scheduler:
    """Make one of Transformers' learning rate schedules, by its name.

    All but "constant" rise linearly from 0 over ``num_warmup_steps``.

    Args:
        name: "linear" falls to 0; "cosine" falls along a half wave; "cosine_with_restarts" does so
            ``num_cycles`` times; "polynomial" falls to ``lr_end`` with ``power``; "constant" and
            "constant_with_warmup" stay; "inverse_sqrt" falls as the root of the steps grows.
        init_lr: the highest learning rate.
        num_warmup_steps: length of the warm-up.
        num_training_steps: length of the training; not needed by the last three.
        scheduler_specific_kwargs: ``num_cycles`` of both cosines (0.5 waves, 1 restart), ``lr_end``
            (1e-7) and ``power`` (1) of "polynomial", ``timescale`` of "inverse_sqrt" (the warm-up's
            length, or 10,000).

    Returns:
        A Keras schedule: for ``learning_rate`` of any Keras optimizer, or to be called with a step.

    Raises:
        ValueError: an unknown name or option, or numbers that do not fit.

    Example:
        >>> schedule = get_scheduler("cosine", 1.0, num_warmup_steps=2, num_training_steps=6)
        >>> [round(float(schedule(step)), 3) for step in range(7)]
        [0.0, 0.5, 1.0, 0.854, 0.5, 0.146, 0.0]
    """
    return Scheduler(
        name, init_lr, num_warmup_steps, num_training_steps, **(scheduler_specific_kwargs or {})
    )


@keras.saving.register_keras_serializable("tfhf")
class Scheduler(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule of :func:`get_scheduler`, which has the arguments."""

    def __init__(
        self,
        name: str,
        init_lr: float,
        num_warmup_steps: int = 0,
        num_training_steps: int | None = None,
        **options: Any,
    ) -> None:
        if name not in SCHEDULERS:
            raise ValueError(f"name must be one of {', '.join(SCHEDULERS)}, but it is {name!r}")
        known = _OPTIONS.get(name, {})
        for option in options:
            if option not in known:
                raise ValueError(
                    f"scheduler_specific_kwargs: {name!r} takes {list(known) or 'none'}, "
                    f"but {option!r} was given"
                )
        if num_warmup_steps < 0:
            raise ValueError(f"num_warmup_steps must not be below 0, but it is {num_warmup_steps}")
        if num_training_steps is None and name in SCHEDULERS[:4]:
            raise ValueError(f"num_training_steps must be given for {name!r}")
        self.name = name
        self.init_lr = init_lr
        self.num_warmup_steps = num_warmup_steps
        self.num_training_steps = num_training_steps
        self.options = known | options
        if name == "polynomial" and init_lr <= self.options["lr_end"]:
            raise ValueError(
                f"lr_end must be below init_lr = {init_lr}, but it is {self.options['lr_end']}"
            )

    def __call__(self, step: Any) -> tf.Tensor:
        """Return the learning rate of ``step``, a number or an integer tensor []: float32 []."""
        with tf.name_scope("Scheduler"):
            # 64 bits: of a million steps, 32 would not tell one from the next.
            step = tf.cast(tf.convert_to_tensor(step), tf.float64)
            rate = getattr(self, f"_{self.name}")(step)
            if self.name != "constant":
                rising = step / max(1, self.num_warmup_steps)
                rate = tf.where(step < self.num_warmup_steps, rising, rate)
            return tf.cast(rate * self.init_lr, tf.float32)

    def _progress(self, step: tf.Tensor) -> tf.Tensor:
        """Return which share of the steps behind the warm-up is done."""
        steps = (self.num_training_steps or 0) - self.num_warmup_steps
        return (step - self.num_warmup_steps) / max(1, steps)

    def _constant(self, step: tf.Tensor) -> tf.Tensor:
        return tf.ones_like(step)

    _constant_with_warmup = _constant

    def _linear(self, step: tf.Tensor) -> tf.Tensor:
        steps = self.num_training_steps or 0
        return tf.nn.relu((steps - step) / max(1, steps - self.num_warmup_steps))

    def _cosine(self, step: tf.Tensor) -> tf.Tensor:
        return _wave(2 * self.options["num_cycles"] * self._progress(step))

    def _cosine_with_restarts(self, step: tf.Tensor) -> tf.Tensor:
        progress = self._progress(step)
        falling = _wave(self.options["num_cycles"] * progress % 1.0)
        return tf.where(progress < 1, falling, tf.zeros_like(falling))

    def _polynomial(self, step: tf.Tensor) -> tf.Tensor:
        end = self.options["lr_end"] / self.init_lr
        left = tf.clip_by_value(1 - self._progress(step), 0, 1)
        return (1 - end) * left ** self.options["power"] + end

    def _inverse_sqrt(self, step: tf.Tensor) -> tf.Tensor:
        scale = self.options["timescale"] or self.num_warmup_steps or 10_000
        behind = tf.maximum(step, self.num_warmup_steps) - self.num_warmup_steps
        return tf.math.rsqrt(1 + behind / scale)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments."""
        return {
            "name": self.name,
            "init_lr": self.init_lr,
            "num_warmup_steps": self.num_warmup_steps,
            "num_training_steps": self.num_training_steps,
            **self.options,
        }


def _wave(halves: tf.Tensor) -> tf.Tensor:
    """Return a cosine between 1 and 0, a number of half waves from its top."""
    return 0.5 * (1 + tf.cos(math.pi * halves))


@keras.saving.register_keras_serializable("tfhf")
class PerUpdate(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule of updates for an optimizer that makes one of several batches.

    Keras asks a schedule for the learning rate of a batch.

    Args:
        schedule: of the number of updates.
        gradient_accumulation_steps: batches per update.

    Example:
        >>> schedule = PerUpdate(get_scheduler("linear", 1.0, 0, 4), gradient_accumulation_steps=2)
        >>> [float(schedule(batch)) for batch in range(6)]
        [1.0, 1.0, 0.75, 0.75, 0.5, 0.5]
    """

    def __init__(
        self,
        schedule: keras.optimizers.schedules.LearningRateSchedule,
        gradient_accumulation_steps: int,
    ) -> None:
        self.schedule = schedule
        self.gradient_accumulation_steps = gradient_accumulation_steps

    def __call__(self, step: Any) -> tf.Tensor:
        """Return the learning rate of batch ``step``: float32 []."""
        return self.schedule(tf.convert_to_tensor(step) // self.gradient_accumulation_steps)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, with the inner schedule as Keras serializes it."""
        return {
            "schedule": keras.saving.serialize_keras_object(self.schedule),
            "gradient_accumulation_steps": self.gradient_accumulation_steps,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Make the schedule that :meth:`get_config` described."""
        inner = keras.saving.deserialize_keras_object(config["schedule"])
        return cls(**{**config, "schedule": inner})
