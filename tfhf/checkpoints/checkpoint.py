"""A checkpoint: a read-only mapping from PyTorch parameter names to NumPy arrays.

Every file format of this package opens as a `Checkpoint`; its tensors stay on disk until asked for.
"""

import math
import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np


class CorruptCheckpointError(ValueError):
    """A weight file is not what its format says: truncated, inconsistent, or of an unknown kind."""


class UnsafeCheckpointError(ValueError):
    """A weight file asks for what no weights need: code to run, or files outside its folder."""


class TensorEntry(NamedTuple):
    """A tensor of a checkpoint, whose values need not be in memory.

    Attributes:
        name: its PyTorch name.
        shape: its dimensions.
        dtype: its NumPy dtype (bfloat16 and float8 are those of `ml_dtypes`).
        read: returns the values, of this shape and dtype; perhaps a read-only view of a file.
        release: gives the memory back that reading took, where that is of a mapped file; what was
            read stays valid, and is fetched again where it is looked at.

    Example:
        >>> entry = TensorEntry("w", (2, 3), np.dtype("int16"), lambda: np.ones((2, 3), "int16"))
        >>> entry.nbytes, entry.read().sum().item()
        (12, 6)
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[], np.ndarray]
    release: Callable[[], None] = lambda: None

    @property
    def nbytes(self) -> int:
        """The size of the values, in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


class Checkpoint(Mapping[str, np.ndarray]):
    """The tensors of a weight file, or of all files of an index, by PyTorch name.

    Names, shapes and dtypes are known at once; `checkpoint[name]` reads one tensor. What comes from
    a safetensors or PyTorch file is a read-only view of the memory-mapped file, which lives as long
    as the array does, also after `close`. Overwriting such a file in place changes, and truncating
    it breaks, arrays already handed out; `atomic.replace_folder` does neither.

    Args:
        path: the file.
        entries: its tensors.
        close: releases what the entries read from.

    Raises:
        CorruptCheckpointError: two tensors have one name.

    Example:
        >>> entry = TensorEntry("norm.weight", (2,), np.dtype("int8"), lambda: np.ones(2, "int8"))
        >>> with Checkpoint("model.safetensors", [entry]) as checkpoint:
        ...     checkpoint.shape("norm.weight"), checkpoint["norm.weight"]
        ((2,), array([1, 1], dtype=int8))
    """

    def __init__(
        self, path: str, entries: Iterable[TensorEntry], close: Callable[[], None] = lambda: None
    ) -> None:
        self.path = path
        self._close = close
        self._entries: dict[str, TensorEntry] | None = {}
        for entry in entries:
            if entry.name in self._entries:
                raise CorruptCheckpointError(f"{path} has more than one tensor {entry.name!r}")
            self._entries[entry.name] = entry

    @property
    def entries(self) -> Mapping[str, TensorEntry]:
        """The tensors, unread, by name.

        Raises:
            ValueError: the checkpoint is closed.
        """
        if self._entries is None:
            raise ValueError(f"the checkpoint {self.path} is closed")
        return self._entries

    def __getitem__(self, name: str) -> np.ndarray:
        return self.entries[name].read()

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, name: object) -> bool:
        return name in self.entries  # Mapping's own would read the tensor.

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor, without reading it.

        Raises:
            KeyError: there is no such tensor.
        """
        return self.entries[name].shape

    def dtype(self, name: str) -> np.dtype[Any]:
        """Return the dtype of a tensor, without reading it.

        Raises:
            KeyError: there is no such tensor.
        """
        return self.entries[name].dtype

    def close(self) -> None:
        """Release the file; arrays that were read stay valid."""
        self._entries = None
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def map_file(path: str) -> mmap.mmap:
    """Map a file into memory, read-only.

    Raises:
        OSError: the file cannot be opened.
        CorruptCheckpointError: it is empty, or a Git LFS pointer in place of the real file.
    """
    with open(path, "rb") as file:
        start = file.read(40)
        if not start:
            raise CorruptCheckpointError(f"{path} is empty")
        if start.startswith(b"version https://git-lfs.github.com/"):
            raise CorruptCheckpointError(
                f"{path} is a Git LFS pointer, not the file itself: fetch that with `git lfs pull`"
            )
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def mapped_entry(
    name: str,
    mapped: mmap.mmap,
    dtype: np.dtype[Any],
    shape: Sequence[int],
    offset: int,
    strides: Sequence[int] | None = None,
) -> TensorEntry:
    """Return the tensor that starts at byte `offset` of a mapped file; `strides` are in bytes.

    Raises:
        ValueError or OverflowError: it reaches beyond the file, or NumPy cannot hold it.
    """
    view: np.ndarray = np.ndarray(shape, dtype, mapped, offset, strides)  # Reads nothing yet.

    def release() -> None:
        start = offset - offset % mmap.PAGESIZE
        if hasattr(mmap, "MADV_DONTNEED") and view.size:  # Windows has no madvise.
            mapped.madvise(mmap.MADV_DONTNEED, start, offset - start + view.nbytes)

    return TensorEntry(name, view.shape, view.dtype, lambda: view, release)
