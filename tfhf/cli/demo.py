"""``tfhf demo``: the tasks in the browser."""

from __future__ import annotations

from typing import Annotated

import typer

from tfhf.cli.options import examples, named_values
from tfhf.cli.tasks import TASKS, plain_name

app = typer.Typer()


@app.command(
    epilog=examples(
        "tfhf demo",
        "tfhf demo --model sentiment-analysis=runs/movie-sentiment --model ner=runs/ner",
        "tfhf demo --host 0.0.0.0 --port 8080 --no-browser",
    )
)
def demo(
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TASK=MODEL",
            help="The folder or Hub id for a task. May be repeated; others have their default.",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Where to listen; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port.", min=1, max=65535)] = 7860,
    browser: Annotated[bool, typer.Option(help="Open it in the browser.")] = True,
) -> None:
    """Show each task on a page in the browser, until Ctrl-C.

    A model is loaded when its task is first used. Needs Gradio: pip install 'tfhf[demo]'.
    """
    models = named_values("--model", model or ())
    for task in models:
        if plain_name(task) not in TASKS:
            raise typer.BadParameter(f"--model {task}=…: {task!r} is none of {', '.join(TASKS)}")

    from tfhf.demo import launch

    try:
        launch(models, server_name=host, server_port=port, inbrowser=browser)
    except KeyError as error:  # a task without a tab
        raise ValueError(error.args[0]) from error
