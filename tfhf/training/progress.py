"""A line that says how far a training is."""

from __future__ import annotations

import sys
import time
from typing import Any

from tfhf.training.state import StepCounter, TrainerState, batches_per_update

#: Seconds between two lines: on a screen, where one replaces the other, and in a file.
SCREEN_SECONDS, FILE_SECONDS = 0.2, 30.0


class ProgressLine(StepCounter):
    """Say epoch, step, loss, rate and time left during ``fit``; use it with ``verbose=0``.

    On a screen one line is written anew; into a file goes a line every half minute.

    Args:
        state: what is counted in; default: a new one.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> x, y = np.zeros((8, 2)), np.zeros((8, 1))
        >>> _ = model.fit(x, y, batch_size=2, verbose=0, callbacks=[ProgressLine()])
        epoch 1/1  step 4/4  loss 0.0000  ... steps/s  0:00 left
    """

    def __init__(self, state: TrainerState | None = None) -> None:
        super().__init__(TrainerState() if state is None else state)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Begin to measure the rate, once what came before training is over."""
        super().on_epoch_begin(epoch)
        self._epoch = epoch
        if not hasattr(self, "_started"):
            self._started, self._first_step = time.monotonic(), self.state.global_step
            self._written = self._started

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the line, if the last one is old."""
        super().on_train_batch_end(batch)
        now = time.monotonic()
        if now - self._written >= (SCREEN_SECONDS if sys.stdout.isatty() else FILE_SECONDS):
            self._written = now
            self._write(logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the epoch's last line, and leave it."""
        super().on_epoch_end(epoch)
        self._write(logs, last=True)

    def _write(self, logs: dict[str, Any] | None, last: bool = False) -> None:
        state = self.state
        steps, epochs = state.max_steps, state.num_train_epochs or self.params.get("epochs", 0)
        per_epoch = self.batches_per_epoch
        if not steps and per_epoch:
            steps = per_epoch * epochs // batches_per_update(self.model)
        seconds = time.monotonic() - self._started
        rate = (state.global_step - self._first_step) / max(seconds, 1e-9)
        parts = [
            f"epoch {self._epoch + 1}/{epochs}",
            f"step {state.global_step}/{steps or '?'}",
            f"loss {float((logs or {}).get('loss', float('nan'))):.4f}",
            f"{rate:.3g} steps/s",
        ]
        if steps and rate:
            parts.append(f"{_clock((steps - state.global_step) / rate)} left")
        line = "  ".join(parts)
        on_screen = sys.stdout.isatty()
        sys.stdout.write(("\r\x1b[K" if on_screen else "") + line)
        sys.stdout.write("" if on_screen and not last else "\n")
        sys.stdout.flush()


def _clock(seconds: float) -> str:
    """Return hours (if any), minutes and seconds."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
