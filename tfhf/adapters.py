"""LoRA: train two small matrices beside each large one, which stays as it is.

Modules go by their names in PyTorch, which the weight tables know; files are those of the ``peft``
library, both ways.
Reference: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, 2021,
https://arxiv.org/abs/2106.09685.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from tfhf.checkpoints.atomic import replace_folder
from tfhf.checkpoints.checkpoint import TensorEntry
from tfhf.checkpoints.locate import find_file
from tfhf.checkpoints.reader import open_checkpoint
from tfhf.checkpoints.weight_table import Binding, WeightTable
from tfhf.checkpoints.writer import write_safetensors
from tfhf.layers import Dense
from tfhf.layers.low_rank import LowRankUpdate, updates

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
PICKLE_FILE = "adapter_model.bin"
START = "base_model.model."
#: The modules that are adapted where nothing else is said: as in peft, which knows fewer models.
TARGETS = {
    "query value": "bert electra roberta xlm-roberta camembert longformer",
    "q_lin v_lin": "distilbert",
    "query_proj value_proj": "deberta-v2",
    "in_proj": "deberta",
    "q v": "t5 mt5",
    "c_attn": "gpt2 openai-gpt",
    "query_key_value": "bloom gpt_neox",
    "qkv_proj": "phi3",
    "q_proj v_proj": "bart mbart marian pegasus opt gptj gpt_neo llama mistral qwen2 qwen3 gemma2 "
    "gemma3_text smollm3",
}
#: The modules that are trained whole for a kind of task, since they start at random.
HEADS = {
    "SEQ_CLS": ["classifier", "score"],
    "TOKEN_CLS": ["classifier", "score"],
    "QUESTION_ANS": ["qa_outputs"],
}
#: What peft writes that changes nothing here.
HARMLESS = {
    "alora_invocation_tokens",
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "revision",
}


@dataclass
class LoraConfig:
    """What LoRA adapts, and how: the fields of peft's ``LoraConfig`` that are supported.

    Args:
        r: the size between the two matrices.
        lora_alpha: updates are multiplied by ``lora_alpha / r``.
        target_modules: ends of PyTorch's names of dense layers, as ``["query", "value"]``; one
            regular expression for whole names; or ``"all-linear"``, all but the head. Default:
            queries and values, as in peft.
        lora_dropout: the share of inputs that the updates do not see in training.
        use_rslora: multiply by ``lora_alpha / sqrt(r)`` instead.
        modules_to_save: ends of names of modules that are trained whole, and saved.
        task_type: "SEQ_CLS", "TOKEN_CLS" or "QUESTION_ANS" train the head whole, too.
        fan_in_fan_out: whether PyTorch keeps the matrices as [in, out]. It is written as it is
            right for the model.

    Raises:
        ValueError: a number that cannot be.

    Example:
        >>> LoraConfig(r=4, target_modules=["query"]).scaling
        2.0
    """

    r: int = 8
    lora_alpha: float = 8
    target_modules: Sequence[str] | str | None = None
    lora_dropout: float = 0.0
    use_rslora: bool = False
    modules_to_save: Sequence[str] | None = None
    task_type: str | None = None
    fan_in_fan_out: bool = False

    def __post_init__(self) -> None:
        if self.r < 1:
            raise ValueError(f"r must be at least 1, but it is {self.r}")
        if not 0 <= self.lora_dropout < 1:
            raise ValueError(f"lora_dropout must be 0 to below 1, but it is {self.lora_dropout}")

    @property
    def scaling(self) -> float:
        """The factor of updates."""
        return self.lora_alpha / (self.r**0.5 if self.use_rslora else self.r)

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike[str], **hub: Any) -> LoraConfig:
        """Read ``adapter_config.json`` from a folder or the Hub.

        Raises:
            OSError: there is none.
            ValueError: it asks for something else than plain LoRA.
        """
        file = find_file(name_or_path, CONFIG_FILE, **hub)
        if file is None:
            raise OSError(f"{os.fspath(name_or_path)} has no {CONFIG_FILE}: it is no adapter")
        written = json.loads(Path(file).read_text(encoding="utf-8"))
        if written.get("peft_type") != "LORA":
            raise ValueError(f"{file} is of peft_type {written.get('peft_type')!r}, not LORA")
        known = {field.name for field in dataclasses.fields(cls)}
        harmless = known | HARMLESS | {"bias", "init_lora_weights"}
        other = [name for name, value in written.items() if value and name not in harmless]
        if written.get("bias", "none") != "none":
            other.append("bias")
        if written.get("init_lora_weights", True) not in (True, False, "gaussian"):
            other.append("init_lora_weights")  # others begin by changing the model
        if other:
            raise ValueError(f"{file} asks for what tfhf does not have: {', '.join(sorted(other))}")
        return cls(**{name: written[name] for name in known & written.keys()})


class _Target(NamedTuple):
    """A PyTorch module that is a dense layer here, or a part of one."""

    name: str
    layer: Any
    part_sizes: tuple[int, ...]
    part: int
    #: Where each of PyTorch's outputs is among those of the part.
    order: np.ndarray
    fan_in_fan_out: bool


class TFAdapterMixin:
    """The part of :class:`~tfhf.modeling.TFPreTrainedModel` that LoRA needs."""

    #: What LoRA adds to the model, if anything.
    adapter: LoraConfig | None = None
    weight_table: WeightTable
    distribute_strategy: Any
    forget_functions: Callable[[], None]

    def add_adapter(self, adapter_config: LoraConfig) -> None:
        """Freeze the model, and train small matrices beside its dense layers: LoRA.

        Compile the model afterwards. ``save_pretrained`` writes the adapter alone, as ``peft``
        does, until :meth:`merge_adapter` makes it a part of the model.

        Args:
            adapter_config: what is adapted, and how.

        Raises:
            ValueError: there is an adapter, or no layer has such a name.

        Example:
            >>> from transformers import BertConfig
            >>> import tfhf
            >>> size = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}
            >>> model = tfhf.TFBertModel(BertConfig(**size))
            >>> model.add_adapter(tfhf.LoraConfig(r=2, target_modules=["query", "value"]))
            >>> model.num_parameters(only_trainable=True)
            64
        """
        if self.adapter is not None:
            raise ValueError("the model has an adapter: merge_and_unload or delete_adapter first")
        bindings = self.weight_table.bind(self)
        targets = _targets(self, adapter_config, bindings)
        saved = _saved_modules(adapter_config)
        for binding in bindings:
            binding.variable.trainable = any(_is_in(name, saved) for name in binding.names)
        for layer in {id(target.layer): target.layer for target in targets}.values():
            own = [target for target in targets if target.layer is layer]
            with self.distribute_strategy.scope():
                update = LowRankUpdate(
                    layer.input_size,
                    own[0].part_sizes,
                    parts=[target.part for target in own],
                    rank=adapter_config.r,
                    scaling=adapter_config.scaling,
                    dropout=adapter_config.lora_dropout,
                    dtype=layer.dtype_policy,
                    name="update",
                )
            layer.set_update(update)
        fan_in_fan_out = any(target.fan_in_fan_out for target in targets)
        self.adapter = dataclasses.replace(adapter_config, fan_in_fan_out=fan_in_fan_out)
        self.forget_functions()

    def load_adapter(self, name_or_path: str | os.PathLike, **kwargs: Any) -> None:
        """Adapt the model by an adapter of ``peft``.

        Args:
            name_or_path: a folder with ``adapter_config.json``, or a Hub id.
            **kwargs: ``revision``, ``token``, ``cache_dir``, ``local_files_only``, ``subfolder``.

        Raises:
            OSError: there is no adapter.
            ValueError: it is none of LoRA's, or of another model.
        """
        config = LoraConfig.from_pretrained(name_or_path, **kwargs)
        files = (find_file(name_or_path, name, **kwargs) for name in (WEIGHTS_FILE, PICKLE_FILE))
        file = next((file for file in files if file), None)
        if file is None:
            raise OSError(f"{os.fspath(name_or_path)} has neither {WEIGHTS_FILE} nor {PICKLE_FILE}")
        self.add_adapter(config)
        try:
            read_adapter(self, file)
        except ValueError:
            self.delete_adapter()
            raise

    def delete_adapter(self) -> None:
        """Take the adapter away; all weights can be trained again."""
        self.unmerge_adapter()
        self._unload()

    def merge_and_unload(self) -> None:
        """Make the adapter a part of the weights, for good; all can be trained again."""
        self.merge_adapter()
        self._unload()

    def _unload(self) -> None:
        for layer, _ in updates(self):
            layer.set_update(None)
        for binding in self.weight_table.bind(self):
            binding.variable.trainable = True
        self.adapter = None
        self.forget_functions()

    def merge_adapter(self) -> None:
        """Add the adapter to the weights: nothing more to compute, files like any model's."""
        for layer, update in updates(self):
            update.merge(layer.kernel)
        self.forget_functions()

    def unmerge_adapter(self) -> None:
        """Take the adapter out of the weights again, up to rounding."""
        for layer, update in updates(self):
            update.unmerge(layer.kernel)
        self.forget_functions()


def save_adapter(model: Any, folder: str | os.PathLike[str]) -> None:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors`` as peft has them."""
    config = dataclasses.asdict(model.adapter)
    listed = {name: list(v) if isinstance(v, tuple) else v for name, v in config.items()}
    listed |= {
        "peft_type": "LORA",
        "base_model_name_or_path": model.name_or_path or None,
        "bias": "none",
        "inference_mode": True,
        "init_lora_weights": True,
        "modules_to_save": _saved_modules(model.adapter) or None,
        "target_modules": _target_names(model, model.adapter),
    }
    entries = [
        TensorEntry(name, array.shape, array.dtype, functools.partial(np.asarray, array))
        for name, array in _arrays(model)
    ]
    with replace_folder(Path(folder), drop=(CONFIG_FILE, WEIGHTS_FILE)) as new:
        (new / CONFIG_FILE).write_text(json.dumps(listed, indent=2, sort_keys=True) + "\n")
        write_safetensors(new, entries)
        (new / "model.safetensors").rename(new / WEIGHTS_FILE)


def _targets(model: Any, config: LoraConfig, bindings: Sequence[Binding]) -> list[_Target]:
    """Return the modules that a configuration names."""
    wanted = _target_names(model, config)
    there = list(_dense_modules(model, bindings))
    if wanted == "all-linear":
        scoring = getattr(getattr(model, "lm_head", None), "decoder", None)
        saved = _saved_modules(config)
        found = [t for t in there if t.layer is not scoring and not _is_in(f"{t.name}.", saved)]
    elif isinstance(wanted, str):
        found = [target for target in there if re.fullmatch(wanted, target.name)]
    else:
        ends = tuple(f".{name}" for name in wanted)
        found = [target for target in there if f".{target.name}".endswith(ends)]
    if not found:
        linear = sorted({target.name.rpartition(".")[2] for target in there})
        raise ValueError(
            f"target_modules {wanted!r} names no dense layer of {type(model).__name__}: those that "
            f"there are end in {', '.join(linear)}"
        )
    return found


def _target_names(model: Any, config: LoraConfig) -> list[str] | str:
    named = config.target_modules
    if named is None:
        kind = model.config.model_type
        found = [names for names, kinds in TARGETS.items() if kind in kinds.split()]
        if not found:
            raise ValueError(f"target_modules must be given for models of the type {kind!r}")
        return found[0].split()
    return named if isinstance(named, str) else sorted(named)


def _dense_modules(model: Any, bindings: Sequence[Binding]) -> Iterator[_Target]:
    """Find PyTorch's dense modules within a model's layers."""
    dense = [layer for layer in model._flatten_layers() if isinstance(layer, Dense)]
    layers = {id(layer.kernel): layer for layer in dense}
    for binding in bindings:
        layer = layers.get(id(binding.variable))
        if layer is None:
            continue
        sizes = layer.part_sizes if len(binding.names) > 1 else (layer.units,)
        starts = np.cumsum([0, *sizes])
        order = binding.split(np.arange(layer.units)[None])
        for part, name in enumerate(binding.names):
            yield _Target(
                name.removesuffix(".weight"),
                layer,
                sizes,
                part,
                order[part].reshape(-1) - starts[part],
                order[part].shape[0] == 1 < layer.units,
            )


def _saved_modules(config: LoraConfig) -> list[str]:
    """Return the ends of names of modules that are trained whole."""
    heads = HEADS.get(config.task_type or "", [])
    return list(dict.fromkeys([*(config.modules_to_save or []), *heads]))


def _is_in(name: str, modules: Sequence[str]) -> bool:
    """Whether a parameter is one of a module whose name ends so, or of a part of one."""
    return any(f"{module}." in name for module in modules)


def _arrays(model: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Return what an adapter's file holds."""
    bindings = model.weight_table.bind(model)
    for target in _targets(model, model.adapter, bindings):
        a, b = (
            keras.ops.convert_to_numpy(weights[target.part])
            for weights in (target.layer.update.a, target.layer.update.b)
        )
        yield f"{START}{target.name}.lora_A.weight", np.ascontiguousarray(a.T)
        yield f"{START}{target.name}.lora_B.weight", np.ascontiguousarray(b.T[target.order])
    for binding in _saved(model, bindings):
        for name, array in zip(
            binding.names, binding.split(keras.ops.convert_to_numpy(binding.variable))
        ):
            yield START + name, np.ascontiguousarray(array)


def _saved(model: Any, bindings: Sequence[Binding]) -> list[Binding]:
    modules = _saved_modules(model.adapter)
    return [b for b in bindings if any(_is_in(name, modules) for name in b.names)]


def read_adapter(model: Any, file: str | os.PathLike[str]) -> None:
    """Fill a model's adapter from a file of tensors.

    Raises:
        ValueError: the file has other tensors, or others of these names.
    """
    with open_checkpoint(os.fspath(file)) as checkpoint:
        _read(model, checkpoint)


def _read(model: Any, checkpoint: Mapping[str, np.ndarray]) -> None:
    expected = {name: array.shape for name, array in _arrays(model)}
    wrong = expected.keys() ^ set(checkpoint)
    wrong |= {n for n in expected.keys() & set(checkpoint) if checkpoint[n].shape != expected[n]}
    if wrong:
        raise ValueError(
            f"the adapter does not fit {type(model).__name__}; of other shapes, missing or not "
            f"expected: {', '.join(sorted(wrong)[:5])}"
        )
    bindings = model.weight_table.bind(model)
    for target in _targets(model, model.adapter, bindings):
        update = target.layer.update
        update.a[target.part].assign(checkpoint[f"{START}{target.name}.lora_A.weight"].T)
        b = checkpoint[f"{START}{target.name}.lora_B.weight"]
        ours = np.empty_like(b)
        ours[target.order] = b
        update.b[target.part].assign(ours.T)
    for binding in _saved(model, bindings):
        binding.variable.assign(binding.join([checkpoint[START + name] for name in binding.names]))
