"""What the command lines of several commands share."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Any

import typer

#: What Python calls these, for those who are used to it.
_PYTHON_NAMES = {"None": None, "True": True, "False": False}

Tokenizer = Annotated[
    str | None,
    typer.Option(help="A folder or a Hub id.", show_default="that of the checkpoint"),
]
Revision = Annotated[
    str | None, typer.Option(help="A branch, tag or commit of the Hub.", show_default="main")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="A setting of the task; VALUE is JSON, or a text as it is. May be repeated.",
    ),
]


def examples(*lines: str) -> str:
    r"""Return the end of a command's help, where each example has a line of its own.

    Example:
        >>> examples("tfhf env")
        'Examples:\n\n$ tfhf env'
    """
    return "\n\n".join(["Examples:", *(f"$ {line}" for line in lines)])


def named_values(option: str, pairs: Iterable[str]) -> dict[str, str]:
    """Return what a repeated option says, each as ``NAME=VALUE``.

    Raises:
        typer.BadParameter: one is not written so, or a name stands there twice.

    Example:
        >>> named_values("--column", ["text=review"])
        {'text': 'review'}
    """
    values: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise typer.BadParameter(f"{option} must be NAME=VALUE, but is {pair!r}")
        if name in values:
            raise typer.BadParameter(f"{option} has {name!r} twice")
        values[name] = value
    return values


def settings(pairs: Iterable[str] | None) -> dict[str, Any]:
    """Return what ``--set`` says.

    Example:
        >>> settings(["top-k=3", "targets=good", 'candidate_labels=["a", "b"]', "truncation=True"])
        {'top_k': 3, 'targets': 'good', 'candidate_labels': ['a', 'b'], 'truncation': True}
    """
    texts = named_values("--set", pairs or ())
    return {name.replace("-", "_"): _value(text) for name, text in texts.items()}


def _value(text: str) -> Any:
    if text in _PYTHON_NAMES:
        return _PYTHON_NAMES[text]
    try:
        return json.loads(text)
    except ValueError:
        return text
