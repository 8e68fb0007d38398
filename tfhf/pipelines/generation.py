"""What the tasks that write text share: settings, prefixes and ``generate``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from tfhf.generation.task_settings import task_settings
from tfhf.modeling import TFPreTrainedModel
from tfhf.pipelines.base import Outputs, Pipeline, Row


class GenerationPipeline(Pipeline):
    """Base of tasks that call ``model.generate``.

    Settings are those of the model's ``generation_config``; ``config.task_specific_params`` count
    before these, and the options of a call before all others.

    Attributes:
        generation_config: these settings, for this task.
        prefix: text that the configuration puts before every input, or ``None``.
    """

    default_batch_size = 1
    # Random numbers are drawn in the order of the inputs.
    concurrent_batches = 1
    #: The length of results where nobody says more; ``None``: that of ``generate``.
    default_max_length: ClassVar[int | None] = None

    def __init__(
        self, model: TFPreTrainedModel, tokenizer: Any, *, task: str = "", **options: Any
    ) -> None:
        self.generation_config, self.prefix = task_settings(
            model, tokenizer, task, max_length=self.default_max_length
        )
        super().__init__(model, tokenizer, task=task, **options)

    def generate(self, rows: Sequence[Row], settings: dict[str, Any]) -> list[Outputs]:
        """Return the sequences of each row: ``{"sequences": [sequences, length]}``."""
        settings = {"generation_config": self.generation_config, **settings}
        if settings.get("stop_strings") is not None:
            settings.setdefault("tokenizer", self.tokenizer)
        with self.on_device():
            found = self.model.generate(**self.pad(rows), **settings)
        sequences = found if tf.is_tensor(found) else found.sequences
        by_row = sequences.numpy().reshape(len(rows), -1, sequences.shape[1])
        if len(rows) > 1:
            return [{"sequences": self._cut(own, settings)} for own in by_row]
        return [{"sequences": own} for own in by_row]

    def _usual_batch_size(self) -> int:
        return self.default_batch_size

    def _cut(self, sequences: np.ndarray, settings: dict[str, Any]) -> np.ndarray:
        """Leave out the columns that a row has only because others of its batch are longer."""
        known = {**self.generation_config.to_dict(), **settings}
        ends, padding = np.ravel(known["eos_token_id"]), known["pad_token_id"]
        if padding is None:
            padding = ends[0]
        written = np.flatnonzero((sequences != padding).any(axis=0))
        length = (written[-1] + 1 if len(written) else 0) + int(padding in ends)
        return sequences[:, :length]
