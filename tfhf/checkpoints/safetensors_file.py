"""Reading `model.safetensors`.

The format (https://huggingface.co/docs/safetensors): 8 bytes, the header's length N as a
little-endian integer; N bytes of JSON, `{name: {"dtype", "shape", "data_offsets"}}`; then the
tensors, row-major and little-endian, without gaps. The header is read here and not by the
`safetensors` library, whose NumPy side has no float8 and whose errors name neither file nor tensor.
"""

import json
import math
import mmap
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np

from tfhf.checkpoints import keras_names
from tfhf.checkpoints.checkpoint import (
    Checkpoint,
    CorruptCheckpointError,
    TensorEntry,
    map_file,
    mapped_entry,
)

MAX_HEADER_SIZE = 100_000_000  # The library's limit.

# In the library's order: it writes a file's tensors from the last dtype to the first.
DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype(np.uint8),
    "I8": np.dtype(np.int8),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E8M0": np.dtype(ml_dtypes.float8_e8m0fnu),
    "F8_E4M3FNUZ": np.dtype(ml_dtypes.float8_e4m3fnuz),
    "F8_E5M2FNUZ": np.dtype(ml_dtypes.float8_e5m2fnuz),
    "I16": np.dtype(np.int16),
    "U16": np.dtype(np.uint16),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I32": np.dtype(np.int32),
    "U32": np.dtype(np.uint32),
    "F32": np.dtype(np.float32),
    "C64": np.dtype(np.complex64),
    "F64": np.dtype(np.float64),
    "I64": np.dtype(np.int64),
    "U64": np.dtype(np.uint64),
}


def open_safetensors(path: str) -> Checkpoint:
    """Open a safetensors file; its tensors are read-only views of the mapped file.

    Files of format "tf", which TensorFlow models of Transformers 4 wrote, come out under PyTorch's
    names and layouts too.

    Raises:
        OSError: the file cannot be opened.
        CorruptCheckpointError: its header and its length do not fit the format or each other.

    Example:
        >>> import os, tempfile
        >>> from safetensors.numpy import save_file
        >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
        >>> save_file({"classifier.bias": np.ones(2, "float32")}, path)
        >>> with open_safetensors(path) as checkpoint:
        ...     checkpoint["classifier.bias"]
        array([1., 1.], dtype=float32)
    """
    mapped = map_file(path)
    try:
        header, start = _read_header(mapped)
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not all(
            isinstance(value, str) for value in metadata.values()
        ):
            raise ValueError("__metadata__ is no JSON object of strings")
        entries = list(_entries(header, mapped, start))
    except (ValueError, OverflowError) as error:
        raise CorruptCheckpointError(f"{path}: {error}") from error
    if metadata.get("format") == "tf":
        entries = [
            keras_names.torch_entry(keras_names.saved_name(entry.name), entry) for entry in entries
        ]
    return Checkpoint(path, entries)


def _read_header(mapped: mmap.mmap) -> tuple[dict[str, Any], int]:
    """Read the JSON header; return it and where the tensors start."""
    if len(mapped) < 8:
        raise ValueError(f"the file has {len(mapped)} bytes, fewer than the 8 of a header's length")
    size = int.from_bytes(mapped[:8], "little")
    if size > MAX_HEADER_SIZE:
        raise ValueError(f"the header claims {size} bytes, more than the limit {MAX_HEADER_SIZE}")
    if 8 + size > len(mapped):
        raise ValueError(f"the header claims {size} bytes, but the file has {len(mapped)} in all")
    try:
        header = json.loads(mapped[8 : 8 + size].decode(), object_pairs_hook=_unique_keys)
    except RecursionError as error:
        raise ValueError("the header is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"the header cannot be read: {error}") from error
    if not isinstance(header, dict) or mapped[8:9] != b"{":
        raise ValueError("the header is no JSON object")
    return header, 8 + size


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"{key!r} stands there twice")
        result[key] = value
    return result


def _entries(header: dict[str, Any], mapped: mmap.mmap, start: int) -> Iterator[TensorEntry]:
    """Yield the tensors, checked to fill the rest of the file without gap or overlap."""
    described = {name: _described(name, value) for name, value in header.items()}
    position = 0
    for name, (dtype, shape, begin, end) in sorted(described.items(), key=lambda item: item[1][2:]):
        if begin != position:
            raise ValueError(f"tensor {name!r} starts at byte {begin}, not at {position}")
        if end > len(mapped) - start:
            raise ValueError(
                f"tensor {name!r} ends at byte {end}, but only {len(mapped) - start} are there"
            )
        if end - begin != math.prod(shape) * dtype.itemsize:
            raise ValueError(
                f"tensor {name!r} of shape {shape} and dtype {dtype} takes {end - begin} bytes"
            )
        yield mapped_entry(name, mapped, dtype, shape, start + begin)
        position = end
    if start + position != len(mapped):
        raise ValueError(f"{len(mapped) - start - position} bytes follow the last tensor")


def _described(name: str, value: Any) -> tuple[np.dtype[Any], list[int], int, int]:
    """Check the types in one tensor's description; return dtype, shape, begin and end."""
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tensor {name!r} is not described by dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"tensor {name!r} has the unknown dtype {dtype!r}")
    for key, numbers in (("shape", shape), ("data_offsets", offsets)):
        if not isinstance(numbers, list) or not all(
            type(number) is int and 0 <= number < 2**63 for number in numbers
        ):
            raise ValueError(f"tensor {name!r} has a {key} that is no list of integers >= 0")
    if len(offsets) != 2:
        raise ValueError(f"tensor {name!r} has {len(offsets)} data_offsets, not 2")
    return DTYPES[dtype], shape, offsets[0], offsets[1]
