"""Reading `pytorch_model.bin` without torch, and without running the pickle in it.

`torch.save` writes a pickled skeleton, whose tensors refer to storages by key, and the storages as
raw little-endian bytes. Since PyTorch 1.6 these are entries of an uncompressed zip archive:
`archive/data.pkl` and `archive/data/<key>`. Before, a file was a sequence: four pickles (a magic
number, the protocol's version, the machine's traits, the skeleton), a pickled list of keys, and
for each key the count of its elements in 8 bytes and their bytes.
"""

import contextlib
import io
import mmap
import struct
import zipfile
from collections.abc import Collection, Iterator
from typing import Any

from tfhf.checkpoints.checkpoint import (
    Checkpoint,
    CorruptCheckpointError,
    TensorEntry,
    UnsafeCheckpointError,
    map_file,
    mapped_entry,
)
from tfhf.checkpoints.torch_pickle import Storage, StoredTensor, unpickle

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001


def open_torch(path: str) -> Checkpoint:
    """Open a state dict that `torch.save` wrote; its tensors are views of the mapped file.

    Values of the state dict that are no tensors are left out.

    Raises:
        OSError: the file cannot be opened.
        CorruptCheckpointError: it has neither format, holds no flat dict of tensors, or a tensor
            reaches beyond its storage or the file.
        UnsafeCheckpointError: its pickle asks for more than containers and tensors.

    Example:
        >>> import os, pickle, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "pytorch_model.bin")
        >>> with zipfile.ZipFile(path, "w") as archive:
        ...     archive.writestr("archive/data.pkl", pickle.dumps({"weight": print}))
        >>> open_torch(path)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        tfhf.checkpoints.checkpoint.UnsafeCheckpointError: ... asks for builtins.print, ...
    """
    mapped = map_file(path)
    with _errors_that_name(path):
        read = _read_zip if mapped[:4] == b"PK\3\4" else _read_legacy
        state_dict, starts = read(path, mapped)
        return Checkpoint(path, _entries(mapped, state_dict, starts))


def read_object(path: str, omitted: Collection[str] = ()) -> Any:
    """Read an object without tensors that `torch.save`, or `pickle.dump`, wrote.

    Args:
        path: the file.
        omitted: classes whose objects are left out, `module.name`: see `torch_pickle.unpickle`.

    Returns:
        Dicts, lists, tuples, sets, strings and numbers.

    Raises:
        OSError: the file cannot be opened.
        CorruptCheckpointError: it has neither format.
        UnsafeCheckpointError: its pickle asks for something else.

    Example:
        >>> import os, pickle, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "vocab.pkl")
        >>> with open(path, "wb") as file:
        ...     pickle.dump({"idx2sym": ["the", "cat"]}, file)
        >>> read_object(path)
        {'idx2sym': ['the', 'cat']}
    """
    mapped: Any = map_file(path)
    with _errors_that_name(path):
        if mapped[:4] == b"PK\3\4":
            return _read_zip(path, mapped, omitted)[0]
        first, _ = unpickle(mapped, omitted)
        if first != _LEGACY_MAGIC:
            return first
        mapped.seek(0)
        return _read_legacy(path, mapped, omitted)[0]


@contextlib.contextmanager
def _errors_that_name(path: str) -> Iterator[None]:
    try:
        yield
    except UnsafeCheckpointError as error:
        raise UnsafeCheckpointError(f"{path}: {error}") from error
    except (ValueError, OverflowError) as error:
        raise CorruptCheckpointError(f"{path}: {error}") from error


def _read_zip(
    path: str, mapped: mmap.mmap, omitted: Collection[str] = ()
) -> tuple[Any, dict[str, int]]:
    """Read the skeleton, and find at which byte each storage starts."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info for info in archive.infolist()}
    except (zipfile.BadZipFile, NotImplementedError, struct.error, OSError) as error:
        raise ValueError(f"the zip archive is broken or truncated: {error}") from error
    roots = [name[: -len("data.pkl")] for name in members if name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise ValueError(f"the zip archive has {len(roots)} files named data.pkl, not 1")
    root = roots[0]

    def locate(name: str) -> tuple[int, int]:
        """The first byte of a member, and its size."""
        info = members.get(root + name)
        if info is None:
            raise ValueError(f"the zip archive has no {name!r}")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise ValueError(f"{name!r} is compressed or encrypted, which torch.save never does")
        header = mapped[info.header_offset : info.header_offset + 30]
        if len(header) < 30 or header[:4] != b"PK\3\4":
            raise ValueError(f"the zip archive has no {name!r} where it should be")
        start = info.header_offset + 30 + sum(struct.unpack("<HH", header[26:]))
        if start + info.file_size > len(mapped):
            raise ValueError(f"{name!r} reaches beyond the file")
        return start, info.file_size

    def content(name: str) -> bytes:
        start, size = locate(name)
        return mapped[start : start + size]

    if root + "byteorder" in members and content("byteorder") != b"little":
        raise ValueError("only little-endian files are supported")
    state_dict, storages = unpickle(io.BytesIO(content("data.pkl")), omitted)
    starts = {}
    for storage in storages.values():
        starts[storage.key], size = locate(f"data/{storage.key}")
        if size != storage.nbytes:
            raise ValueError(f"storage {storage.key!r} has {size} bytes, not those that it claims")
    return state_dict, starts


def _read_legacy(
    path: str, mapped: mmap.mmap, omitted: Collection[str] = ()
) -> tuple[Any, dict[str, int]]:
    """Read the skeleton, and find at which byte each storage starts."""
    file: Any = mapped
    if mapped[:1] != b"\x80" or unpickle(file)[0] != _LEGACY_MAGIC:
        raise ValueError("the file is neither a zip archive nor of PyTorch's older format")
    if unpickle(file)[0] != _LEGACY_PROTOCOL:
        raise ValueError("the file has an unknown version of PyTorch's older format")
    traits, _ = unpickle(file)
    if not isinstance(traits, dict) or traits.get("little_endian") is not True:
        raise ValueError("only little-endian files are supported")
    state_dict, storages = unpickle(file, omitted)
    keys, _ = unpickle(file)
    if not isinstance(keys, list) or set(storages) != {key for key in keys if type(key) is str}:
        raise ValueError("the storages in the file are not those of its tensors")
    starts = {}
    for key in keys:
        storage: Storage = storages[key]
        if int.from_bytes(file.read(8), "little") != storage.length:
            raise ValueError(f"storage {key!r} is not as long as its tensors say")
        starts[key] = file.tell()
        if storage.nbytes > len(mapped) - starts[key]:
            raise ValueError(f"storage {key!r} reaches beyond the file")
        file.seek(starts[key] + storage.nbytes)
    return state_dict, starts


def _entries(mapped: mmap.mmap, state_dict: Any, starts: dict[str, int]) -> list[TensorEntry]:
    """The tensors of a state dict, checked to lie within their storages."""
    if not isinstance(state_dict, dict):
        raise ValueError(f"the file holds no dict of tensors, but a {type(state_dict).__name__}")
    entries = []
    for name, tensor in state_dict.items():
        if not isinstance(tensor, StoredTensor):
            continue
        if not isinstance(name, str):
            raise ValueError(f"a tensor's name is no string, but of type {type(name).__name__}")
        storage, itemsize = tensor.storage, tensor.dtype.itemsize
        offset, strides = starts[storage.key] + tensor.offset * itemsize, None
        if 0 in tensor.shape:
            offset = 0  # An empty tensor may lie anywhere.
        else:
            last = tensor.offset + sum(
                (length - 1) * stride for length, stride in zip(tensor.shape, tensor.strides)
            )
            if (last + 1) * itemsize > storage.nbytes:
                raise ValueError(f"tensor {name!r} reaches beyond its storage")
            strides = [stride * itemsize for stride in tensor.strides]
        entries.append(mapped_entry(name, mapped, tensor.dtype, tensor.shape, offset, strides))
    if state_dict and not entries:
        names = ", ".join(map(repr, list(state_dict)[:5]))
        raise ValueError(f"the file holds no flat dict of tensors; its keys are {names}")
    return entries
