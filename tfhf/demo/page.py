"""The page: a tab for each task, and the models behind them."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import Any

from tfhf.pipelines.base import Pipeline
from tfhf.pipelines.pipeline import ALIASES, find_task, pipeline

Model = str | os.PathLike[str]

#: The tabs, in their order, and what is written on them.
TASKS = {
    "sentiment-analysis": "Sentiment",
    "zero-shot-classification": "Zero-shot",
    "ner": "Entities",
    "question-answering": "Questions",
    "fill-mask": "Gaps",
    "feature-extraction": "Similarity",
    "text-generation": "Generation",
    "summarization": "Summary",
    "translation": "Translation",
}
#: The translation of the page where none is asked for: one that has a default checkpoint.
TRANSLATION = "translation_en_to_fr"


class LazyPipeline:
    """A pipeline that is made when it is first asked for.

    Args:
        task: its task.
        model: a folder or a Hub id; ``None``: the task's default checkpoint.
    """

    def __init__(self, task: str, model: Model | None) -> None:
        self.task = task
        self.model = model

    @property
    def name(self) -> str:
        """Where the model is from."""
        if self.model is not None:
            return os.fspath(self.model)
        _, default = find_task(self.task)
        return f"{default.name}, the default" if default else "none"

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Call the pipeline."""
        return self.pipeline(*args, **options)

    @functools.cached_property
    def pipeline(self) -> Pipeline:
        """The pipeline itself."""
        return pipeline(self.task, self.model)


def make_demo(models: Mapping[str, Model] | None = None) -> Any:
    """Return the page, a ``gradio.Blocks``; no model is loaded before its tab is used.

    Args:
        models: a folder or a Hub id for some tasks, such as ``{"ner": "my-model"}``; the others
            have their default checkpoints. The languages of a translation may be named:
            ``{"translation_en_to_de": "google-t5/t5-small"}``.

    Raises:
        ImportError: Gradio is not installed.
        KeyError: there is no such task, or the page has no tab for it.
        ValueError: a task is there twice, by two of its names.

    Example:
        >>> demo = make_demo({"sentiment-analysis": "runs/movie-sentiment"})  # doctest: +SKIP
        >>> demo.launch()  # doctest: +SKIP
    """
    pipelines = make_pipelines(models or {})
    try:
        from tfhf.demo.tabs import make_tabs
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise ImportError("the demo needs Gradio: pip install 'tfhf[demo]'") from error
    return make_tabs(pipelines)


def launch(models: Mapping[str, Model] | None = None, **options: Any) -> Any:
    """Show the page until the program ends, by default at http://127.0.0.1:7860.

    Args:
        models: as for `make_demo`.
        **options: those of Gradio's ``launch``: ``server_name``, ``server_port``, ``inbrowser``,
            ``prevent_thread_lock=True`` to return at once.

    Example:
        >>> launch({"text-generation": "gpt2"}, server_port=8080)  # doctest: +SKIP
    """
    demo = make_demo(models)
    from tfhf.demo.tabs import CSS, THEME

    # The messages of errors are for those who use the page, too.
    return demo.launch(theme=THEME, css=CSS, footer_links=[], show_error=True, **options)


def make_pipelines(models: Mapping[str, Model]) -> dict[str, LazyPipeline]:
    """Return the pipeline of each tab, by the tab's name.

    Example:
        >>> make_pipelines({"token-classification": "my-model"})["ner"].name
        'my-model'
    """
    names = {_tab(task): task for task in TASKS} | {"translation": TRANSLATION}
    given: dict[str, Model] = {}
    for task, model in models.items():
        find_task(task)
        tab = _tab(task)
        if tab not in names:
            raise KeyError(f"the demo has no tab for {task}, only for {', '.join(TASKS)}")
        if tab in given:
            raise ValueError(f"models has two entries for one task: {task!r} is the second")
        given[tab] = model
        names[tab] = task
    return {task: LazyPipeline(names[_tab(task)], given.get(_tab(task))) for task in TASKS}


def _tab(task: str) -> str:
    """Return what the names of a task have in common."""
    return "translation" if task.startswith("translation") else ALIASES.get(task, task)
