"""``tfhf push``: a folder to the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from tfhf.cli.options import examples

app = typer.Typer()


@app.command(
    epilog=examples(
        "tfhf push runs/movie-sentiment my-name/movie-sentiment --private",
        'tfhf push runs/movie-sentiment my-team/movie-sentiment --pr -m "Two more epochs"',
    )
)
def push(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="What to upload.", exists=True, file_okay=False),
    ],
    repo: Annotated[str, typer.Argument(help="The repository, name or organisation/name.")],
    message: Annotated[
        str, typer.Option("--message", "-m", help="What the commit says.")
    ] = "Upload model",
    private: Annotated[
        bool | None, typer.Option(help="Who sees a new repository.", show_default="the account's")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="The branch.")] = None,
    pull_request: Annotated[
        bool, typer.Option("--pr", help="Open a pull request in place of a commit.")
    ] = False,
) -> None:
    """Upload a folder as a model repository, made if need be, in one commit.

    What checkpoint-*/ hold stays here. Log in with `hf auth login` before, or set HF_TOKEN.
    """
    from tfhf.hub import push_folder

    with uploading(folder, repo):
        address = push_folder(
            folder,
            repo_id=repo,
            commit_message=message,
            private=private,
            revision=revision,
            create_pr=pull_request,
        )
    typer.echo(address)


@contextmanager
def uploading(folder: Path, repo: str) -> Iterator[None]:
    """Say what could not be uploaded where, in place of the errors of HTTP."""
    from huggingface_hub.errors import HTTPError

    try:
        yield
    except HTTPError as error:
        raise OSError(f"{folder} cannot be uploaded to {repo}: {error}") from error
