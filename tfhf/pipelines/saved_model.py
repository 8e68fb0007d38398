"""Text classification by a SavedModel, which has its tokenizer inside."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
import tensorflow_text  # noqa: F401, the operations of the tokenizer

from tfhf.pipelines.base import Example, Outputs, Row
from tfhf.pipelines.text_classification import (
    ClassificationSettings,
    TextClassificationPipeline,
    classification_settings,
    named_scores,
    text_and_pair,
)
from tfhf.serving.export import LABELS_FILE


def is_saved_model(folder: Any) -> bool:
    """Whether this is the version folder of a SavedModel."""
    return isinstance(folder, str | os.PathLike) and Path(folder, "saved_model.pb").is_file()


class SavedModelPipeline(TextClassificationPipeline):
    """``"text-classification"`` by what ``model.export(…, tokenizer=…)`` wrote.

    Results are those of `TextClassificationPipeline`. The scores are the model's own, and the
    tokenizer inside cuts long texts by itself.

    Args:
        folder: a version folder, such as ``saved_models/movie-sentiment/1``.
        task: the name of the task.
        **options: as for `Pipeline`; of the task ``top_k`` and ``return_all_scores``.

    Raises:
        ValueError: the model does not take texts, or does not say what its labels are.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        task: str = "text-classification",
        batch_size: int | None = None,
        device: int | str | None = None,
        num_workers: int | None = None,
        **options: Any,
    ) -> None:
        self.task = task
        self.device = device
        self.batch_size = batch_size
        self.options = options
        with self.on_device():
            self.saved_model = tf.saved_model.load(os.fspath(folder))
        self.signature = self.saved_model.signatures["serving_default"]
        _, inputs = self.signature.structured_input_signature
        labels = Path(folder, LABELS_FILE)
        if set(inputs) != {"text"} or not labels.is_file():
            raise ValueError(
                f"{os.fspath(folder)} does not classify texts: it takes {sorted(inputs)}. Export a "
                "sequence classifier with its tokenizer: model.export(folder, tokenizer=tokenizer)"
            )
        self.labels = dict(enumerate(json.loads(labels.read_text(encoding="utf-8"))))
        self.settle(**options)

    def settle(
        self,
        *,
        top_k: int | str | None = "",
        function_to_apply: str | None = None,
        return_all_scores: bool | None = None,
        **tokenizer: Any,
    ) -> ClassificationSettings:
        """Check the options."""
        if function_to_apply is not None:
            raise ValueError(
                f"function_to_apply={function_to_apply!r}: the scores of a SavedModel are final"
            )
        unknown = set(tokenizer) - {"padding", "truncation"}
        if unknown:
            raise TypeError(f"a SavedModel has no option {unknown.pop()!r}: its tokenizer is fixed")
        return classification_settings(top_k, "none", return_all_scores, {})

    def preprocess(self, inputs: Sequence[Any], settings: ClassificationSettings) -> list[Example]:
        """Check that inputs are texts."""
        for each in inputs:
            text, pair = text_and_pair(each)
            if pair is not None or not isinstance(text, str):
                raise ValueError(f"an input must be a string, but is {each!r}")
        return [Example([{"text": text_and_pair(each)[0]}]) for each in inputs]

    def run(self, rows: Sequence[Row], settings: ClassificationSettings) -> list[Outputs]:
        """Return the scores of a batch, row by row."""
        with self.on_device():
            outputs = self.signature(text=tf.constant([row["text"] for row in rows]))
        return [{"scores": scores} for scores in outputs["scores"].numpy()]

    def postprocess(
        self, example: Example, outputs: list[Outputs], settings: ClassificationSettings
    ) -> Any:
        """Name the labels."""
        return named_scores(outputs[0]["scores"], self.labels, settings)

    def save_pretrained(self, save_directory: str | os.PathLike[str]) -> None:
        """Refuse: a SavedModel is no checkpoint."""
        raise TypeError("a SavedModel cannot be saved as a checkpoint: copy its folder")

    def _usual_batch_size(self) -> int:
        return self.default_batch_size
