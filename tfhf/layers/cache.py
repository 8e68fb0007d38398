"""The keys and values of tokens that were read before, so that none is computed twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf
from tensorflow.compiler.tf2xla.python import xla
from tensorflow.python.ops import control_flow_util


class KeyValues(NamedTuple):
    """Keys and values of one attention: [batch, heads, length, head_size] each."""

    key: tf.Tensor
    value: tf.Tensor

    @property
    def length(self) -> tf.Tensor:
        """How many places there are."""
        return tf.shape(self.key)[2]


class BeamKeyValues(NamedTuple):
    """Keys and values of the beams of each prompt: none moves when a beam goes on from another.

    ``key`` and ``value`` [prompts, heads, length * beams, head_size]: place by place, those of all
    beams; ``owners`` int32 [prompts, beams, length]: whose of them a beam sees at each place.
    """

    key: tf.Tensor
    value: tf.Tensor
    owners: tf.Tensor

    @property
    def length(self) -> tf.Tensor:
        """How many places there are for each beam."""
        return tf.shape(self.owners)[2]

    def place(self, position: tf.Tensor) -> tf.Tensor:
        """Return where ``key`` and ``value`` have what is at ``position`` for the first beam."""
        return position * tf.shape(self.owners)[1]

    def by_prompt(self, x: tf.Tensor) -> tf.Tensor:
        """Return [prompts * beams, any, 1, size] as [prompts, any, beams, size]; one row stays."""
        if x.shape[0] == 1:
            return x
        shape = tf.shape(x)
        x = tf.reshape(x, [-1, tf.shape(self.owners)[1], shape[1], shape[3]])
        return tf.transpose(x, [0, 2, 1, 3])

    def bias(self, bias: tf.Tensor) -> tf.Tensor:
        """Return the bias of attention, [rows or 1, heads or 1, 1, length], for all these keys."""
        beams = tf.shape(self.owners)[1]
        owned = (self.owners[..., None] == tf.range(beams))[:, None]
        bias = tf.where(owned, self.by_prompt(bias)[..., None], tf.float32.min)
        shape = tf.shape(bias)
        return tf.reshape(bias, [shape[0], shape[1], beams, shape[3] * beams])


def as_key_values(past_key_values: Any) -> tuple[tuple[KeyValues, ...], ...]:
    """Return what a caller gives for the tokens before as models return it.

    Args:
        past_key_values: per layer ``(key, value)`` or, with those of an encoder's tokens,
            ``(key, value, cross_key, cross_value)``, as Transformers 4 has it; or what a model of
            tfhf returned, where two are a `KeyValues`.

    Raises:
        ValueError: it is not that.

    Example:
        >>> state = tf.zeros([1, 2, 3, 4])
        >>> [len(layer) for layer in as_key_values([(state, state), (state, state)])]
        [1, 1]
    """
    if not isinstance(past_key_values, list | tuple) or not past_key_values:
        raise ValueError(
            "past_key_values must be a tuple with the keys and values of each layer, but is "
            f"{past_key_values!r}"
        )
    return tuple(_layer_key_values(i, layer) for i, layer in enumerate(past_key_values))


def _layer_key_values(index: int, layer: Any) -> tuple[KeyValues, ...]:
    if isinstance(layer, tuple) and layer and isinstance(layer[0], BeamKeyValues):
        return layer
    states = [
        part if isinstance(part, keras.KerasTensor) else tf.convert_to_tensor(part)
        for part in tf.nest.flatten(layer)
    ]
    if len(states) not in (2, 4) or any(len(state.shape) != 4 for state in states):
        raise ValueError(
            f"past_key_values[{index}] must be (key, value) or (key, value, cross_key, "
            "cross_value), [batch, heads, length, head_size] each, but has the shapes "
            f"{[tuple(state.shape) for state in states]}"
        )
    return tuple(KeyValues(*states[i : i + 2]) for i in range(0, len(states), 2))


def extend(past: KeyValues, new: KeyValues, position: tf.Tensor | None) -> KeyValues:
    """Return ``past`` with the keys and values of the tokens that follow.

    Args:
        past: what there is.
        new: keys and values of the new tokens.
        position: ``None``: put the new ones behind the old ones. An int scalar: ``past`` has room
            for all that will come; write the new ones there, from that place on. Outside XLA that
            changes ``past`` itself, which nothing else may read afterwards: a loop's own tensors.

    Example:
        >>> one = KeyValues(tf.ones([1, 2, 1, 4]), tf.ones([1, 2, 1, 4]))
        >>> extend(one, one, None).key.shape
        TensorShape([1, 2, 2, 4])
    """
    return KeyValues(*(_append(a, b, position) for a, b in zip(past, new, strict=True)))


def _append(old: tf.Tensor, new: tf.Tensor, position: tf.Tensor | None) -> tf.Tensor:
    if position is None:
        return tf.concat([old, new], axis=2)
    if compiling_with_xla():
        return xla.dynamic_update_slice(old, new, [0, 0, position, 0])
    if tf.executing_eagerly():
        old = tf.raw_ops.DeepCopy(x=old)  # the caller has it still
    # A scatter copies the whole cache for every token; this op writes in place, by rows.
    shape = tf.shape(old)
    length, size = shape[2], old.shape[3]
    starts = tf.range(shape[0] * shape[1])[:, None] * length
    rows = tf.reshape(starts + position + tf.range(tf.shape(new)[2])[None], [-1])
    written = tf.raw_ops.InplaceUpdate(
        x=tf.reshape(old, [-1, size]), i=rows, v=tf.reshape(new, [-1, size])
    )
    return tf.ensure_shape(tf.reshape(written, shape), old.shape)


def compiling_with_xla() -> bool:
    """Whether what is traced now will be compiled by XLA."""
    return control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())


def empty(shape: Sequence[tf.Tensor | int], dtype: tf.DType) -> tf.Tensor:
    """Return zeros that are nobody else's, for :func:`write`: no constant, shared by all calls."""
    if compiling_with_xla():
        return tf.zeros(shape, dtype)
    return tf.raw_ops.Empty(shape=shape, dtype=dtype, init=True)


def write(buffer: tf.Tensor, value: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
    """Return ``buffer`` [steps, …] with ``value`` […] in place ``position``; see `extend`."""
    if compiling_with_xla():
        start = [position] + [0] * (buffer.shape.rank - 1)
        return xla.dynamic_update_slice(buffer, value[None], start)
    written = tf.raw_ops.InplaceUpdate(x=buffer, i=[position], v=value[None])
    return tf.ensure_shape(written, buffer.shape)


def make_room(cache: Any, room: tf.Tensor | int) -> Any:
    """Return keys and values with ``room`` places for each layer's own tokens.

    Those of an encoder's tokens, which come after them, are all there.
    """

    def pad(states: tf.Tensor) -> tf.Tensor:
        more = room - tf.shape(states)[2]
        padded = tf.pad(states, [[0, 0], [0, 0], [0, more], [0, 0]])
        places = room if isinstance(room, int) else None
        return tf.ensure_shape(padded, [*states.shape[:2], places, states.shape[3]])

    return tuple((KeyValues(*map(pad, own)), *others) for own, *others in cache)


def repeat_rows(tensors: Any, count: int) -> Any:
    """Return tensors [rows, …] with each row ``count`` times."""
    if count == 1:
        return tensors
    return tf.nest.map_structure(lambda tensor: tf.repeat(tensor, count, axis=0), tensors)


def repeat_places(states: KeyValues, count: int) -> KeyValues:
    """Return keys and values with each place ``count`` times: those of a `BeamKeyValues`."""
    return KeyValues(*(tf.repeat(part, count, axis=2) for part in states))


def map_own(function: Callable[[Any], Any], cache: Any) -> Any:
    """Return a cache whose layers have their own tokens' states changed by ``function``.

    What follows these in each layer, of an encoder's tokens, is left: it has one row for all the
    sequences of a prompt.
    """
    return tuple((function(own), *others) for own, *others in cache)


def take_rows_at(cache: Any, rows: tf.Tensor, position: tf.Tensor) -> Any:
    """Return keys and values where each row has those of another, in one place.

    Args:
        cache: per layer the keys and values of its own tokens, and perhaps those of others.
        rows: int [rows]: whose there will be in each row.
        position: int scalar: the place. It is written to as in :func:`extend`.
    """

    def take(states: tf.Tensor) -> tf.Tensor:
        return tf.gather(tf.gather(states, [position], axis=2), rows)

    return tuple(
        (extend(own, KeyValues(*map(take, own)), position), *others) for own, *others in cache
    )
