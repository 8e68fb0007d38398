"""From what users give to what signatures take, and from what these give to what users get."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import tensorflow as tf


def checked_inputs(
    inputs: Any, specs: Mapping[str, tf.TensorSpec]
) -> tuple[dict[str, np.ndarray], int]:
    """Make arrays of what a user gives to a signature.

    Args:
        inputs: input name -> list or array; or that of the only input.
        specs: the inputs of the signature.

    Returns:
        The arrays by name, and how many rows they have. What has one axis less than it should is
        repeated for every row.

    Raises:
        ValueError: the inputs do not fit the signature.
    """
    if not isinstance(inputs, Mapping):
        if len(specs) != 1:
            raise ValueError(
                f"inputs: the signature takes {', '.join(sorted(specs))}: expected a dictionary"
            )
        inputs = dict.fromkeys(specs, inputs)
    if set(inputs) != set(specs):
        raise ValueError(
            f"inputs: the signature takes {', '.join(sorted(specs))}, "
            f"but they are {', '.join(sorted(inputs)) or 'none'}"
        )
    arrays = {name: _to_array(name, inputs[name], spec) for name, spec in specs.items()}
    shared = [name for name in specs if specs[name].shape.rank in (None, arrays[name].ndim)]
    rows = {len(arrays[name]) for name in shared if arrays[name].ndim}
    if len(rows) > 1:
        sizes = ", ".join(f"{name} {len(arrays[name])}" for name in shared)
        raise ValueError(f"inputs: expected as many rows in each, but {sizes}")
    count = rows.pop() if rows else 1
    for name, array in arrays.items():
        if name not in shared:
            arrays[name] = np.broadcast_to(array, (count, *array.shape))
    return arrays, count


def _to_array(name: str, value: Any, spec: tf.TensorSpec) -> np.ndarray:
    dtype = spec.dtype.as_numpy_dtype
    try:
        array = np.array(value, dtype)
        if spec.dtype.is_integer and array.size:
            given = np.asarray(value)
            if given.dtype.kind == "f":
                raise TypeError("there are fractions")
            if given.dtype.kind in "iu" and (given != array).any():
                raise OverflowError(f"there are numbers from {given.min()} to {given.max()}")
    except (OverflowError, TypeError, ValueError) as error:
        raise ValueError(
            f"{name}: expected rows of {spec.dtype.name}, of equal lengths: {error}"
        ) from error
    rank = spec.shape.rank
    if rank is not None and array.ndim not in (rank, rank - 1):
        raise ValueError(
            f"{name}: expected the shape {tuple(spec.shape)}, but it has the shape {array.shape}"
        )
    if dtype is object:
        for each in array.flat:
            if not isinstance(each, str | bytes):
                raise ValueError(f"{name}: expected texts, but there is a {type(each).__name__}")
    return array


def concatenated(arrays: list[np.ndarray], spec: tf.TensorSpec) -> np.ndarray:
    """Join arrays along the first axis; along the others, all become as long as the longest.

    Args:
        arrays: what was answered, in order. Scalars are the same in each. Of an empty one, axes
            may be missing.
        spec: the output that they are.
    """
    dtype = spec.dtype.as_numpy_dtype
    if not arrays:
        sizes = spec.shape.as_list()[1:] if spec.shape.rank else []
        return np.zeros((0, *(size or 0 for size in sizes)), dtype)
    if arrays[0].ndim == 0:
        return arrays[0]
    rank = max(array.ndim for array in arrays)
    arrays = [array.reshape(array.shape + (0,) * (rank - array.ndim)) for array in arrays]
    longest = np.max([array.shape[1:] for array in arrays], axis=0).astype(int)
    filler = "" if dtype is object else 0
    filled = []
    for array in arrays:
        missing = [(0, size) for size in longest - array.shape[1:]]
        filled.append(np.pad(array, [(0, 0), *missing], constant_values=filler))
    return np.concatenate(filled)


def decoded(name: str, array: np.ndarray) -> np.ndarray:
    """Make str of bytes that are texts, as REST does: those of all names but ``…_bytes``."""
    if array.dtype != object or name.endswith("_bytes"):
        return array
    texts = array.copy()
    for i, each in enumerate(array.flat):
        if isinstance(each, bytes):
            with suppress(UnicodeDecodeError):
                texts.flat[i] = each.decode()
    return texts
