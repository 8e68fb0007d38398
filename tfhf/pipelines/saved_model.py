"""Tasks by a SavedModel, which has its tokenizer and its settings inside."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401, the operations of the tokenizer

from tfhf.pipelines.base import Example, Outputs, Pipeline, Row
from tfhf.pipelines.feature_extraction import FeatureExtractionPipeline
from tfhf.pipelines.fill_mask import FillMaskPipeline
from tfhf.pipelines.question_answering import QuestionAnsweringPipeline, question_and_context
from tfhf.pipelines.text_classification import (
    ClassificationSettings,
    TextClassificationPipeline,
    classification_settings,
    named_scores,
    text_and_pair,
)
from tfhf.pipelines.token_classification import TokenClassificationPipeline
from tfhf.pipelines.zero_shot_classification import ZeroShotClassificationPipeline
from tfhf.serving.export import SIGNATURES_FILE


def is_saved_model(folder: Any) -> bool:
    """Whether this is the version folder of a SavedModel."""
    return isinstance(folder, str | os.PathLike) and Path(folder, "saved_model.pb").is_file()


def saved_model_pipeline(
    folder: str | os.PathLike[str], task: str | None = None, **options: Any
) -> SavedModelPipeline:
    """Make the pipeline of what ``model.export(…, tokenizer=…)`` wrote.

    Args:
        folder: a version folder, such as ``saved_models/movie-sentiment/1``.
        task: the name of the task; default: that of the export.
        **options: as for `SavedModelPipeline`.

    Raises:
        ValueError: the export is for no task, for another one, or for one that is asked otherwise:
            by ``tf.saved_model.load`` or `tfhf.ServingClient`.
    """
    file = Path(folder, SIGNATURES_FILE)
    facts = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    facts = facts.get("serving_default", {})
    its_task = facts.get("task")
    if its_task is None:
        raise ValueError(
            f"{os.fspath(folder)} does not say what its task is. Export a model that has one with "
            "its tokenizer: model.export(folder, tokenizer=tokenizer)"
        )
    if task not in (None, its_task):
        raise ValueError(f"{os.fspath(folder)} is for {its_task}, not for {task!r}")
    if its_task not in PIPELINES:
        raise ValueError(f"there is no pipeline for a SavedModel for {its_task}: load it yourself")
    return PIPELINES[its_task](folder, task=its_task, facts=facts, **options)


class SavedModelPipeline(Pipeline):
    """A task by a SavedModel.

    Inputs and results are those of the task's pipeline. The options are those of the export: a call
    has none of its own. The tokenizer inside cuts long texts by itself.

    Args:
        folder: a version folder.
        task: the name of the task.
        facts: what the export says of itself.
        **options: as for `Pipeline`.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        task: str,
        facts: dict[str, Any],
        batch_size: int | None = None,
        device: int | str | None = None,
        num_workers: int | None = None,
        **options: Any,
    ) -> None:
        self.task = task
        self.facts = facts
        self.device = device
        self.batch_size = batch_size
        self.options = options
        with self.on_device():
            self.saved_model = tf.saved_model.load(os.fspath(folder))
        self.signature = self.saved_model.signatures["serving_default"]
        _, self._inputs = self.signature.structured_input_signature
        self.settle(**options)

    def settle(self, **options: Any) -> Any:
        """Refuse options."""
        if options:
            raise TypeError(
                f"a SavedModel has no option {', '.join(options)}: its settings are those of its "
                "export"
            )

    def texts(self, each: Any, settings: Any) -> dict[str, Any]:
        """Return the inputs of the signature for an input, by name."""
        return {"text": each}

    def preprocess(self, inputs: Sequence[Any], settings: Any) -> list[Example]:
        """Check that inputs are texts."""
        examples = []
        for each in inputs:
            row = self.texts(each, settings)
            if set(row) != set(self._inputs) or not all(isinstance(t, str) for t in row.values()):
                expected = " and ".join(f"a string for {name}" for name in self._inputs)
                raise ValueError(f"an input must be {expected}, but is {each!r}")
            examples.append(Example([row], each))
        return examples

    def run(self, rows: Sequence[Row], settings: Any) -> list[Outputs]:
        """Return the outputs of a batch, row by row."""
        inputs = {name: [row[name] for row in rows] for name in self._inputs}
        with self.on_device():
            outputs = self.signature(**{key: tf.constant(text) for key, text in inputs.items()})
        outputs = {name: value.numpy() for name, value in outputs.items()}
        return [{name: value[i] for name, value in outputs.items()} for i in range(len(rows))]

    def save_pretrained(self, save_directory: str | os.PathLike[str]) -> None:
        """Refuse: a SavedModel is no checkpoint."""
        raise TypeError("a SavedModel cannot be saved as a checkpoint: copy its folder")

    def _usual_batch_size(self) -> int:
        return self.default_batch_size


class _TextClassification(SavedModelPipeline, TextClassificationPipeline):
    """Of the options of the task, ``top_k`` and ``return_all_scores`` are there."""

    def settle(
        self,
        *,
        top_k: int | str | None = "",
        function_to_apply: str | None = None,
        return_all_scores: bool | None = None,
        padding: Any = None,
        truncation: Any = None,
        **others: Any,
    ) -> ClassificationSettings:
        if function_to_apply is not None:
            raise ValueError(
                f"function_to_apply={function_to_apply!r}: the scores of a SavedModel are final"
            )
        super().settle(**others)
        return classification_settings(top_k, "none", return_all_scores, {})

    def texts(self, each: Any, settings: Any) -> dict[str, Any]:
        text, pair = text_and_pair(each)
        return {"text": text} if pair is None else {"text": text, "text_pair": pair}

    def postprocess(
        self, example: Example, outputs: list[Outputs], settings: ClassificationSettings
    ) -> Any:
        labels = dict(enumerate(self.facts["labels"]))
        return named_scores(outputs[0]["scores"], labels, settings)


class _TokenClassification(SavedModelPipeline, TokenClassificationPipeline):
    def postprocess(self, example: Example, outputs: list[Outputs], settings: Any) -> Any:
        return _entries(outputs[0], "entity entity_group score index word start end")


class _QuestionAnswering(SavedModelPipeline, QuestionAnsweringPipeline):
    def texts(self, each: Any, settings: Any) -> dict[str, Any]:
        return dict(zip(("question", "context"), question_and_context(each)))

    def postprocess(self, example: Example, outputs: list[Outputs], settings: Any) -> Any:
        answers = _entries(outputs[0], "score start end answer")
        return answers[0] if len(answers) == 1 else answers


class _FillMask(SavedModelPipeline, FillMaskPipeline):
    def postprocess(self, example: Example, outputs: list[Outputs], settings: Any) -> Any:
        count = outputs[0].pop("count")
        masks = [
            _entries(
                {key: value[i] for key, value in outputs[0].items()},
                "score token token_str sequence",
            )
            for i in range(count)
        ]
        return masks[0] if len(masks) == 1 else masks


class _ZeroShotClassification(SavedModelPipeline, ZeroShotClassificationPipeline):
    """Of the options of the task, ``candidate_labels`` is there, if the export has it not."""

    def settle(self, *, candidate_labels: str | Sequence[str] = (), **others: Any) -> Any:
        SavedModelPipeline.settle(self, **others)
        if isinstance(candidate_labels, str):
            return candidate_labels
        if with_comma := [label for label in candidate_labels if "," in label]:
            raise ValueError(f"candidate_labels of a SavedModel have no commas: {with_comma}")
        return ",".join(candidate_labels)

    def texts(self, each: Any, settings: str) -> dict[str, Any]:
        return {"text": each} | ({"candidate_labels": settings} if settings else {})

    def postprocess(self, example: Example, outputs: list[Outputs], settings: Any) -> Any:
        count = outputs[0]["count"]
        labels, scores = (outputs[0][name][:count] for name in ("labels", "scores"))
        return {"sequence": example.source, "labels": _plain(labels), "scores": _plain(scores)}


class _FeatureExtraction(SavedModelPipeline, FeatureExtractionPipeline):
    def postprocess(self, example: Example, outputs: list[Outputs], settings: Any) -> Any:
        seen = outputs[0]["attention_mask"].astype(bool)
        return outputs[0]["embeddings"][seen][None].tolist()


class _Generation(SavedModelPipeline):
    def postprocess(self, example: Example, outputs: list[Outputs], settings: Any) -> Any:
        ((name, texts),) = outputs[0].items()
        return [{name: text} for text in np.atleast_1d(_plain(texts)).tolist()]


PIPELINES: dict[str, type[SavedModelPipeline]] = {
    "feature-extraction": _FeatureExtraction,
    "fill-mask": _FillMask,
    "question-answering": _QuestionAnswering,
    "summarization": _Generation,
    "text-classification": _TextClassification,
    "text-generation": _Generation,
    "text2text-generation": _Generation,
    "token-classification": _TokenClassification,
    "translation": _Generation,
    "zero-shot-classification": _ZeroShotClassification,
}


def _entries(outputs: Mapping[str, np.ndarray], names: str) -> list[dict[str, Any]]:
    """Return a dictionary for each entry of outputs [entries, …] that counts, with these names."""
    columns = {name: _plain(outputs[name]) for name in names.split() if name in outputs}
    rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
    return rows[: outputs.get("count")]


def _plain(values: np.ndarray | bytes) -> Any:
    """Return values as Python has them, strings as text."""
    if isinstance(values, bytes):
        return values.decode()
    if values.dtype == object:
        return [_plain(value) for value in values]
    return values.tolist()
