"""What all tasks share: inputs become rows of tokens, rows run in batches, outputs become results.

A task says three things: how its inputs are tokenized (:meth:`Pipeline.preprocess`), which of the
model's outputs it needs (:meth:`Pipeline.read`, inside the graph) and what they mean
(:meth:`Pipeline.postprocess`).
"""

from __future__ import annotations

import functools
import inspect
import itertools
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase

from tfhf.auto import TFAutoModel
from tfhf.data.padding import pad_rows
from tfhf.modeling import TFPreTrainedModel
from tfhf.tokenization import tensorflow_tokenizer

Row = dict[str, list[int]]
Outputs = dict[str, np.ndarray]

#: Batches whose inputs are sorted by length at a time. A stream's first results should not be long
#: in coming, nor should it be read far ahead; a list is there, and the more, the less padding.
STREAM_BATCHES = 16
LIST_BATCHES = 64
#: Seconds of work before a progress bar appears.
SILENT_SECONDS = 3.0


class PipelineException(Exception):
    """An input that a task cannot work on.

    Attributes:
        task: the task.
        model: the model's architecture.
    """

    def __init__(self, task: str, model: str, reason: str) -> None:
        super().__init__(reason)
        self.task = task
        self.model = model


@dataclass
class Example:
    """One input: the rows of tokens that it became, and what makes a result of their outputs."""

    rows: list[Row]
    source: Any = None


class Pipeline:
    """Base of all tasks; :func:`tfhf.pipeline` makes the right one.

    A pipeline is called with an input or with many. A list gives a list of results. Anything else
    that yields inputs (a generator, a ``datasets.Dataset`` or a column of one) gives an iterator,
    which reads ahead by `STREAM_BATCHES` batches and holds no more than these. Inputs of similar
    length share a batch; results come in the order of the inputs, and are those that each input
    gives alone.

    Args:
        model: a model with the head of the task.
        tokenizer: its tokenizer.
        task: the name of the task.
        batch_size: rows that the model reads at a time.
        device: where it runs: ``-1`` or ``"cpu"``, the number of a GPU, or a device of TensorFlow.
        num_workers: taken and not needed: tokenizers have threads of their own.
        **options: those of the task, for all calls.

    Raises:
        TypeError: the model has another head, or there is no such option.
        ValueError: an option is impossible.
    """

    #: The auto class whose models have the head.
    auto_class: ClassVar[Any]
    default_batch_size: ClassVar[int] = 16
    #: Batches that run at a time: a core that is done with its part of one goes on with another.
    concurrent_batches: ClassVar[int] = 2
    #: Whether outputs are [length, …] for each row.
    per_token: ClassVar[bool] = False
    #: Whether rows may be padded to share a batch.
    pads: bool = True

    def __init__(
        self,
        model: TFPreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        task: str = "",
        batch_size: int | None = None,
        device: int | str | None = None,
        num_workers: int | None = None,
        **options: Any,
    ) -> None:
        _require_head(model, self.auto_class, task)
        self.model = model
        self.tokenizer = tensorflow_tokenizer(tokenizer)
        self.task = task
        self.device = device
        self.batch_size = _checked(batch_size)
        self.options = options
        self._settled(options)
        self.pads = self.pads and tokenizer.pad_token_id is not None
        self._signature = {
            name: spec
            for name, spec in model.input_signature.items()
            if name in tokenizer.model_input_names
        }
        self._tracing = threading.Lock()

    def __call__(
        self,
        inputs: Any,
        *,
        batch_size: int | None = None,
        num_workers: int | None = None,
        **options: Any,
    ) -> Any:
        """Return the result of an input, a list of results, or an iterator over them.

        Args:
            inputs: as the task has them: one, a list, or an iterable.
            batch_size: rows that the model reads at a time; never changes results.
            num_workers: taken and not needed.
            **options: those of the task, which count before the ones given when it was made.
        """
        settings = self._settled(self.options | options)
        size = _checked(batch_size) or self.batch_size or self._usual_batch_size()
        if isinstance(inputs, list | tuple):
            return list(self._results(inputs, settings, size, size * LIST_BATCHES))
        if isinstance(inputs, Iterable) and not isinstance(inputs, str | bytes | Mapping):
            return self._results(inputs, settings, size, size * STREAM_BATCHES)
        (result,) = self._results([inputs], settings, size, window=1)
        return result

    def settle(self, *args: Any, **options: Any) -> Any:
        """Check the options of a call, and return what the methods below need of them."""
        raise NotImplementedError

    def preprocess(self, inputs: Sequence[Any], settings: Any) -> list[Example]:
        """Make rows of tokens of inputs, each of which becomes one example."""
        raise NotImplementedError

    def read(self, outputs: Any, tokens: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Return those of the model's outputs that results are made of; runs in the graph."""
        return {"logits": outputs.logits}

    def postprocess(self, example: Example, outputs: list[Outputs], settings: Any) -> Any:
        """Make the result of an example of its rows' outputs."""
        raise NotImplementedError

    def run(self, rows: Sequence[Row], settings: Any) -> list[Outputs]:
        """Return the outputs of a batch, row by row; several threads do so at a time."""
        limit = self.model.max_length
        longest = max(_length(row) for row in rows)
        if limit is not None and longest > limit:
            raise ValueError(
                f"an input has {longest} tokens, but the model has positions for {limit}: pass "
                "truncation=True, or shorten it"
            )
        tokens = self.pad(rows)
        with self._tracing:  # by one of the threads
            graph = self._graph
        with self.on_device():
            outputs = {name: value.numpy() for name, value in graph(**tokens).items()}
        return self.split(outputs, rows)

    def split(self, outputs: Outputs, rows: Sequence[Row]) -> list[Outputs]:
        """Share the outputs of a batch among its rows, without those of padding."""
        if not self.per_token:
            return [{name: value[i] for name, value in outputs.items()} for i in range(len(rows))]
        width = _width(rows)
        left = self.tokenizer.padding_side == "left"
        starts = [width - _length(row) if left else 0 for row in rows]
        return [
            {name: value[i, start : start + _length(row)] for name, value in outputs.items()}
            for i, (row, start) in enumerate(zip(rows, starts))
        ]

    def pad(self, rows: Sequence[Row]) -> dict[str, tf.Tensor]:
        """Make tensors [rows, length] of rows."""
        width = _width(rows)
        fills = {
            "input_ids": self.tokenizer.pad_token_id or 0,
            "token_type_ids": self.tokenizer.pad_token_type_id,
        }
        side = self.tokenizer.padding_side
        return {
            name: tf.constant(
                pad_rows(name, [row[name] for row in rows], width, fills.get(name, 0), side),
                tf.int32,
            )
            for name in rows[0]
        }

    def tokenize(
        self, texts: Sequence[Any], pairs: Sequence[Any] | None = None, **options: Any
    ) -> list[Row]:
        """Make a row of each text, or of each text and its pair.

        Padding is left to batches: whatever ``options`` say of it, results are the same.
        """
        for text in itertools.chain(texts, pairs or ()):
            if not isinstance(text, str):
                raise ValueError(f"an input must be a string, but is {text!r}")
        if not texts:
            return []
        options = {name: value for name, value in options.items() if name != "padding"}
        arguments = (list(texts),) if pairs is None else (list(texts), list(pairs))
        tokens = self.tokenizer(*arguments, **options)
        names = [name for name in self._signature if name in tokens]
        return [dict(zip(names, columns)) for columns in zip(*(tokens[name] for name in names))]

    def save_pretrained(self, save_directory: str | os.PathLike[str]) -> None:
        """Write the model and the tokenizer into a folder."""
        self.model.save_pretrained(save_directory)
        self.tokenizer.save_pretrained(os.fspath(save_directory))

    def on_device(self) -> AbstractContextManager:
        """Return a context in which the model runs where ``device`` says."""
        return nullcontext() if self.device is None else tf.device(device_name(self.device))

    def _settled(self, options: dict[str, Any]) -> Any:
        known = inspect.signature(self.settle).parameters
        unknown = [name for name in options if name not in known]
        if unknown and not any(each.kind is each.VAR_KEYWORD for each in known.values()):
            raise TypeError(
                f"{self.task or type(self).__name__} has no option {unknown[0]!r}; it has "
                f"{', '.join(known)}"
            )
        return self.settle(**options)

    def _usual_batch_size(self) -> int:
        # A decoder that classifies finds the ends of padded texts by its configuration.
        return (
            1 if getattr(self.model.config, "pad_token_id", 0) is None else self.default_batch_size
        )

    @functools.cached_property
    def _graph(self) -> tf.types.experimental.ConcreteFunction:
        """The model as a graph for tokens of any shape, traced when it is first needed."""
        function = tf.function(self._forward, input_signature=[self._signature], autograph=False)
        # Called as it is, TensorFlow would warn where several pipelines are made one after another.
        return function.get_concrete_function()

    def _forward(self, tokens: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        outputs = self.model(**tokens, **self.model.final_inputs, return_dict=True, training=False)
        return {
            name: tf.cast(value, tf.float32) if value.dtype.is_floating else value
            for name, value in self.read(outputs, tokens).items()
        }

    def _results(
        self, inputs: Iterable[Any], settings: Any, batch_size: int, window: int
    ) -> Iterator[Any]:
        source = iter(inputs)
        total = len(inputs) if isinstance(inputs, Sized) else None
        # Without a terminal there is no bar.
        with tqdm(total=total, unit="input", delay=SILENT_SECONDS, disable=None) as progress:
            while some := list(itertools.islice(source, window)):
                examples = self.preprocess(some, settings)
                outputs = self._outputs(examples, settings, batch_size, progress)
                for example, own in zip(examples, outputs):
                    yield self.postprocess(example, own, settings)

    def _outputs(
        self, examples: list[Example], settings: Any, batch_size: int, progress: tqdm
    ) -> list[list[Outputs]]:
        """Run all rows, the longest first, and return their outputs example by example."""
        outputs: list[list[Outputs]] = [[{}] * len(example.rows) for example in examples]
        places = [(i, k) for i, example in enumerate(examples) for k in range(len(example.rows))]
        lengths = {(i, k): _length(examples[i].rows[k]) for i, k in places}
        places.sort(key=lambda place: -lengths[place])
        groups = [places]
        if not self.pads:
            groups = [list(group) for _, group in itertools.groupby(places, lengths.get)]
        batches = [batch for group in groups for batch in _chunks(group, batch_size)]
        found = self._run_all(
            [[examples[i].rows[k] for i, k in batch] for batch in batches], settings
        )
        for batch, its_outputs in zip(batches, found):
            for (i, k), output in zip(batch, its_outputs):
                outputs[i][k] = output
                progress.update(all(outputs[i]))
        return outputs

    def _run_all(self, batches: list[list[Row]], settings: Any) -> Iterator[list[Outputs]]:
        def run(rows: list[Row]) -> list[Outputs]:
            return self.run(rows, settings)

        if min(self.concurrent_batches, len(batches)) < 2:
            yield from map(run, batches)
            return
        with ThreadPoolExecutor(self.concurrent_batches) as pool:
            yield from pool.map(run, batches)


def device_name(device: int | str | None) -> str:
    """Return TensorFlow's name of a device.

    Args:
        device: ``-1`` or ``"cpu"``, the number of a GPU, ``"cuda:1"``, or a name of TensorFlow's.

    Raises:
        ValueError: it is no device, or one that TensorFlow does not see.

    Example:
        >>> device_name(-1), device_name("cpu"), device_name("/device:CPU:0")
        ('/CPU:0', '/CPU:0', '/CPU:0')
    """
    if isinstance(device, int):
        device = "cpu" if device < 0 else f"gpu:{device}"
    kind, _, number = str(device).lstrip("/").lower().removeprefix("device:").partition(":")
    if kind not in ("cpu", "gpu", "cuda", "tpu") or not (number or "0").isdecimal():
        raise ValueError(f'device must be -1, "cpu", or the number of a GPU, but is {device!r}')
    name = f"/{kind.replace('cuda', 'gpu').upper()}:{number or 0}"
    there = [each.name.removeprefix("/device:") for each in tf.config.list_logical_devices()]
    if name.removeprefix("/") not in there:
        raise ValueError(f"device is {device!r}, but TensorFlow sees only {', '.join(there)}")
    return name


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the softmax over the last axis.

    Example:
        >>> softmax(np.zeros(4)).tolist()
        [0.25, 0.25, 0.25, 0.25]
    """
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _require_head(model: Any, auto_class: Any, task: str) -> None:
    """Raise TypeError for a model of another task."""
    if not isinstance(model, TFPreTrainedModel):
        raise TypeError(f"model must be a model of tfhf, but is a {type(model).__name__}")
    try:
        expected = auto_class.model_class(model.config)
    except ValueError as error:
        raise TypeError(f"model: {error}") from error
    if not isinstance(model, expected) and auto_class is not TFAutoModel:
        raise TypeError(
            f"{task or 'this task'} needs a {expected.__name__}, but the model is a "
            f"{type(model).__name__}, which has no such head"
        )


def _checked(batch_size: int | None) -> int | None:
    if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
        raise ValueError(f"batch_size must be at least 1, but is {batch_size!r}")
    return batch_size


def _chunks(items: list, size: int) -> list[list]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _length(row: Mapping[str, Any]) -> int:
    """Return the length of a row's columns."""
    return len(next(iter(row.values())))


def _width(rows: Sequence[Row]) -> int:
    """Return the length that rows are padded to; heads read the first column."""
    return max(1, *map(_length, rows))
