"""First values of variables: random, unless a checkpoint is about to fill them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import keras
import tensorflow as tf

_loading: ContextVar[bool] = ContextVar("tfhf_loading_weights", default=False)


@contextmanager
def loading_weights() -> Iterator[None]:
    """Create variables without the first values that loading would throw away.

    Example:
        >>> with loading_weights():
        ...     Normal(1.0)((2, 3)).shape  # whatever was in memory there
        TensorShape([2, 3])
    """
    token = _loading.set(True)
    try:
        yield
    finally:
        _loading.reset(token)


@keras.saving.register_keras_serializable("tfhf")
class Normal(keras.initializers.RandomNormal):
    """Normal values around 0 with the standard deviation ``config.initializer_range``."""

    def __init__(self, stddev: float = 0.02, mean: float = 0.0, seed: int | None = None) -> None:
        super().__init__(mean=mean, stddev=stddev, seed=seed)

    def __call__(self, shape: Any, dtype: Any = None) -> tf.Tensor:
        """Return a tensor of ``shape``: random, or anything within :func:`loading_weights`."""
        if _loading.get():  # memory that nobody writes to is none yet
            return tf.raw_ops.Empty(shape=shape, dtype=dtype or keras.config.floatx())
        return super().__call__(shape, dtype)
