"""Writing `model.safetensors`, in shards where it is large."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from huggingface_hub import split_state_dict_into_shards_factory

from tfhf.checkpoints.checkpoint import TensorEntry
from tfhf.checkpoints.safetensors_file import DTYPES

_DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_DTYPE_ORDER = {dtype: order for order, dtype in enumerate(DTYPES.values())}


def write_safetensors(
    folder: str | os.PathLike[str],
    entries: Iterable[TensorEntry],
    max_shard_size: int | str = "50GB",
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write `model.safetensors`, or `model-0000i-of-0000n.safetensors` and their index.

    The files are, byte for byte, those that the `safetensors` library writes, with the tensors
    spread over shards as `huggingface_hub` does. Only one tensor is in memory at a time. Nothing
    here is atomic: write into the folder that `atomic.replace_folder` gives.

    Args:
        folder: an existing folder.
        entries: the tensors, in the order in which they fill the shards.
        max_shard_size: the most bytes of tensors in a shard, as a number or like "500MB"; a tensor
            that alone is larger gets a shard of its own.
        metadata: strings for the file's header; by default `{"format": "pt"}`, which Transformers
            asks for.

    Raises:
        ValueError: two tensors have one name, a dtype has no name in the format, a tensor reads as
            another shape or dtype than its entry says, or `max_shard_size` is no size.

    Example:
        >>> import tempfile
        >>> weight = np.zeros((2, 3), "float32")
        >>> entry = TensorEntry("pooler.weight", weight.shape, weight.dtype, lambda: weight)
        >>> folder = tempfile.mkdtemp()
        >>> write_safetensors(folder, [entry])
        >>> os.listdir(folder)
        ['model.safetensors']
    """
    folder = Path(folder)
    by_name: dict[str, TensorEntry] = {}
    for entry in entries:
        if entry.name in by_name:
            raise ValueError(f"entries has two tensors named {entry.name!r}")
        if entry.dtype not in _DTYPE_NAMES:
            raise ValueError(
                f"tensor {entry.name!r} has dtype {entry.dtype}, expected one of "
                f"{', '.join(map(str, _DTYPE_NAMES))}"
            )
        by_name[entry.name] = entry
    try:
        if not isinstance(max_shard_size, str) and max_shard_size < 1:
            raise ValueError("it is no size")
        split = split_state_dict_into_shards_factory(
            by_name,
            get_storage_size=lambda entry: entry.nbytes,
            filename_pattern="model{suffix}.safetensors",
            max_shard_size=max_shard_size,
        )
    except (TypeError, ValueError) as error:
        raise ValueError(
            f'max_shard_size is {max_shard_size!r}, expected a number of bytes or such as "500MB"'
        ) from error
    metadata = {"format": "pt"} if metadata is None else metadata
    # Without tensors there are no shards.
    files = split.filename_to_tensors or {"model.safetensors": []}
    for file_name, names in files.items():
        _write_file(folder / file_name, [by_name[name] for name in names], metadata)
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        content = json.dumps(index, indent=2, sort_keys=True) + "\n"
        (folder / "model.safetensors.index.json").write_text(content, encoding="utf-8")


def _write_file(path: Path, entries: Sequence[TensorEntry], metadata: Mapping[str, str]) -> None:
    entries = sorted(entries, key=lambda entry: (-_DTYPE_ORDER[entry.dtype], entry.name))
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    position = 0
    for entry in entries:
        header[entry.name] = {
            "dtype": _DTYPE_NAMES[entry.dtype],
            "shape": entry.shape,
            "data_offsets": (position, position + entry.nbytes),
        }
        position += entry.nbytes
    encoded = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)  # So that the tensors are aligned.
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little"))
        file.write(encoded)
        for entry in entries:
            file.write(_bytes(entry).data)


def _bytes(entry: TensorEntry) -> np.ndarray:
    value = np.asarray(entry.read())
    if value.shape != tuple(entry.shape) or value.dtype != entry.dtype:
        raise ValueError(
            f"tensor {entry.name!r} reads as {value.dtype} {value.shape}, expected "
            f"{entry.dtype} {tuple(entry.shape)}"
        )
    return np.ascontiguousarray(value).reshape(-1).view(np.uint8)
