"""Opening a checkpoint, whatever its format."""

import json
import os
import re
from contextlib import ExitStack
from pathlib import Path

from tfhf.checkpoints import keras_names
from tfhf.checkpoints.checkpoint import (
    Checkpoint,
    CorruptCheckpointError,
    UnsafeCheckpointError,
)
from tfhf.checkpoints.h5_file import open_h5
from tfhf.checkpoints.safetensors_file import open_safetensors
from tfhf.checkpoints.torch_file import open_torch

_OPEN = {".safetensors": open_safetensors, ".bin": open_torch, ".h5": open_h5}


def open_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Open a weight file, or all files that an index lists.

    Names and layouts are PyTorch's, whatever the format; `LayerNorm.gamma` and `LayerNorm.beta` of
    old files are called `LayerNorm.weight` and `LayerNorm.bias`.

    Args:
        path: `model.safetensors`, `pytorch_model.bin`, `tf_model.h5`, any other file with one of
            these extensions, or an index of such files (`….index.json`).

    Raises:
        ValueError: the extension is none of these.
        OSError: the file, or one that the index lists, cannot be opened.
        CorruptCheckpointError: a file is not what its format says.
        UnsafeCheckpointError: a pickle wants to run code, or an index names files elsewhere.

    Example:
        >>> import tempfile, pathlib
        >>> import numpy as np
        >>> from tfhf.checkpoints.writer import TensorEntry, write_safetensors
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> bias = np.arange(3, dtype="float32")
        >>> entry = TensorEntry("classifier.bias", bias.shape, bias.dtype, lambda: bias)
        >>> write_safetensors(folder, [entry])
        >>> with open_checkpoint(folder / "model.safetensors") as checkpoint:
        ...     list(checkpoint), checkpoint["classifier.bias"]
        (['classifier.bias'], array([0., 1., 2.], dtype=float32))
    """
    path = os.fspath(path)
    return _open_index(path) if path.endswith(".index.json") else _open_file(path)


def _open_file(path: str) -> Checkpoint:
    extension = os.path.splitext(path)[1]
    if extension not in _OPEN:
        raise ValueError(
            f"path is {path!r}, expected a file ending in {', '.join(_OPEN)} or .index.json"
        )
    checkpoint = _OPEN[extension](path)
    entries = [
        entry._replace(name=_current_name(entry.name)) for entry in checkpoint.entries.values()
    ]
    return Checkpoint(path, entries, checkpoint.close)


def _current_name(name: str) -> str:
    """Translate the names that layer norms had in BERT's first PyTorch files."""
    name = re.sub(r"\bLayerNorm\.gamma$", "LayerNorm.weight", name)
    return re.sub(r"\bLayerNorm\.beta$", "LayerNorm.bias", name)


def _open_index(path: str) -> Checkpoint:
    weight_map = read_index(path)
    with ExitStack() as stack:
        shards = {
            file: stack.enter_context(_open_file(_shard_path(path, file)))
            for file in sorted(set(weight_map.values()))
        }
        entries = []
        for listed_name, file in weight_map.items():
            if file.endswith(".h5"):
                name = keras_names.torch_name(keras_names.without_model_scope(listed_name))
            else:
                name = _current_name(listed_name)
            if name not in shards[file]:
                raise CorruptCheckpointError(f"{path} says that {name!r} is in {file}: it is not")
            entries.append(shards[file].entries[name])
        return Checkpoint(path, entries, stack.pop_all().close)


def read_index(path: str) -> dict[str, str]:
    """Read which shard holds which tensor.

    Args:
        path: a file such as `model.safetensors.index.json`.

    Returns:
        The names of the files, all in the folder of the index, by tensor name as listed there.

    Raises:
        OSError: the index cannot be opened.
        CorruptCheckpointError: it is no JSON object with a `weight_map`.
        UnsafeCheckpointError: a file that it lists is not plainly one of its folder.

    Example:
        >>> import tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "pytorch_model.bin.index.json")
        >>> with open(path, "w") as file:
        ...     json.dump({"weight_map": {"bias": "../other.bin"}}, file)
        >>> read_index(path)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        tfhf.checkpoints.checkpoint.UnsafeCheckpointError: ... lists '../other.bin' for 'bias', ...
    """
    try:
        with open(path, encoding="utf-8") as file:
            index = json.load(file)
    except (ValueError, RecursionError) as error:
        raise CorruptCheckpointError(f"{path} is no JSON: {error}") from error
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise CorruptCheckpointError(f"{path} has no weight_map from tensors to files")
    for name, file_name in weight_map.items():
        if not isinstance(file_name, str):
            raise CorruptCheckpointError(f"{path} lists no file name for {name!r}")
        if file_name in ("", ".", "..") or re.search(r"[/\\:\0]", file_name):
            raise UnsafeCheckpointError(
                f"{path} lists {file_name!r} for {name!r}, which is no plain file name"
            )
    return weight_map


def _shard_path(index_path: str, file: str) -> str:
    """Find a shard beside its index; a link must stay there, or lead into the Hub's cache."""
    path = Path(index_path).parent / file
    if not path.is_file():
        raise FileNotFoundError(f"{index_path} lists {file}, which is not in {path.parent}")
    folder = path.parent.resolve()
    if not path.resolve().is_relative_to(folder):
        # In the Hub's cache, snapshots/<commit>/ has links to ../../blobs/, which may lead on.
        target = Path(os.path.normpath(folder / os.readlink(path)))
        repository = next((p.parent for p in folder.parents if p.name == "snapshots"), None)
        if repository is None or target.parent != repository / "blobs":
            raise UnsafeCheckpointError(
                f"{path}, listed in {index_path}, is a link out of its folder"
            )
    return str(path)
