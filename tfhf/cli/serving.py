"""``tfhf export`` and ``tfhf serve-check``: a checkpoint as a SavedModel, and what it does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tfhf.cli.checkpoints import load_trained, loading
from tfhf.cli.options import Revision, Settings, Tokenizer, examples, settings
from tfhf.cli.tasks import EXPORTED_TASKS, plain_name, task_words

app = typer.Typer()


@app.command(
    epilog=examples(
        "tfhf export runs/movie-sentiment saved_models/movie-sentiment --task text-classification",
        "tfhf export gpt2 saved_models/gpt2 --task text-generation --set max_new_tokens=40",
    )
)
def export(
    model: Annotated[str, typer.Argument(help="A checkpoint: a folder or a Hub id.")],
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="The folder of all versions; its name is the model's in TensorFlow Serving.",
            file_okay=False,
        ),
    ],
    task: Annotated[str, typer.Option(**task_words(EXPORTED_TASKS))],
    setting: Settings = None,
    tokenizer: Tokenizer = None,
    revision: Revision = None,
) -> None:
    """Write a checkpoint and its tokenizer as the next version of a served model."""
    options = settings(setting)
    hub = {} if revision is None else {"revision": revision}
    if task == "sentence-embeddings":  # whose checkpoint says how states become a vector
        if tokenizer is not None:
            raise typer.BadParameter(f"--tokenizer: {task} takes that of the checkpoint")
        from tfhf.sentence_encoder import SentenceEncoder

        with loading(model):
            encoder = SentenceEncoder.from_pretrained(model, **hub)
        typer.echo(encoder.export(directory, **options))
        return

    from tfhf.serving.signatures import TASKS
    from tfhf.tokenization import AutoTokenizer

    auto_class, *_ = TASKS[plain_name(task)].auto_classes
    loaded = load_trained(auto_class, model, task, **hub)
    texts = AutoTokenizer.from_pretrained(tokenizer or model, **({} if tokenizer else hub))
    typer.echo(loaded.export(directory, tokenizer=texts, task=task, **options))


@app.command(
    epilog=examples(
        "tfhf serve-check saved_models/movie-sentiment",
        "tfhf serve-check saved_models/movie-sentiment --version 3 --callers 1 --callers 8",
    )
)
def serve_check(
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="The folder of all versions, or that of one.",
            exists=True,
            file_okay=False,
        ),
    ],
    version: Annotated[
        int | None, typer.Option(help="Which version.", show_default="the newest")
    ] = None,
    callers: Annotated[
        list[int] | None,
        typer.Option(
            help="How many ask at the same time, for timing. May be repeated.",
            min=1,
            show_default="1, 4 and 16",
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(help="How long each timing takes, about.")] = 1.0,
) -> None:
    """Ask an export what a server will, without Python, and time it.

    The exit code is 1 where an answer is not that of Python. Needs a C compiler.
    """
    from tfhf import serving

    asked = {"callers": callers} if callers else {}
    found = serving.serve_check(directory, version, seconds=seconds, **asked)
    Console().print(found)
    if found.problems:
        raise typer.Exit(1)
