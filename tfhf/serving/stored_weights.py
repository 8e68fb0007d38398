"""Weights that an export stores in fewer bits, and that become float32 where it is loaded.

Such a weight is a resource of its own, as a lookup table is: the SavedModel holds small numbers,
and what initializes the resource expands them, once. Answers take as long as with float32; files
and downloads are smaller. In memory, the small numbers stay beside the large ones.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, get_args

import keras
import tensorflow as tf

Storage = Literal["bfloat16", "int8"]


class StoredWeight(tf.saved_model.experimental.TrackableResource):
    """A float32 variable of which a SavedModel holds fewer bits.

    Args:
        value: float32, what the variable holds.
        storage: ``"bfloat16"``, or ``"int8"``: whole numbers from -127 to 127 and, for each
            channel, a float32 that they are multiplied with.
        channel_axis: for int8, the axis of the channels.

    Attributes:
        parts: the variables that are stored.

    Example:
        >>> value = tf.constant([[1.0, -2.54], [0.001, 0.0127]])
        >>> weight = StoredWeight(value, "int8", channel_axis=0)
        >>> [part.dtype.name for part in weight.parts], weight.parts[0].numpy().tolist()
        (['int8', 'float32'], [[50, -127], [10, 127]])
    """

    def __init__(self, value: tf.Tensor, storage: Storage, channel_axis: int = -1) -> None:
        super().__init__()
        self._shape = value.shape
        # Python loads several exports into one set of names.
        self._shared_name = f"stored_weight_{uuid.uuid4()}"
        values = [tf.cast(value, tf.bfloat16)]
        if storage == "int8":
            others = list(range(value.shape.rank))
            del others[channel_axis]
            scale = tf.reduce_max(tf.abs(value), axis=others, keepdims=True) / 127
            whole = tf.round(tf.math.divide_no_nan(value, scale))
            values = [tf.cast(whole, tf.int8), scale]
        self.parts = [tf.Variable(part, trainable=False) for part in values]

    def expanded(self) -> tf.Tensor:
        """Return the float32 value that is computed with."""
        value, *scale = (tf.cast(part, tf.float32) for part in self.parts)
        return value * scale[0] if scale else value

    def _create_resource(self) -> tf.Tensor:
        return tf.raw_ops.VarHandleOp(
            dtype=tf.float32, shape=self._shape, shared_name=self._shared_name
        )

    def _initialize(self) -> None:
        tf.raw_ops.AssignVariableOp(resource=self.resource_handle, value=self.expanded())


def store_weights(
    variables: Sequence[keras.Variable], storage: Storage | None
) -> dict[int, StoredWeight]:
    """Round the float32 variables of a model.

    Args:
        variables: those of the model. With ``"int8"``, only the ones with two axes or more are
            rounded: matrices by their outputs, which are the last axis, and embeddings by row.
        storage: in what they are stored; None: as they are.

    Returns:
        Those that are stored in another form, by their place.

    Raises:
        ValueError: there is no such ``storage``.
    """
    if storage is None:
        return {}
    if storage not in get_args(Storage):
        known = " or ".join(map(repr, get_args(Storage)))
        raise ValueError(f"weights must be {known}, but is {storage!r}")
    return {
        i: StoredWeight(variable.value, storage, 0 if variable.name == "embeddings" else -1)
        for i, variable in enumerate(variables)
        if variable.dtype == "float32" and (storage == "bfloat16" or len(variable.shape) > 1)
    }


@contextmanager
def rounded(
    variables: Sequence[keras.Variable], stored: Mapping[int, StoredWeight]
) -> Iterator[None]:
    """Have a model compute with what its stored weights expand to, for a while."""
    exact = {i: tf.identity(variables[i].value) for i in stored}
    try:
        for i, weight in stored.items():
            variables[i].assign(weight.expanded())
        yield
    finally:
        for i, value in exact.items():
            variables[i].assign(value)


def read_stored_weights(
    function: Any, variables: Sequence[keras.Variable], stored: Mapping[int, StoredWeight]
) -> None:
    """Have a concrete function read stored weights instead of the variables that it was made with.

    Args:
        function: the concrete function; it can no longer be called, but be saved.
        variables: those of the model.
        stored: some of them, by their place.
    """
    handles = {id(variables[i].value.handle): stored[i].resource_handle for i in stored}
    captured = [handles.get(id(capture), capture) for capture in function.captured_inputs]
    function.set_external_captures(captured)
