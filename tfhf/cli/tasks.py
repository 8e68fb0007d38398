"""The names of all tasks, known without importing TensorFlow."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import typer

#: Those of ``tfhf.pipeline``.
TASKS = (
    "feature-extraction",
    "fill-mask",
    "question-answering",
    "summarization",
    "text-classification",
    "text-generation",
    "text2text-generation",
    "token-classification",
    "translation",
    "zero-shot-classification",
)
ALIASES = {"ner": "token-classification", "sentiment-analysis": "text-classification"}
#: Those of ``model.export``.
EXPORTED_TASKS = (*TASKS, "multiple-choice", "sentence-embeddings")


def plain_name(task: str) -> str:
    """Return what a task is listed under; a name that no task has stays what it is.

    Example:
        >>> plain_name("ner"), plain_name("translation_en_to_fr")
        ('token-classification', 'translation')
    """
    is_translation = re.fullmatch("translation_[^_]+_to_[^_]+", task)
    return "translation" if is_translation else ALIASES.get(task, task)


def task_words(tasks: Sequence[str] = TASKS) -> dict[str, Any]:
    """Return what typer is told of an argument or an option that is one of some tasks."""
    names = sorted([*tasks, *ALIASES])

    def check(task: str | None) -> str | None:
        if task is not None and plain_name(task) not in tasks:
            raise typer.BadParameter(
                f"{task!r} is none of the tasks {', '.join(names)}, translation_xx_to_yy"
            )
        return task

    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return {"help": "The task.", "callback": check, "autocompletion": complete}
