"""KerasHub's models as tfhf's, and back.

KerasHub itself reads what ``save_pretrained`` writes. The other way, its converters are asked where
each tensor of a Hugging Face file goes and how it is turned, and the answers are read backwards: a
converter only moves numbers, and by moving their positions one learns where each came from.
"""

from __future__ import annotations

import importlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
from transformers import AutoConfig, PretrainedConfig

from tfhf import models
from tfhf.checkpoints.pretrained import tensor_entries
from tfhf.checkpoints.writer import write_safetensors
from tfhf.keras_hub_families import FAMILIES
from tfhf.models.names import MODELS

#: The rotations beside the usual one that KerasHub has, by the type of the model.
ROTATIONS = {"llama": "llama3", "mistral": "linear", "qwen2": "linear", "qwen3": "linear"}
#: What KerasHub may do without: zeros take its place.
ZEROS = ("token_type_embeddings.weight", "final_logits_bias")


def from_keras_hub(preset: Any) -> Any:
    """Return a tfhf model with the weights of a KerasHub one.

    Args:
        preset: the name or the folder of a preset, or a backbone or language model of KerasHub:
            ALBERT, BART, BERT, DistilBERT, Gemma 2, GPT-2, Llama 3, Mistral, Qwen 2, Qwen 3,
            RoBERTa or XLM-RoBERTa.

    Returns:
        The encoder without a head, or the decoder with the one that scores tokens.

    Raises:
        ValueError: another architecture, or a setting that tfhf has not.

    Example:
        >>> theirs = keras_hub.models.BertBackbone(
        ...     vocabulary_size=9, num_layers=1, num_heads=2, hidden_dim=4, intermediate_dim=8)
        >>> type(from_keras_hub(theirs)).__name__
        'TFBertModel'
    """
    theirs = preset
    if isinstance(preset, str | os.PathLike):
        theirs = keras_hub.models.Backbone.from_preset(os.fspath(preset))
    backbone = getattr(theirs, "backbone", theirs)
    name = type(backbone).__name__
    if name not in FAMILIES:
        raise ValueError(f"preset is a {name}, but tfhf takes only {', '.join(FAMILIES)}")
    family = FAMILIES[name]
    settings = backbone.get_config()
    if hasattr(backbone, "tie_word_embeddings"):  # Llama's get_config leaves it out
        settings["tie_word_embeddings"] = backbone.tie_word_embeddings
    config = {ours: settings[key] for key, ours in family.names.items() if key in settings}
    config |= family.others(settings)
    model_class = _class_named(family.model_class)
    model = model_class(AutoConfig.for_model(family.model_type, **config), **family.options)

    bindings = model.weight_table.bind(model)
    shapes = {n: shape for binding in bindings for n, shape in zip(binding.names, binding.shapes)}
    found = _Reversed(shapes)
    module = f"keras_hub.src.utils.transformers.convert_{family.converter}"
    importlib.import_module(module).convert_weights(backbone, found, model.config.to_dict())
    for binding in bindings:
        if missing := [n for n in binding.names if n not in found.arrays]:
            raise ValueError(f"{name} has nothing for {missing[0]}")
        binding.variable.assign(binding.join([found.arrays[n] for n in binding.names]))
    return model


def to_keras_hub(model: Any) -> Any:
    """Return a KerasHub model with the weights of a tfhf one.

    KerasHub computes BERT and ALBERT with the approximate GELU ("gelu_new"), whatever the
    configuration says, the norms of Qwen 3's queries and keys, RoBERTa's and BART's with an epsilon
    of 1e-5, Gemma 2's with 1e-6, and rounds Mistral's weights to float16. RoBERTa's and BART's
    positions are counted as if a text had no padding before its end.

    Args:
        model: one of an architecture that KerasHub's converters know: those of
            :func:`from_keras_hub`, Gemma 3 and SmolLM3.

    Returns:
        A ``keras_hub.models.CausalLM`` or ``Seq2SeqLM`` without a preprocessor of a decoder with a
        head that scores tokens, the backbone of any other model: other heads stay behind.

    Raises:
        ValueError: KerasHub has no such architecture, or not this setting of it.

    Example:
        >>> from transformers import BertConfig
        >>> import tfhf
        >>> size = {"hidden_size": 4, "num_attention_heads": 2, "num_hidden_layers": 1}
        >>> theirs = to_keras_hub(tfhf.TFBertModel(BertConfig(**size)))
        >>> type(theirs).__name__
        'BertBackbone'
    """
    settings = _unread_settings(model.config)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        _write_old_names(Path(folder, "config.json"))
        if model.base_model is model:  # some converters want a body's names as heads have them
            start = f"{model.base_model_prefix}."
            entries = [e._replace(name=start + e.name) for e in tensor_entries(model)]
            write_safetensors(folder, entries)
        backbone = keras_hub.models.Backbone.from_preset(folder, **settings)
        if model.config.model_type == "roberta":  # XLM-RoBERTa's converter does so
            positions = backbone.embeddings.position_embedding.position_embeddings
            positions.assign_add(model.base_model.embeddings.token_type.weights[0][0])
        if not model.can_generate:
            return backbone
        is_seq2seq = model.config.is_encoder_decoder
        task = keras_hub.models.Seq2SeqLM if is_seq2seq else keras_hub.models.CausalLM
        return task.from_preset(folder, backbone=backbone, preprocessor=None)


class _Reversed:
    """Stands where a converter reads tensors of a file, and learns them from the variables.

    Args:
        shapes: of the tensors that there are, by name.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.shapes = shapes
        self.arrays: dict[str, np.ndarray] = {
            name: np.zeros(shape, "float32")
            for name, shape in shapes.items()
            if name.endswith(ZEROS)
        }

    def port_weight(
        self,
        keras_variable: keras.Variable,
        hf_weight_key: str,
        hook_fn: Callable[[np.ndarray, list[int]], np.ndarray] | None = None,
    ) -> None:
        """Learn the tensor that a converter would put into a variable."""
        name = self._full_name(hf_weight_key)
        if name is None:
            return
        value = keras.ops.convert_to_numpy(keras_variable)
        shape = self.shapes[name]
        positions: Any = np.arange(np.prod(shape)).reshape(shape).view(_Positions)
        if hook_fn is not None:
            positions = hook_fn(positions, list(value.shape))
        # Several variables may be parts of one tensor; first positions may be nobody's.
        array = self.arrays.setdefault(name, np.zeros(shape, value.dtype))
        array.reshape(-1)[np.asarray(positions).reshape(-1)] = value.reshape(-1)

    def get_tensor(self, hf_weight_key: str) -> np.ndarray:
        """Say which names there are: some converters try several, or add what they read."""
        name = self._full_name(hf_weight_key)
        if name is None:
            raise KeyError(hf_weight_key)
        return np.zeros(self.shapes[name])

    def _full_name(self, name: str) -> str | None:
        """Return a name as it is with a head around the body."""
        full = (
            key
            for key in self.shapes
            if f".{key}".endswith(f".{name}") or f".{name}".endswith(f".{key}")
        )
        return next(full, None)


class _Positions(np.ndarray):
    """Integers that stay what they are where a converter rounds a tensor."""

    def astype(self, *args: Any, **kwargs: Any) -> Any:
        """Return the array itself."""
        return self


def _unread_settings(config: PretrainedConfig) -> dict[str, Any]:
    """Return KerasHub's names of the settings that its converters do not read.

    Raises:
        ValueError: KerasHub has no such setting.
    """
    kind = config.model_type
    settings: dict[str, Any] = {}
    if kind == "llama":
        settings["layer_norm_epsilon"] = config.rms_norm_eps
    if kind in ("qwen2", "qwen3"):
        kinds = set(config.layer_types)
        if len(kinds) > 1:
            raise ValueError(
                "layer_types: KerasHub has a window in all layers or in none, but model has it in "
                f"{config.layer_types.count('sliding_attention')} of {len(config.layer_types)}"
            )
        slides = kinds == {"sliding_attention"}
        if kind == "qwen2":
            settings["use_sliding_window_attention"] = slides
        else:
            settings["sliding_window_size"] = config.sliding_window if slides else None
    if kind == "gemma2" and config.query_pre_attn_scalar != config.head_dim:
        raise ValueError(
            f"query_pre_attn_scalar must be KerasHub's, head_dim = {config.head_dim}, but is "
            f"{config.query_pre_attn_scalar}"
        )
    if kind == "bart" and config.encoder_layers != config.decoder_layers:
        raise ValueError(
            "encoder_layers and decoder_layers must be one number for KerasHub, but are "
            f"{config.encoder_layers} and {config.decoder_layers}"
        )
    rotation = getattr(config, "rope_parameters", None) or {}
    rope_type = rotation.get("rope_type", "default")
    if rope_type not in ("default", ROTATIONS.get(kind)):
        raise ValueError(f"rope_type: KerasHub's {kind} has no {rope_type!r}")
    if rope_type == "linear":
        settings["rope_scaling_factor"] = rotation["factor"]
    return settings


def _write_old_names(file: Path) -> None:
    """Write some settings as Transformers 4 did, too: KerasHub looks for these."""
    config = json.loads(file.read_text(encoding="utf-8"))
    rotation = config.get("rope_parameters") or {}
    if rotation.get("rope_type") == "llama3":
        config["rope_scaling"] = rotation
    if "encoder_layers" in config:
        config["num_hidden_layers"] = config["encoder_layers"]
    file.write_text(json.dumps(config), encoding="utf-8")


def _class_named(name: str) -> Any:
    module = next(module for module, names in MODELS.items() if name in names)
    return getattr(importlib.import_module(f"{models.__name__}.{module}"), name)
