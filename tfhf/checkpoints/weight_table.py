"""Which variable of ours is which tensor of a checkpoint: one declarative table per model file.

A table maps attribute paths of a model (``encoder.layer.{i}.attention.qkv``) to rows that name the
PyTorch parameters behind that layer and know what lies between the two: a transposed kernel, three
matrices that are one here. The same table loads, saves and checks.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np

from tfhf.layers.low_rank import updates

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Binding:
    """One variable and the checkpoint tensors that it is made of.

    ``names`` and ``shapes`` are those of the checkpoint; ``join`` makes the variable's value of
    their arrays and ``split`` the arrays of its value; ``initialize`` gives it a new first value.
    """

    variable: keras.Variable
    names: tuple[str, ...]
    shapes: tuple[Shape, ...]
    join: Callable[[Sequence[np.ndarray]], np.ndarray]
    split: Callable[[np.ndarray], Sequence[np.ndarray]]
    initialize: Callable[[], Any]


def _bind(
    layer: Any,
    attribute: str,
    names: Sequence[str],
    shapes: Sequence[Shape] | None = None,
    join: Callable[[Sequence[np.ndarray]], np.ndarray] = lambda arrays: arrays[0],
    split: Callable[[np.ndarray], Sequence[np.ndarray]] = lambda value: [value],
) -> Binding:
    variable = getattr(layer, attribute)
    initializer = getattr(layer, f"{attribute}_initializer")
    return Binding(
        variable=variable,
        names=tuple(names),
        shapes=tuple(shapes or [tuple(variable.shape)]),
        join=join,
        split=split,
        initialize=lambda: initializer(tuple(variable.shape), variable.dtype),
    )


class Row:
    """The checkpoint side of one layer."""

    def bind(self, layer: Any, rename: Callable[[str], str]) -> Iterator[Binding]:
        """Yield a binding for each variable of ``layer``; ``rename`` completes the names."""
        raise NotImplementedError


@dataclass(frozen=True)
class Dense(Row):
    """A dense layer: PyTorch keeps the kernel as [units, input_size], under ``weight``.

    Names in braces, ``self.{query,key,value}``, are matrices that are one, side by side, here; the
    layer knows their ``part_sizes``. ``alone`` is the name instead where the layer has one matrix.
    """

    name: str
    alone: str | None = None

    def bind(self, layer: Any, rename: Callable[[str], str]) -> Iterator[Binding]:
        """Bind ``kernel`` and, where there is one, ``bias``."""
        name = self.name if self.alone is None or len(layer.part_sizes) > 1 else self.alone
        names = [rename(part) for part in _braces(name)]
        input_size, units = layer.kernel.shape
        sizes = layer.part_sizes if len(names) > 1 else (units,)
        ends = np.cumsum(sizes)[:-1]
        yield _bind(
            layer,
            "kernel",
            [f"{name}.weight" for name in names],
            [(size, input_size) for size in sizes],
            lambda arrays: np.concatenate([array.T for array in arrays], axis=1),
            lambda value: [part.T for part in np.split(value, ends, axis=1)],
        )
        if layer.use_bias:
            yield _bind(
                layer,
                "bias",
                [f"{name}.bias" for name in names],
                [(size,) for size in sizes],
                np.concatenate,
                lambda value: np.split(value, ends),
            )


@dataclass(frozen=True)
class HeadByHead(Row):
    """The ``qkv`` of an attention, whose rows PyTorch keeps by heads, and by parts in each head.

    That is: query, key and value of the first head, then those of the second; here all queries
    come first.
    """

    name: str

    def bind(self, layer: Any, rename: Callable[[str], str]) -> Iterator[Binding]:
        """Bind the ``kernel`` and, where there is one, the ``bias`` of ``layer.qkv``."""
        heads, size, qkv = layer.num_heads, layer.head_size, layer.qkv
        input_size, units = qkv.kernel.shape
        yield _bind(
            qkv,
            "kernel",
            [f"{rename(self.name)}.weight"],
            [(units, input_size)],
            lambda arrays: (
                arrays[0].reshape(heads, 3, size, -1).transpose(3, 1, 0, 2).reshape(-1, units)
            ),
            lambda value: [
                value.reshape(-1, 3, heads, size).transpose(2, 1, 3, 0).reshape(units, -1)
            ],
        )
        if qkv.use_bias:
            yield _bind(
                qkv,
                "bias",
                [f"{rename(self.name)}.bias"],
                join=lambda arrays: arrays[0].reshape(heads, 3, size).swapaxes(0, 1).reshape(-1),
                split=lambda value: [value.reshape(3, heads, size).swapaxes(0, 1).reshape(-1)],
            )


@dataclass(frozen=True)
class Conv1D(Row):
    """A dense layer that PyTorch, too, keeps as [input_size, units], as GPT-2's first code did."""

    name: str

    def bind(self, layer: Any, rename: Callable[[str], str]) -> Iterator[Binding]:
        """Bind ``kernel`` and ``bias``."""
        yield _bind(layer, "kernel", [f"{rename(self.name)}.weight"])
        yield _bind(layer, "bias", [f"{rename(self.name)}.bias"])


@dataclass(frozen=True)
class Convolution(Row):
    """A convolution over time: PyTorch keeps the kernel as [filters, channels, size]."""

    name: str

    def bind(self, layer: Any, rename: Callable[[str], str]) -> Iterator[Binding]:
        """Bind ``kernel`` [size, channels, filters] and ``bias``."""
        yield _bind(
            layer,
            "kernel",
            [f"{rename(self.name)}.weight"],
            [tuple(layer.kernel.shape)[::-1]],
            lambda arrays: arrays[0].T,
            lambda value: [value.T],
        )
        yield _bind(layer, "bias", [f"{rename(self.name)}.bias"])


@dataclass(frozen=True)
class Embedding(Row):
    """An embedding table; both sides keep it as [rows, size]."""

    name: str

    def bind(self, layer: Any, rename: Callable[[str], str]) -> Iterator[Binding]:
        """Bind ``embeddings``."""
        yield _bind(layer, "embeddings", [f"{rename(self.name)}.weight"])


@dataclass(frozen=True)
class Norm(Row):
    """A normalisation layer: ``gamma`` is PyTorch's ``weight``, ``beta`` its ``bias``."""

    name: str

    def bind(self, layer: Any, rename: Callable[[str], str]) -> Iterator[Binding]:
        """Bind those of ``gamma`` and ``beta`` that there are."""
        for attribute, name in (("gamma", "weight"), ("beta", "bias")):
            if getattr(layer, attribute, None) is not None:
                yield _bind(layer, attribute, [f"{rename(self.name)}.{name}"])


@dataclass(frozen=True)
class Bias(Row):
    """A layer's own ``bias`` variable, under a name of its own."""

    name: str

    def bind(self, layer: Any, rename: Callable[[str], str]) -> Iterator[Binding]:
        """Bind ``bias``."""
        if layer.bias is not None:
            yield _bind(layer, "bias", [rename(self.name)])


@dataclass(frozen=True)
class RowBias(Row):
    """A layer's own ``bias`` variable, which PyTorch keeps as a matrix of one row."""

    name: str

    def bind(self, layer: Any, rename: Callable[[str], str]) -> Iterator[Binding]:
        """Bind ``bias``."""
        if layer.bias is not None:
            yield _bind(
                layer,
                "bias",
                [rename(self.name)],
                [(1, *layer.bias.shape)],
                lambda arrays: arrays[0][0],
                lambda value: [value[None]],
            )


@dataclass(frozen=True)
class Parameters(Row):
    """A layer's own variables, each under a name of its own: {attribute: name}."""

    names: Mapping[str, str]

    def bind(self, layer: Any, rename: Callable[[str], str]) -> Iterator[Binding]:
        """Bind those that the layer has."""
        for attribute, name in self.names.items():
            if getattr(layer, attribute) is not None:
                yield _bind(layer, attribute, [rename(name)])


@dataclass(frozen=True)
class WeightTable:
    """The names of one architecture.

    Args:
        prefix: what stands before the body's names in the checkpoint of a model with a head, and
            the attribute under which such a model holds its body (``bert``).
        body: rows of the body, by attribute path from the body; ``{i}`` counts the items of a list.
        heads: rows of all heads, by attribute path from the model; those it lacks are passed over.
        tied: parameters that PyTorch shares with another when ``config.tie_word_embeddings``, by
            full name: {the copy: the original}.
        ignored: regular expressions for tensors in old files that nothing reads.
        optional: names that a file may lack, for their first values are right.
        bare: whether the body's names have no prefix beside a head's, either (T5).
        parts: tables of models that are parts of this one, by attribute; names begin with it.
    """

    prefix: str
    body: Mapping[str, Row]
    heads: Mapping[str, Row] = field(default_factory=dict)
    tied: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = (r"position_ids$", r"token_type_ids$")
    optional: tuple[str, ...] = ()
    bare: bool = False
    parts: Mapping[str, WeightTable] = field(default_factory=dict)

    def bind(self, model: Any) -> list[Binding]:
        """Return a binding for every weight of ``model``.

        Raises:
            ValueError: a weight of the model has no row, which is a fault of the table.
        """
        body = getattr(model, self.prefix, model)
        start = "" if body is model or self.bare else f"{self.prefix}."
        bindings = list(_walk(body, self.body, start))
        if body is not model:
            bindings += _walk(model, self.heads, "")
        for part, table in self.parts.items():
            for binding in table.bind(getattr(model, part)):
                names = tuple(f"{part}.{name}" for name in binding.names)
                bindings.append(replace(binding, names=names))
        bound = {id(binding.variable) for binding in bindings}
        bound |= {id(weight) for _, update in updates(model) for weight in update.weights}
        unbound = [weight.path for weight in model.weights if id(weight) not in bound]
        if unbound:
            raise ValueError(f"the weight table of {type(model).__name__} lacks {unbound}")
        return bindings

    def copies(self, bindings: Sequence[Binding]) -> dict[str, str]:
        """Return names that a file may have beside or in place of the bound ones: {copy: name}."""
        bound = {name for binding in bindings for name in binding.names}
        pairs = [pair for a, b in self.tied.items() for pair in ((a, b), (b, a))]
        return {copy: name for copy, name in pairs if name in bound and copy not in bound}

    def own_head(self) -> tuple[str, str] | None:
        """Return the weights of the head that scores tokens, and of the table it may be tied to."""
        row = self.heads.get("lm_head.decoder")
        name = f"{row.name}.weight" if isinstance(row, Dense) else ""
        return (name, self.tied[name]) if name in self.tied else None

    def unread(self, bindings: Sequence[Binding]) -> dict[str, str]:
        """Return PyTorch's parameters that nothing reads, each with the bound one like it.

        Untied heads leave the original of a tied bias behind; a complete file has it.
        """
        bound = {name for binding in bindings for name in binding.names}
        return {b: a for a, b in self.tied.items() if a in bound and b not in bound}


def _walk(root: Any, rows: Mapping[str, Row], start: str) -> Iterator[Binding]:
    for path, row in rows.items():
        for layer, indices in _find(root, path.split("."), ()):
            yield from row.bind(layer, functools.partial(_complete, start, indices))


def _find(node: Any, path: list[str], indices: tuple[int, ...]) -> Iterator[tuple[Any, Any]]:
    if node is None:
        return
    if not path:
        yield node, indices
    elif path[0].startswith("{"):
        for i, item in enumerate(node):
            yield from _find(item, path[1:], (*indices, i))
    else:
        yield from _find(getattr(node, path[0], None), path[1:], indices)


def _complete(start: str, indices: tuple[int, ...], name: str) -> str:
    for letter, index in zip("ijk", indices):
        name = name.replace("{" + letter + "}", str(index))
    return start + name


def _braces(name: str) -> list[str]:
    match = re.fullmatch(r"(.*)\{(\w+(?:,\w+)+)\}(.*)", name)
    return [match[1] + part + match[3] for part in match[2].split(",")] if match else [name]
