"""Evaluator: the part of Trainer that only looks at what a model makes of data."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import datasets
import numpy as np
import tensorflow as tf

from tfhf.checkpoints.atomic import write_file
from tfhf.data import prepare_tf_dataset
from tfhf.training.arguments import TrainingArguments
from tfhf.training.evaluation import (
    EvalPrediction,
    Evaluation,
    Predict,
    PredictionOutput,
    evaluate_dataset,
    forward_pass,
)
from tfhf.training.failures import require_labels
from tfhf.training.label_smoothing import LabelSmoother
from tfhf.training.state import TrainerState
from tfhf.training.tensorboard import LogWriter

#: Kinds of labels that are one class each.
CLASSES = (None, "single_label_classification")

Dataset: TypeAlias = datasets.Dataset | tf.data.Dataset


class Evaluator:
    """Makes batches of rows, and measures and collects what a model makes of them.

    :class:`~tfhf.Trainer` has the arguments.
    """

    def __init__(
        self,
        model: Any,
        args: TrainingArguments,
        data_collator: Callable | None,
        eval_dataset: Dataset | Mapping[str, Dataset] | None,
        processing_class: Any,
        compute_metrics: Callable[[EvalPrediction], Mapping[str, float]] | None,
        preprocess_logits_for_metrics: Callable[[Any, Any], Any] | None,
    ) -> None:
        self.model = model
        self.args = args
        self.data_collator = data_collator
        self.eval_dataset = eval_dataset
        self.processing_class = processing_class
        self.compute_metrics = compute_metrics
        self.preprocess_logits_for_metrics = preprocess_logits_for_metrics
        self.state = TrainerState()
        self._loss = self._make_loss()
        self._prepared: dict[int, tuple[Any, tf.data.Dataset]] = {}
        self._writer = LogWriter(args.logging_folder) if args.reports and self.is_chief else None

    @property
    def is_chief(self) -> bool:
        """Whether this process writes, of several workers."""
        return self.model.distribute_strategy.extended.should_checkpoint

    def _make_loss(self) -> LabelSmoother | None:
        factor = self.args.label_smoothing_factor
        if not factor:
            return None
        model = self.model
        if len(model.label_outputs) != 1:
            raise ValueError(
                f"label_smoothing_factor must be 0 for {type(model).__name__}, which has the "
                f"labels {list(model.label_outputs)}, but it is {factor}"
            )
        scores = type(model).__name__.endswith("ForSequenceClassification")
        if scores and (model.config.num_labels == 1 or model.config.problem_type not in CLASSES):
            raise ValueError(
                f"label_smoothing_factor must be 0 where labels are no classes, but it is {factor}"
            )
        is_causal = model.can_generate and not model.config.is_encoder_decoder
        return LabelSmoother(factor, shift=is_causal)

    def log(self, logs: Mapping[str, float]) -> None:
        """Note results of now in ``state.log_history``, and show them in TensorBoard."""
        state = self.state
        state.log_history.append({**logs, "epoch": state.epoch, "step": state.global_step})
        if self._writer is not None:
            self._writer.write(logs, state.global_step)

    def log_metrics(self, split: str, metrics: Mapping[str, float]) -> None:
        """Print metrics as a table, under the name of a split of the data; the chief does."""
        if not self.is_chief:
            return
        print(f"***** {split} metrics *****")
        width = max(map(len, metrics), default=0)
        for name in sorted(metrics):
            value = metrics[name]
            print(
                f"  {name:{width}} = {value:.4f}"
                if isinstance(value, float)
                else f"  {name:{width}} = {value}"
            )

    def save_metrics(self, split: str, metrics: Mapping[str, float], combined: bool = True) -> None:
        """Write ``<split>_results.json``; with ``combined``, add them to ``all_results.json``."""
        if not self.is_chief:
            return
        folder = Path(self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        write_file(folder / f"{split}_results.json", json.dumps(dict(metrics), indent=2) + "\n")
        if combined:
            file = folder / "all_results.json"
            before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
            write_file(file, json.dumps(before | dict(metrics), indent=2) + "\n")

    # Data -----------------------------------------------------------------------------------------

    def _batch_size(self, per_device: int) -> int:
        return per_device * self.model.distribute_strategy.num_replicas_in_sync

    def get_eval_dataloader(self, eval_dataset: Dataset | None = None) -> tf.data.Dataset:
        """Return a dataset's batches, in its order; default: those of the Trainer's."""
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(dataset, tf.data.Dataset):
            return dataset
        known, batches = self._prepared.get(id(dataset), (None, None))
        if batches is None or known is not dataset:
            size = self._batch_size(self.args.per_device_eval_batch_size)
            batches = self._batches(dataset, size, shuffle=False, drop_remainder=False)
            self._prepared[id(dataset)] = (dataset, batches)
        return batches

    def _batches(self, dataset: Any, batch_size: int, **options: Any) -> tf.data.Dataset:
        collate = self.data_collator
        if collate is not None and not self.args.remove_unused_columns:
            collate = _WholeRows(collate, dataset.column_names)
        return prepare_tf_dataset(
            self.model,
            dataset,
            batch_size,
            tokenizer=self.processing_class,
            collate_fn=collate,
            **options,
        )

    # Evaluation -----------------------------------------------------------------------------------

    def evaluate(
        self,
        eval_dataset: Dataset | Mapping[str, Dataset] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Return the loss and the metrics on a dataset, and log them.

        Args:
            eval_dataset: default: the Trainer's; a dictionary's names become part of the metrics'.
            metric_key_prefix: what the metrics' names begin with.

        Raises:
            ValueError: there is no dataset, or it has no labels.
        """
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        if dataset is None:
            raise ValueError("eval_dataset must be given to evaluate")
        if isinstance(dataset, Mapping):
            parts = [
                self.evaluate(part, f"{metric_key_prefix}_{name}") for name, part in dataset.items()
            ]
            return {name: value for part in parts for name, value in part.items()}
        data = self.get_eval_dataloader(dataset)
        require_labels(self.model, data, "eval_dataset")
        _, metrics = self._measure(data, metric_key_prefix, self.compute_metrics is not None)
        self.log(metrics)
        return metrics | {"epoch": self.state.epoch}

    def predict(self, test_dataset: Dataset, metric_key_prefix: str = "test") -> PredictionOutput:
        """Return the predictions for a dataset, its labels, and metrics where it has some."""
        data = self.get_eval_dataloader(test_dataset)
        result, metrics = self._measure(data, metric_key_prefix, True)
        return PredictionOutput(result.predictions, result.label_ids, metrics)

    def _check_eval_dataset(self) -> None:
        datasets_by_name = self.eval_dataset
        if datasets_by_name is None:
            raise ValueError(
                f"eval_strategy is {self.args.eval_strategy!r}, but there is no eval_dataset"
            )
        if not isinstance(datasets_by_name, Mapping):
            datasets_by_name = {"": datasets_by_name}
        for dataset in datasets_by_name.values():
            require_labels(self.model, self.get_eval_dataloader(dataset), "eval_dataset")

    def _measure(
        self, data: tf.data.Dataset, prefix: str, keep_predictions: bool
    ) -> tuple[Evaluation, dict[str, float]]:
        started = time.perf_counter()
        result = self._evaluate(data, keep_predictions)
        metrics: dict[str, float] = {} if result.loss is None else {"loss": result.loss}
        if self.compute_metrics is not None and result.label_ids is not None:
            computed = self.compute_metrics(EvalPrediction(result.predictions, result.label_ids))
            metrics |= {name: _plain(value) for name, value in computed.items()}
        seconds = time.perf_counter() - started
        metrics |= {
            "runtime": round(seconds, 4),
            "samples_per_second": round(result.rows / seconds, 3),
            "steps_per_second": round(result.batches / seconds, 3),
        }
        named = {
            name if name.startswith(f"{prefix}_") else f"{prefix}_{name}": value
            for name, value in metrics.items()
        }
        return result, named

    @functools.cached_property
    def forward(self) -> Predict:
        """What gives the outputs and the loss of a batch; made once, since TensorFlow traces it."""
        return forward_pass(self.model, self._loss, self.args.jit_compile)

    def _evaluate(self, data: tf.data.Dataset, keep_predictions: bool) -> Evaluation:
        return evaluate_dataset(
            self.model,
            data,
            self.forward,
            keep_predictions=keep_predictions,
            preprocess=self.preprocess_logits_for_metrics,
        )


def _plain(value: Any) -> Any:
    """Return numbers of NumPy's or TensorFlow's as Python's, which files can hold."""
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    array = np.asarray(value)
    return array.item() if array.ndim == 0 and array.dtype.kind in "fiub" else value


class _WholeRows:
    """A data collator that is given all columns, not only those that the model takes."""

    def __init__(self, collate: Callable, columns: list[str]) -> None:
        self.collate = collate
        self.extra_columns = tuple(columns)

    def __call__(self, features: list[Mapping[str, Any]]) -> Mapping[str, Any]:
        return self.collate([dict(row) for row in features])
