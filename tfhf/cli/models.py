"""``tfhf models``: the architectures and their classes."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

import tfhf
from tfhf.cli.options import examples
from tfhf.cli.tasks import plain_name, task_words
from tfhf.models.names import MODELS

app = typer.Typer()


@app.command(epilog=examples("tfhf models", "tfhf models --task question-answering"))
def models(task: Annotated[str | None, typer.Option(**task_words())] = None) -> None:
    """List the architectures and their classes, or the classes for a task."""
    table = Table("architecture", "classes", box=None, pad_edge=False)
    for module, names in _classes_for(plain_name(task)).items() if task else MODELS.items():
        table.add_row(_title(module), ", ".join(names))
    Console().print(table)


def _classes_for(task: str) -> dict[str, list[str]]:
    """Return the classes that have the head of a task, by model file."""
    from tfhf.pipelines.pipeline import TASKS

    found: dict[str, list[str]] = {}
    for names in TASKS[task].pipeline_class.auto_class.class_names.values():
        for name in [names] if isinstance(names, str) else names:
            if f"TF{name}" in tfhf.__all__:
                module = getattr(tfhf, f"TF{name}").__module__.rpartition(".")[2]
                classes = found.setdefault(module, [])
                if f"TF{name}" not in classes:
                    classes.append(f"TF{name}")
    return dict(sorted(found.items()))


def _title(module: str) -> str:
    """Return how a model file calls its architecture."""
    source = Path(tfhf.__path__[0], "models", f"{module}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or module).partition(" (")[0].partition("\n")[0]
