"""Models from folders or the Hub, and back: ``from_pretrained`` and ``save_pretrained``."""

from __future__ import annotations

import json
import logging
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from transformers import GenerationConfig, PretrainedConfig

from tfhf.checkpoints.atomic import replace_folder
from tfhf.checkpoints.locate import find_file, find_weights
from tfhf.checkpoints.reader import Checkpoint, open_checkpoint
from tfhf.checkpoints.weight_table import Binding, WeightTable
from tfhf.checkpoints.writer import TensorEntry, write_safetensors
from tfhf.layers import loading_weights

logger = logging.getLogger(__name__)

HUB_ARGUMENTS = (
    "revision",
    "token",
    "cache_dir",
    "local_files_only",
    "force_download",
    "subfolder",
)
WEIGHT_FILES = ("model.safetensors", "model-*.safetensors", "model.safetensors.index.json")


class LoadingInfo(NamedTuple):
    """What a checkpoint lacked, had too much, and had in another shape; PyTorch names."""

    missing_keys: list[str]
    unexpected_keys: list[str]
    mismatched_keys: list[tuple[str, tuple[int, ...], tuple[int, ...]]]


def from_pretrained(
    model_class: Any,
    name_or_path: str | os.PathLike,
    *,
    config: PretrainedConfig | None = None,
    dtype: Any = None,
    ignore_mismatched_sizes: bool = False,
    output_loading_info: bool = False,
    use_safetensors: bool | None = None,
    trust_remote_code: bool = False,
    from_pt: bool = False,
    **kwargs: Any,
) -> Any:
    """Make a model and fill it; ``TFPreTrainedModel.from_pretrained`` has the arguments.

    ``from_pt`` is taken and not needed: every format is read without being told.
    """
    if trust_remote_code:
        raise ValueError("trust_remote_code=True: tfhf never runs code from a checkpoint")
    del from_pt
    hub = {name: kwargs.pop(name) for name in HUB_ARGUMENTS if name in kwargs}
    name_or_path = os.fspath(name_or_path)
    if config is None:
        if not find_file(name_or_path, "config.json", **hub):
            raise OSError(f"{name_or_path} has no config.json, so it is no checkpoint of a model")
        config = model_class.config_class.from_pretrained(name_or_path, **hub)
    for name, value in kwargs.items():
        if not hasattr(config, name):
            raise TypeError(
                f"from_pretrained got an unknown argument {name!r}: it is neither its own nor one "
                f"of {type(config).__name__}"
            )
        setattr(config, name, value)

    weights = find_weights(name_or_path, use_safetensors=use_safetensors, **hub)
    with open_checkpoint(weights) as checkpoint:
        scorer, table, start = model_class.scoring_part(config)
        tied = getattr(scorer, "tie_word_embeddings", False)
        if tied and _has_own_head(table, start, checkpoint):
            scorer.tie_word_embeddings = False
        with loading_weights():
            model = model_class(config, dtype=_policy(dtype, checkpoint))
        info = load_weights(model, checkpoint, ignore_mismatched_sizes=ignore_mismatched_sizes)
    model.name_or_path = name_or_path
    _report(model, name_or_path, info)
    if model.can_generate:
        model.generation_config = _generation_config(model, name_or_path, hub)
    return (model, info._asdict()) if output_loading_info else model


def _generation_config(model: Any, name_or_path: str, hub: dict[str, Any]) -> GenerationConfig:
    """Return the settings of a checkpoint; old ones keep them in ``config.json``.

    Transformers 5 does not read them there. ``task_specific_params`` are ignored, as by 4.57.
    """
    if find_file(name_or_path, "generation_config.json", **hub):
        return GenerationConfig.from_pretrained(name_or_path, **hub)
    file = find_file(name_or_path, "config.json", **hub)
    written = {} if file is None else json.loads(Path(file).read_text(encoding="utf-8"))
    return GenerationConfig.from_model_config(written | model.config.to_dict())


def _has_own_head(table: WeightTable, start: str, checkpoint: Checkpoint) -> bool:
    """Whether tokens are scored by other vectors than those they are read as.

    Transformers 5 believes the file, not the configuration, which for T5 always says that they are
    the same. ``start`` is what names begin with.
    """
    names = [f"{start}{name}" for name in table.own_head() or ()]
    if not names or any(name not in checkpoint for name in names):
        return False
    head, embeddings = (checkpoint[name] for name in names)
    return not np.array_equal(head, embeddings)


def load_weights(
    model: Any, checkpoint: Checkpoint, *, ignore_mismatched_sizes: bool = False
) -> LoadingInfo:
    """Fill a model's variables from an open checkpoint; those that it lacks start anew.

    Raises:
        ValueError: a tensor has another shape, unless ``ignore_mismatched_sizes``.
    """
    table = model.weight_table
    bindings = table.bind(model)
    copies = table.copies(bindings)
    found = _match_prefix(model, bindings, copies, checkpoint)
    info = LoadingInfo([], [], [])
    for binding in bindings:
        for name, shape in zip(binding.names, binding.shapes):
            if name not in found:
                info.missing_keys.append(name)
            elif checkpoint.shape(found[name]) != shape:
                info.mismatched_keys.append((name, checkpoint.shape(found[name]), shape))
    if info.mismatched_keys and not ignore_mismatched_sizes:
        lines = [f"{name}: {theirs} in the file, {ours} in the model"
                 for name, theirs, ours in info.mismatched_keys]  # fmt: skip
        raise ValueError(
            f"the checkpoint does not fit {type(model).__name__} (ignore_mismatched_sizes=True "
            "starts these anew):\n  " + "\n  ".join(lines)
        )
    new = {*info.missing_keys, *(name for name, _, _ in info.mismatched_keys)}
    info.missing_keys[:] = [name for name in info.missing_keys if name not in table.optional]
    # The largest first: for a moment they take twice their memory.
    for binding in sorted(bindings, key=lambda b: math.prod(b.variable.shape), reverse=True):
        if new.intersection(binding.names):
            binding.variable.assign(binding.initialize())
            continue
        entries = [checkpoint.entries[found[name]] for name in binding.names]
        value = _tensor(binding.join([entry.read() for entry in entries]))
        binding.variable.assign(tf.cast(value, binding.variable.dtype))
        for entry in entries:
            entry.release()
    used = set(found.values())
    info.unexpected_keys.extend(
        name
        for name in checkpoint
        if name not in used and not any(re.search(pattern, name) for pattern in table.ignored)
    )
    return info


def _tensor(array: np.ndarray) -> tf.Tensor:
    if array.flags.f_contiguous and not array.flags.c_contiguous:
        return tf.transpose(_tensor(array.T))  # several times as fast as NumPy
    array = np.ascontiguousarray(array)
    if array.dtype != tf.bfloat16.as_numpy_dtype:
        return tf.convert_to_tensor(array)
    # TensorFlow copies arrays of this type twice, but integers once.
    return tf.bitcast(tf.convert_to_tensor(array.view(np.uint16)), tf.bfloat16)


def _match_prefix(
    model: Any, bindings: list[Binding], copies: Mapping[str, str], checkpoint: Checkpoint
) -> dict[str, str]:
    """Map the names that the model expects to those in the file, with or without the prefix."""
    prefix = f"{model.base_model_prefix}."
    is_body = model.base_model is model
    prefixed = any(name.startswith(prefix) for name in checkpoint)

    def in_file(name: str) -> str | None:
        candidates = [name]
        if is_body and prefixed:
            candidates = [prefix + name]
        elif not is_body and not prefixed and name.startswith(prefix):
            candidates.append(name.removeprefix(prefix))
        return next((candidate for candidate in candidates if candidate in checkpoint), None)

    found = {}
    for name in [name for binding in bindings for name in binding.names]:
        source = in_file(name)
        if source is not None:
            found[name] = source
    for copy, name in copies.items():
        source = in_file(copy)
        if source is not None:
            found[copy] = source
            found.setdefault(name, source)
    return found


def _policy(dtype: Any, checkpoint: Checkpoint) -> Any:
    if dtype is None or isinstance(dtype, keras.DTypePolicy):
        return dtype
    if dtype == "auto":
        floats = {str(checkpoint.dtype(name)) for name in checkpoint}
        return next((name for name in ("float32", "bfloat16", "float16") if name in floats), None)
    return dtype if isinstance(dtype, str) else tf.as_dtype(dtype).name


def _report(model: Any, name_or_path: str, info: LoadingInfo) -> None:
    cls = type(model).__name__
    if info.unexpected_keys:
        logger.warning(
            "Some weights of the checkpoint at %s were not used by %s: %s",
            name_or_path, cls, info.unexpected_keys,
        )  # fmt: skip
    new = info.missing_keys + [name for name, _, _ in info.mismatched_keys]
    if new:
        logger.warning(
            "Some weights of %s are not in the checkpoint at %s and start with random values: %s. "
            "Train the model before you use it.",
            cls, name_or_path, new,
        )  # fmt: skip


def save_pretrained(
    model: Any, save_directory: str | os.PathLike, *, max_shard_size: int | str = "5GB"
) -> None:
    """Write a model's configuration and weights; the folder changes at once."""
    with replace_folder(Path(save_directory), drop=WEIGHT_FILES) as folder:
        (folder / "config.json").write_text(_config_text(model.copy_config()))
        if model.can_generate:
            model.generation_config.save_pretrained(folder)
        write_safetensors(folder, list(tensor_entries(model)), max_shard_size=max_shard_size)


def _config_text(config: PretrainedConfig) -> str:
    """Return what ``config.json`` holds.

    Transformers leaves out two labels that have their first names; BART then reads three.
    """
    text = config.to_json_string()
    if config.num_labels != 2 or type(config).from_dict(json.loads(text)).num_labels == 2:
        return text
    named = {"id2label": config.id2label, "label2id": config.label2id}
    return json.dumps(json.loads(text) | named, indent=2, sort_keys=True) + "\n"


def tensor_entries(model: Any) -> list[TensorEntry]:
    """Return every tensor that the PyTorch class expects, to be read one at a time."""
    bindings = model.weight_table.bind(model)
    entries = {}
    for binding in bindings:
        for i, (name, shape) in enumerate(zip(binding.names, binding.shapes)):
            dtype = np.dtype(tf.as_dtype(binding.variable.dtype).as_numpy_dtype)

            def read(binding: Binding = binding, i: int = i) -> np.ndarray:
                return np.ascontiguousarray(binding.split(binding.variable.numpy())[i])

            entries[name] = TensorEntry(name, shape, dtype, read)
    for unread, name in model.weight_table.unread(bindings).items():
        entries[unread] = entries[name]._replace(name=unread)
    return list(entries.values())
