"""Reading `tf_model.h5`, the weights of a TensorFlow model of Transformers 4.

Keras 2's layout: a group for each layer, with the attribute `weight_names`; in it a dataset for
each variable, under the variable's full name. A shard of a large model has the datasets only. The
values of the attributes, strings in HDF5's global heap, say nothing else and stay unread: a
damaged heap makes the HDF5 library crash or hang.
"""

from collections.abc import Iterator

import h5py
import numpy as np

from tfhf.checkpoints import keras_names
from tfhf.checkpoints.checkpoint import Checkpoint, CorruptCheckpointError, TensorEntry


def open_h5(path: str) -> Checkpoint:
    """Open a `tf_model.h5`, or a shard of one; names and layouts become PyTorch's.

    Raises:
        OSError: the file cannot be opened.
        CorruptCheckpointError: it is no HDF5 file of Keras weights, it is truncated, or a weight
            has no plain numbers in this file.

    Example:
        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "tf_model.h5")
        >>> with h5py.File(path, "w") as file:
        ...     file.attrs["layer_names"] = [b"head"]
        ...     head = file.create_group("head")
        ...     head["model/head/kernel:0"] = np.zeros((3, 2), "float32")
        ...     head.attrs["weight_names"] = [b"model/head/kernel:0"]
        >>> with open_h5(path) as checkpoint:
        ...     checkpoint.shape("head.weight")
        (2, 3)
    """
    try:
        file = h5py.File(path, "r")
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except OSError as error:
        raise CorruptCheckpointError(f"{path} is no whole HDF5 file: {error}") from error
    try:
        entries: dict[str, TensorEntry] = {}
        for name, dataset in _weights(path, file):
            entry = keras_names.torch_entry(name, _entry(path, dataset))
            # Keras lists a weight that two layers share under both.
            if entries.setdefault(entry.name, entry).shape != entry.shape:
                raise CorruptCheckpointError(f"{path} has two shapes for {entry.name!r}")
        return Checkpoint(path, entries.values(), file.close)
    except CorruptCheckpointError:
        file.close()
        raise
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:  # From h5py.
        file.close()
        raise CorruptCheckpointError(f"{path} has broken HDF5 structures: {error}") from error


def _weights(path: str, file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield the file's weights, with their variables' names without the model's scope."""
    members: dict[str, h5py.Group | h5py.Dataset] = {}
    file.visititems(members.__setitem__)  # Follows no link, so all of it is in this file.
    if not {"layer_names", "layer_names0"} & set(file.attrs):  # Cut into pieces if long.
        raise CorruptCheckpointError(f"{path} has no attribute layer_names: no Keras weights")
    layers = {
        f"{name}/"
        for name, member in members.items()
        if isinstance(member, h5py.Group) and {"weight_names", "weight_names0"} & set(member.attrs)
    }
    for name, member in members.items():
        if not isinstance(member, h5py.Dataset):
            continue
        layer = next((layer for layer in layers if name.startswith(layer)), None)
        if layer is None:
            yield keras_names.saved_name(name), member
        else:
            yield keras_names.without_model_scope(name.removeprefix(layer)), member


def _entry(path: str, dataset: h5py.Dataset) -> TensorEntry:
    """A dataset as a tensor, provided that its numbers lie in the file as they are."""
    if dataset.dtype.kind not in "fiub":
        raise CorruptCheckpointError(f"{path}: {dataset.name} is no array of numbers")
    if dataset.external or dataset.is_virtual:
        raise CorruptCheckpointError(f"{path}: the values of {dataset.name} are in another file")
    if dataset.id.get_storage_size() != dataset.nbytes:
        raise CorruptCheckpointError(
            f"{path}: {dataset.name} takes {dataset.id.get_storage_size()} bytes in the file, "
            f"but {dataset.nbytes} in memory; Keras writes neither holes nor compressed data"
        )

    def read() -> np.ndarray:
        try:
            return np.asarray(dataset[()])
        except OSError as error:
            raise CorruptCheckpointError(f"{path}: {dataset.name}: {error}") from error

    return TensorEntry(str(dataset.name), dataset.shape, dataset.dtype, read)
