"""KerasHub's models as tfhf's, and back.

KerasHub itself reads what ``save_pretrained`` writes. The other way, its converters are asked where
each tensor of a Hugging Face file goes and how it is turned, and the answers are read backwards: a
converter only moves numbers, and by moving their positions one learns where each came from.
"""

from __future__ import annotations

import importlib
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import keras
import keras_hub
import numpy as np
from transformers import AutoConfig

from tfhf import models
from tfhf.checkpoints.pretrained import tensor_entries
from tfhf.checkpoints.writer import write_safetensors
from tfhf.models.names import MODELS

#: What KerasHub calls the sizes that all architectures have.
SIZES = {
    "vocabulary_size": "vocab_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "hidden_dim": "hidden_size",
    "intermediate_dim": "intermediate_size",
    "max_sequence_length": "max_position_embeddings",
    "dropout": "hidden_dropout_prob",
}
EMBEDDINGS = SIZES | {"num_segments": "type_vocab_size"}
ROTARY = {
    "vocabulary_size": "vocab_size",
    "num_layers": "num_hidden_layers",
    "num_query_heads": "num_attention_heads",
    "num_key_value_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "hidden_dim": "hidden_size",
    "intermediate_dim": "intermediate_size",
    "layer_norm_epsilon": "rms_norm_eps",
    "tie_word_embeddings": "tie_word_embeddings",
}


class _Family(NamedTuple):
    """How an architecture is called there, and here."""

    converter: str
    model_type: str
    model_class: str
    #: From KerasHub's names of settings to those of the configuration.
    names: Mapping[str, str]
    #: What the configuration has beside these.
    others: Callable[[Mapping[str, Any]], dict[str, Any]] = lambda theirs: {}


FAMILIES = {
    "AlbertBackbone": _Family(
        "albert",
        "albert",
        "TFAlbertModel",
        EMBEDDINGS
        | {
            "embedding_dim": "embedding_size",
            "num_groups": "num_hidden_groups",
            "num_inner_repetitions": "inner_group_num",
        },
        lambda theirs: {"hidden_act": "gelu_new"},
    ),
    "BertBackbone": _Family(
        "bert", "bert", "TFBertModel", EMBEDDINGS, lambda theirs: {"hidden_act": "gelu_new"}
    ),
    "DistilBertBackbone": _Family(
        "distilbert",
        "distilbert",
        "TFDistilBertModel",
        {
            "vocabulary_size": "vocab_size",
            "num_layers": "n_layers",
            "num_heads": "n_heads",
            "hidden_dim": "dim",
            "intermediate_dim": "hidden_dim",
            "max_sequence_length": "max_position_embeddings",
            "dropout": "dropout",
        },
    ),
    "GPT2Backbone": _Family(
        "gpt2",
        "gpt2",
        "TFGPT2LMHeadModel",
        {
            "vocabulary_size": "vocab_size",
            "num_layers": "n_layer",
            "num_heads": "n_head",
            "hidden_dim": "n_embd",
            "intermediate_dim": "n_inner",
            "max_sequence_length": "n_positions",
            "dropout": "resid_pdrop",
        },
    ),
    "Llama3Backbone": _Family(
        "llama3",
        "llama",
        "TFLlamaForCausalLM",
        ROTARY,
        lambda theirs: {"rope_parameters": _llama3_rotation(theirs)},
    ),
    "MistralBackbone": _Family(
        "mistral",
        "mistral",
        "TFMistralForCausalLM",
        ROTARY | {"sliding_window": "sliding_window"},
        lambda theirs: {"rope_parameters": _rotation(theirs)},
    ),
    "QwenBackbone": _Family(
        "qwen",
        "qwen2",
        "TFQwen2ForCausalLM",
        ROTARY | {"use_sliding_window": "use_sliding_window"},
        lambda theirs: {
            "rope_parameters": _rotation(theirs),
            "sliding_window": theirs["sliding_window_size"],
        },
    ),
    "Qwen3Backbone": _Family(
        "qwen3",
        "qwen3",
        "TFQwen3ForCausalLM",
        ROTARY,
        lambda theirs: {
            "rope_parameters": _rotation(theirs),
            "use_sliding_window": theirs["sliding_window_size"] is not None,
            "sliding_window": theirs["sliding_window_size"],
        },
    ),
}


def from_keras_hub(preset: Any) -> Any:
    """Return a tfhf model with the weights of a KerasHub one.

    Args:
        preset: the name or the folder of a preset, or a backbone or causal language model of
            KerasHub: ALBERT, BERT, DistilBERT, GPT-2, Llama 3, Mistral, Qwen 2 or Qwen 3.

    Returns:
        The encoder without a head, or the decoder with the one that scores tokens.

    Raises:
        ValueError: another architecture.

    Example:
        >>> theirs = keras_hub.models.BertBackbone(
        ...     vocabulary_size=9, num_layers=1, num_heads=2, hidden_dim=4, intermediate_dim=8)
        >>> type(from_keras_hub(theirs)).__name__
        'TFBertModel'
    """
    theirs = keras_hub.models.Backbone.from_preset(preset) if isinstance(preset, str) else preset
    backbone = getattr(theirs, "backbone", theirs)
    name = type(backbone).__name__
    if name not in FAMILIES:
        raise ValueError(f"preset is a {name}, but tfhf takes only {', '.join(FAMILIES)}")
    family = FAMILIES[name]
    settings = backbone.get_config()
    config = {ours: settings[key] for key, ours in family.names.items() if key in settings}
    config |= family.others(settings)
    model = _class_named(family.model_class)(AutoConfig.for_model(family.model_type, **config))

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
    configuration says, the norms of Qwen 3's queries and keys with an epsilon of 1e-5, and rounds
    Mistral's weights to float16.

    Args:
        model: one of an architecture that KerasHub's converters know.

    Returns:
        A ``keras_hub.models.CausalLM`` without a preprocessor of a decoder with a head that scores
        tokens, the backbone of any other model: other heads stay behind.

    Raises:
        ValueError: KerasHub has no such architecture.

    Example:
        >>> from transformers import BertConfig
        >>> import tfhf
        >>> size = {"hidden_size": 4, "num_attention_heads": 2, "num_hidden_layers": 1}
        >>> theirs = to_keras_hub(tfhf.TFBertModel(BertConfig(**size)))
        >>> type(theirs).__name__
        'BertBackbone'
    """
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        _write_old_names(Path(folder, "config.json"))
        if model.base_model is model:  # some converters want a body's names as heads have them
            start = f"{model.base_model_prefix}."
            entries = [e._replace(name=start + e.name) for e in tensor_entries(model)]
            write_safetensors(folder, entries)
        if model.can_generate and not model.config.is_encoder_decoder:
            return keras_hub.models.CausalLM.from_preset(folder, preprocessor=None)
        return keras_hub.models.Backbone.from_preset(folder)


class _Reversed:
    """Stands where a converter reads tensors of a file, and learns them from the variables.

    Args:
        shapes: of the tensors that there are, by name.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.shapes = shapes
        self.arrays: dict[str, np.ndarray] = {}

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
        # Several variables may be parts of one tensor.
        array = self.arrays.setdefault(name, np.empty(shape, value.dtype))
        array.reshape(-1)[np.asarray(positions).reshape(-1)] = value.reshape(-1)

    def get_tensor(self, hf_weight_key: str) -> np.ndarray:
        """Say which names there are: some converters try several."""
        name = self._full_name(hf_weight_key)
        if name is None:
            raise KeyError(hf_weight_key)
        return np.empty(self.shapes[name])

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


def _write_old_names(file: Path) -> None:
    """Write the rotation's settings as Transformers 4 did, too: KerasHub looks for these."""
    config = json.loads(file.read_text(encoding="utf-8"))
    rotation = config.get("rope_parameters") or {}
    if rotation.get("rope_type", "default") != "default":
        file.write_text(json.dumps(config | {"rope_scaling": rotation}), encoding="utf-8")


def _class_named(name: str) -> Any:
    module = next(module for module, names in MODELS.items() if name in names)
    return getattr(importlib.import_module(f"{models.__name__}.{module}"), name)


def _rotation(theirs: Mapping[str, Any]) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": theirs["rope_max_wavelength"]}


def _llama3_rotation(theirs: Mapping[str, Any]) -> dict[str, Any]:
    factor = theirs.get("rope_frequency_adjustment_factor")
    if factor is None:
        return _rotation(theirs)
    return _rotation(theirs) | {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": theirs["rope_low_freq_factor"],
        "high_freq_factor": theirs["rope_high_freq_factor"],
        "original_max_position_embeddings": theirs["rope_pretraining_sequence_length"],
    }
