"""The ``tfhf`` command.

A command imports TensorFlow, Transformers and what it needs of tfhf when it runs, not before, so
that help and completion come at once.

Exit codes: 0 for work that is done, 1 for work that failed, 2 for a command line that is wrong.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import tfhf
from tfhf.cli import convert, data, demo, env, launch, models, pipeline, push, serving, train

__all__ = ["app", "main"]

#: What tfhf raises where a user can help it.
_TOLD = (FloatingPointError, ImportError, OSError, RuntimeError, TypeError, ValueError)


def _told() -> tuple[type[Exception], ...]:
    """Return them with TensorFlow's own, such as a folder that it cannot write to."""
    tensorflow = sys.modules.get("tensorflow")
    return (*_TOLD, tensorflow.errors.OpError) if tensorflow else _TOLD


class _Commands(TyperGroup):
    """All commands. What a user can have done wrong is told in words, not by a trace."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if ctx.params["debug"] or not isinstance(error, _told()):
                raise
            typer.echo(f"tfhf: {str(error) or type(error).__name__}", err=True)
            raise typer.Exit(1) from None


app = typer.Typer(
    name="tfhf",
    cls=_Commands,
    help="Hugging Face models in TensorFlow, from the shell.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _module in (train, pipeline, demo, launch, data, serving, convert, push, models, env):
    app.add_typer(_module.app)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(tfhf.__version__)
        raise typer.Exit


@app.callback()
def _settings(
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error is from.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    # TensorFlow reads it when it is imported; errors are left.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def main() -> None:
    """Run the command line of this process; the entry point."""
    app()
