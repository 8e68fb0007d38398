"""Keras callbacks for training with the Hugging Face workflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfhf.generation.settings import settle
from tfhf.training.checkpoints import is_greater_better
from tfhf.training.evaluation import PADDING, join


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
        >>> import numpy as np
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
        padding = PADDING
        if self.predict_with_generate:
            padding = padding_token(self.model, self.generate_kwargs)
        pair = _unwrapped(join(predictions, padding)), _unwrapped(join(labels, PADDING))
        metrics = self.metric_fn(pair)
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

    def _select(self, outputs: Any) -> Any:
        if not isinstance(outputs, Mapping):
            return outputs
        config = getattr(self.model, "config", None)
        ignored = ("loss", *getattr(config, "keys_to_ignore_at_inference", ()))
        names = self.output_cols or [name for name in outputs if name not in ignored]
        return {name: outputs[name] for name in names}


def padding_token(model: Any, generate_kwargs: Mapping[str, Any]) -> int:
    """Return what ``generate`` fills shorter sequences with."""
    named = dict(generate_kwargs)
    given = named.pop("generation_config", None)
    settings, _ = settle(model.generation_config, given, named)
    return PADDING if settings.pad_token_id is None else settings.pad_token_id


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


def _unwrapped(parts: Any) -> Any:
    """Return what is alone in a dictionary or tuple."""
    if not isinstance(parts, Mapping | tuple) or len(parts) > 1:
        return parts
    return next(iter(parts.values() if isinstance(parts, Mapping) else parts))


class EarlyStoppingCallback(keras.callbacks.Callback):
    """Stop training when evaluations have not become better for a while.

    For :class:`~tfhf.Trainer`, where evaluations may come within epochs; for a plain ``fit``,
    ``keras.callbacks.EarlyStopping`` does the same after epochs.

    Args:
        early_stopping_patience: after how many evaluations in a row that are no better.
        early_stopping_threshold: by how much one must be better, to be better.
        metric: a name in the results, with or without ``eval_``; default: the Trainer's
            ``metric_for_best_model``, or "loss".
        greater_is_better: whether it should be high; default: unless its name ends with "loss".

    Raises:
        ValueError: in training, evaluations have no such metric.

    Example:
        >>> callback = EarlyStoppingCallback(early_stopping_patience=1, metric="accuracy")
        >>> callback.set_model(keras.Sequential())
        >>> callback.on_test_end({"eval_accuracy": 0.8})
        >>> callback.on_test_end({"eval_accuracy": 0.8})
        >>> callback.model.stop_training
        True
    """

    def __init__(
        self,
        early_stopping_patience: int = 1,
        early_stopping_threshold: float = 0.0,
        metric: str | None = None,
        greater_is_better: bool | None = None,
    ) -> None:
        super().__init__()
        self.early_stopping_patience = early_stopping_patience
        self.early_stopping_threshold = early_stopping_threshold
        self.metric = metric
        self.greater_is_better = greater_is_better
        self._best: float | None = None
        self._evaluations = 0

    def replay(self, log_history: Sequence[Mapping[str, Any]]) -> None:
        """See again the evaluations of the training so far."""
        self._best, self._evaluations = None, 0
        for logs in log_history:
            if self._name() in logs:
                self._look(logs[self._name()])

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Look at an evaluation."""
        if self._name() not in (logs or {}):
            raise ValueError(
                f"metric is {self._name()!r}, but evaluations have {sorted(logs or {})}"
            )
        if self._look((logs or {})[self._name()]):
            self.model.stop_training = True

    def _name(self) -> str:
        return f"eval_{(self.metric or 'loss').removeprefix('eval_')}"

    def _look(self, value: float) -> bool:
        """Note a value; tell whether to stop."""
        sign = 1 if is_greater_better(self.metric or "loss", self.greater_is_better) else -1
        if self._best is None or sign * (value - self._best) > self.early_stopping_threshold:
            self._best, self._evaluations = value, 0
        else:
            self._evaluations += 1
        return self._evaluations >= self.early_stopping_patience
