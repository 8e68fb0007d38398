"""What Trainer does while ``fit`` runs: log, evaluate, stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

from tfhf.training.callbacks import EarlyStoppingCallback
from tfhf.training.checkpoints import TrainingCheckpoint
from tfhf.training.state import StepCounter

if TYPE_CHECKING:
    from tfhf.training.trainer import Trainer


class TrainingLoop(StepCounter):
    """Logs and evaluates when ``trainer.args`` say so, and stops after the last update.

    It comes before the checkpoints, so that these know the last evaluation.

    Args:
        trainer: whose model is trained.
        checkpoint: what is told the metric that checkpoints are compared by.

    Raises:
        ValueError: training shall stop early, but there are no evaluations.
    """

    def __init__(self, trainer: Trainer, checkpoint: TrainingCheckpoint) -> None:
        super().__init__(trainer.state)
        self.trainer = trainer
        self.checkpoint = checkpoint
        #: Batches and rows before this run of ``fit``.
        self._begun: tuple[int, float] | None = None
        args = trainer.args
        self._early_stopping = [
            callback
            for callback in trainer.callbacks
            if isinstance(callback, EarlyStoppingCallback)
        ]
        for callback in self._early_stopping:
            if args.eval_strategy == "no":
                raise ValueError("EarlyStoppingCallback needs another eval_strategy than 'no'")
            if callback.metric is None:
                callback.metric = args.metric_for_best_model
                callback.greater_is_better = args.greater_is_better

    @property
    def batches_per_epoch(self) -> int | None:
        """How many batches an epoch has."""
        return self.checkpoint.batches_per_epoch

    @property
    def mean_loss(self) -> float:
        """The mean over all rows so far, those before a resumption included."""
        sums = self.state.loss_sums
        return sums["total"] / max(1.0, sums["count"])

    @property
    def batches(self) -> int:
        """How many batches this run of ``fit`` has seen."""
        return 0 if self._begun is None else self.state.batches - self._begun[0]

    @property
    def rows(self) -> float:
        """How many rows this run of ``fit`` has seen."""
        return 0 if self._begun is None else self.state.loss_sums["count"] - self._begun[1]

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Let early stopping know what was evaluated before training was resumed."""
        super().on_epoch_begin(epoch)
        if self._begun is None:
            self._begun = self.state.batches, self.state.loss_sums["count"]
        for callback in self._early_stopping:
            callback.replay(self.state.log_history)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Log, evaluate and stop where it is time."""
        super().on_train_batch_end(batch)
        args, state = self.trainer.args, self.state
        is_first = args.logging_first_step and state.global_step == 1 and self.passed(1)
        if is_first or (args.logging_strategy == "steps" and self.passed(args.logging_steps)):
            self._collect_losses()
            self._log_losses()
        if args.eval_strategy == "steps" and self.passed(args.eval_steps or args.logging_steps):
            self._evaluate()
        if state.global_step >= state.max_steps:
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Log and evaluate where it is time; Keras's own callbacks find results as ``val_…``."""
        super().on_epoch_end(epoch)
        args, sums = self.trainer.args, self.state.loss_sums
        self._collect_losses()
        sums["seen_total"] = sums["seen_count"] = 0.0  # Keras's own sums begin anew
        if args.logging_strategy == "epoch":
            self._log_losses()
        if args.eval_strategy == "epoch":
            metrics = self._evaluate()
            if logs is not None:
                logs.update(
                    {f"val_{name.removeprefix('eval_')}": metrics[name] for name in metrics}
                )

    def _collect_losses(self) -> None:
        """Add up what Keras's loss metric has gained."""
        sums, tracker = self.state.loss_sums, self.model.metrics[0]
        for name in ("total", "count"):
            value = _number(getattr(tracker, name))
            sums[name] += value - sums[f"seen_{name}"]
            sums[f"seen_{name}"] = value

    def _log_losses(self) -> None:
        sums = self.state.loss_sums
        total, count = (sums[name] - sums[f"logged_{name}"] for name in ("total", "count"))
        sums["logged_total"], sums["logged_count"] = sums["total"], sums["count"]
        logs = {"loss": total / max(1.0, count)}
        if self.trainer.lr_scheduler is not None:
            logs["learning_rate"] = float(self.trainer.lr_scheduler(self.state.global_step - 1))
        grad_norm = getattr(self.trainer.optimizer, "grad_norm", None)
        if grad_norm is not None:
            logs["grad_norm"] = _number(grad_norm)
        self.trainer.log(logs)

    def _evaluate(self) -> dict[str, float]:
        metrics = self.trainer.evaluate()
        name = self.trainer.args.metric_for_best_model
        if name is not None:
            name = f"eval_{name.removeprefix('eval_')}"
            if name not in metrics:
                raise ValueError(
                    f"metric_for_best_model is {name!r}, but evaluations have {sorted(metrics)}"
                )
            self.checkpoint.observe(metrics[name])
        for callback in self.trainer.callbacks:
            callback.on_test_end(metrics)
        return metrics


def _number(variable: keras.Variable) -> float:
    """Return what all replicas of all workers have together; all workers must ask."""
    return float(keras.ops.convert_to_numpy(variable))
