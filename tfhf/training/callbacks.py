"""Keras callbacks for training with the Hugging Face workflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfhf.generation.settings import settle

#: What the predictions and labels of shorter batches are filled up with.
PADDING = -100


class KerasMetricCallback(keras.callbacks.Callback):
    """Compute metrics in Python at the end of every epoch, as in Transformers 4.

    For what cannot be a Keras metric: text overlap, entities, answers. The results go into the logs
    of the epoch, so that the progress bar, the history and all callbacks that come *after* this one
    (TensorBoard, EarlyStopping, ModelCheckpoint) have them.

    Args:
        metric_fn: called with one pair, ``(predictions, labels)``, for the whole dataset; returns
            a dictionary from names to numbers. Both are NumPy arrays, or dictionaries or tuples of
            them where the model or the dataset has several. Batches of different lengths are
            filled up with -100, generated ones with the padding token.
        eval_dataset: a batched ``tf.data.Dataset`` of inputs or ``(inputs, labels)``; or such
            inputs as arrays, with ``batch_size``.
        output_cols: the names of the outputs to pass on; by default all but the loss.
        label_cols: the names of the inputs that are the labels; by default the second part of the
            dataset, else ``labels``, else ``start_positions`` and ``end_positions``.
        batch_size: for arrays.
        predict_with_generate: the predictions are the tokens [rows, length] that
            ``model.generate`` makes of the inputs, not the model's outputs. ``decoder_input_ids``
            and ``decoder_attention_mask`` are left out: they tell the answers.
        use_xla_generation: compile the generation with XLA, once for each shape: equal batches,
            whose lengths are rounded up to multiples of 64, are compiled once. Without XLA all
            shapes share what is compiled in the first epoch.
        generate_kwargs: further arguments of ``model.generate``, as ``max_new_tokens`` and
            ``num_beams``.

    Raises:
        ValueError: no labels are found, ``label_cols`` names an input that is not there, or arrays
            come without ``batch_size``.
        TypeError: at the end of an epoch, where ``metric_fn`` returns no dictionary, or where
            ``predict_with_generate`` asks for what the model cannot do.

    Example:
        >>> def accuracy(predictions_and_labels):
        ...     predictions, labels = predictions_and_labels
        ...     return {"accuracy": (predictions.argmax(-1) == labels).mean()}
        >>> callback = KerasMetricCallback(accuracy, (np.zeros((4, 3)), np.zeros(4)), batch_size=2)
        >>> callback.label_cols is None
        True
    """

    def __init__(
        self,
        metric_fn: Callable[[tuple[Any, Any]], Mapping[str, float]],
        eval_dataset: Any,
        output_cols: Sequence[str] | None = None,
        label_cols: Sequence[str] | None = None,
        batch_size: int | None = None,
        predict_with_generate: bool = False,
        use_xla_generation: bool = False,
        generate_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(eval_dataset, tf.data.Dataset):
            if batch_size is None:
                raise ValueError("eval_dataset is not a tf.data.Dataset: batch_size must be given")
            eval_dataset = tf.data.Dataset.from_tensor_slices(eval_dataset).batch(batch_size)
        self.metric_fn = metric_fn
        self.eval_dataset = eval_dataset
        self.output_cols = output_cols
        self.label_cols = _label_cols(eval_dataset.element_spec, label_cols)
        self.predict_with_generate = predict_with_generate
        self.use_xla_generation = use_xla_generation
        self.generate_kwargs = dict(generate_kwargs or {})

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Predict the dataset and write the metrics into ``logs``."""
        predictions, labels = [], []
        for batch in self.eval_dataset:
            inputs, *rest = batch if isinstance(batch, tuple) else (batch,)
            if self.predict_with_generate:
                predictions.append(self._generate(inputs))
            else:
                predictions.append(self._select(self.model.predict_on_batch(inputs)))
            if self.label_cols is None:
                labels.append(rest[0])
            else:
                labels.append({name: inputs[name] for name in self.label_cols})
        padding = self._padding_token() if self.predict_with_generate else PADDING
        metrics = self.metric_fn((_join(predictions, padding), _join(labels, PADDING)))
        if not isinstance(metrics, Mapping):
            raise TypeError(f"metric_fn must return a dictionary, but it returned {metrics!r}")
        if logs is not None:
            logs.update(metrics)

    def _generate(self, inputs: Any) -> tf.Tensor:
        if not isinstance(inputs, Mapping):
            inputs = {self.model.main_input_name: inputs}
        known = {
            name: value
            for name, value in inputs.items()
            if name in self.model.input_names and not name.startswith("decoder_")
        }
        return self.model.generate(
            **known, jit_compile=self.use_xla_generation, **self.generate_kwargs
        )

    def _padding_token(self) -> int:
        """Return what ``generate`` fills shorter sequences with."""
        named = dict(self.generate_kwargs)
        given = named.pop("generation_config", None)
        settings, _ = settle(self.model.generation_config, given, named)
        return PADDING if settings.pad_token_id is None else settings.pad_token_id

    def _select(self, outputs: Any) -> Any:
        if not isinstance(outputs, Mapping):
            return outputs
        config = getattr(self.model, "config", None)
        ignored = ("loss", *getattr(config, "keys_to_ignore_at_inference", ()))
        names = self.output_cols or [name for name in outputs if name not in ignored]
        return {name: outputs[name] for name in names}


def _label_cols(spec: Any, label_cols: Sequence[str] | None) -> list[str] | None:
    """Return which inputs are the labels, or None where the labels come beside the inputs."""
    inputs = spec[0] if isinstance(spec, tuple) else spec
    names = list(inputs) if isinstance(inputs, Mapping) else []
    if label_cols is not None:
        missing = [name for name in label_cols if name not in names]
        if missing:
            raise ValueError(f"label_cols has {missing[0]!r}, but the dataset's inputs are {names}")
        return list(label_cols)
    if isinstance(spec, tuple) and len(spec) > 1:
        return None
    for candidates in (["labels"], ["start_positions", "end_positions"]):
        if all(name in names for name in candidates):
            return candidates
    raise ValueError(f"label_cols must be given: no labels among the dataset's inputs {names}")


def _join(batches: list[Any], padding: int) -> Any:
    """Join batches of arrays, or of dictionaries or tuples of them; one alone is unwrapped."""
    first = batches[0]
    if isinstance(first, Mapping):
        joined = {name: _join([batch[name] for batch in batches], padding) for name in first}
        return joined if len(joined) > 1 else next(iter(joined.values()))
    if isinstance(first, tuple | list):
        parts = tuple(_join(list(part), padding) for part in zip(*batches))
        return parts if len(parts) > 1 else parts[0]
    arrays = [np.asarray(batch) for batch in batches]
    shape = np.max([array.shape[1:] for array in arrays], axis=0).astype(int)
    padded = np.full((sum(map(len, arrays)), *shape), padding, arrays[0].dtype)
    start = 0
    for array in arrays:
        rows = slice(start, start + len(array))
        padded[(rows, *(slice(size) for size in array.shape[1:]))] = array
        start += len(array)
    return padded
