"""How far a training is: counted in batches, kept in checkpoints, shown in logs."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras


@dataclasses.dataclass
class TrainerState:
    """Counts and results of a training so far; ``trainer_state.json`` holds them.

    Attributes:
        epoch: epochs done, with the share of the one that is going on.
        global_step: updates of the weights.
        max_steps: updates in all; 0 where unknown.
        num_train_epochs: epochs in all, begun ones included; 0 where unknown.
        batches: batches seen; several make an update when gradients are accumulated.
        epochs_done: whole epochs.
        epoch_batches: batches of the epoch that is going on.
        log_history: what was logged, each a dictionary with ``epoch`` and ``step``.
        best_metric: the best value of the metric that checkpoints are compared by.
        best_global_step: the update after which it was measured.
        best_model_checkpoint: the folder of the checkpoint that was saved then.
        loss_sums: ``total`` of the losses and ``count`` of the rows so far; what of them was
            ``logged``; and what of the epoch's, in Keras's own sums, was ``seen``.
    """

    epoch: float = 0.0
    global_step: int = 0
    max_steps: int = 0
    num_train_epochs: int = 0
    batches: int = 0
    epochs_done: int = 0
    epoch_batches: int = 0
    log_history: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    best_metric: float | None = None
    best_global_step: int | None = None
    best_model_checkpoint: str | None = None
    loss_sums: dict[str, float] = dataclasses.field(
        default_factory=lambda: dict.fromkeys(
            ("total", "count", "logged_total", "logged_count", "seen_total", "seen_count"), 0.0
        )
    )

    def observe(self, value: float, greater_is_better: bool) -> bool:
        """Note the value of the metric that checkpoints are compared by; tell if it is the best."""
        best = self.best_metric
        if best is not None and not (value > best if greater_is_better else value < best):
            return False
        self.best_metric, self.best_global_step = value, self.global_step
        return True

    def update(self, values: dict[str, Any]) -> None:
        """Take over the values of a state that was saved, but for how long training shall be."""
        for field in dataclasses.fields(self):
            if field.name in values and field.name not in ("max_steps", "num_train_epochs"):
                setattr(self, field.name, values[field.name])


class StepCounter(keras.callbacks.Callback):
    """Keeps a state up to date during ``fit``; several may share one.

    Args:
        state: what is kept up to date.
    """

    def __init__(self, state: TrainerState) -> None:
        super().__init__()
        self.state = state

    @property
    def batches_per_epoch(self) -> int | None:
        """How many batches an epoch has; None where Keras does not know yet."""
        return self.params.get("steps")

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Remember where the epoch begins: behind its first batch, if training was resumed."""
        self._before = (self.state.batches, self.state.epoch_batches)
        self._steps = self.state.global_step

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Count the batches up to ``batch``, of which Keras may have run several at a time."""
        state, (batches, epoch_batches) = self.state, self._before
        self._steps_before = self._steps
        per_epoch = self.batches_per_epoch
        done = batch + 1
        if per_epoch is not None:
            done = min(done, per_epoch - epoch_batches)
        state.batches = batches + done
        state.epoch_batches = epoch_batches + done
        state.global_step = state.batches // batches_per_update(self.model)
        if per_epoch is not None:
            state.epoch = state.epochs_done + state.epoch_batches / per_epoch
        self._steps = state.global_step

    def passed(self, every: int) -> bool:
        """Tell whether the last batches reached a multiple of ``every`` updates."""
        return self._steps // every > self._steps_before // every

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Count the epoch, unless training stopped within it."""
        per_epoch = self.batches_per_epoch
        if per_epoch is None or self.state.epoch_batches >= per_epoch:
            self.state.epochs_done = epoch + 1
            self.state.epoch_batches = 0
            self.state.epoch = float(epoch + 1)


def batches_per_update(model: keras.Model) -> int:
    """Return how many batches a compiled model's optimizer gathers for an update."""
    optimizer = model.optimizer
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # of a scaled loss
    return optimizer.gradient_accumulation_steps or 1
