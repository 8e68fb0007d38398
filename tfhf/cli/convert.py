"""``tfhf convert``: the weights of old checkpoints as safetensors."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tfhf.cli.options import examples

if TYPE_CHECKING:
    from tfhf.checkpoints.checkpoint import Checkpoint

app = typer.Typer()

#: In the order in which they are looked for in a folder.
OLD_FILES = (
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "tf_model.h5",
    "tf_model.h5.index.json",
)
NEW_FILES = ("model.safetensors", "model.safetensors.index.json")


class Outcome(NamedTuple):
    """What became of a checkpoint: how many tensors and bytes it has, or why it failed."""

    weights: Path
    what: str
    tensors: int = 0
    nbytes: int = 0
    reason: str = ""


@app.command(
    epilog=examples(
        "tfhf convert checkpoints/old-bert",
        "tfhf convert checkpoints --max-shard-size 5GB",
        "tfhf convert runs/*/tf_model.h5",
    )
)
def convert(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Folders, with all that are in them, or files of weights.", exists=True
        ),
    ],
    max_shard_size: Annotated[
        str, typer.Option(help="The most that a file holds; what is larger goes to several.")
    ] = "50GB",
) -> None:
    """Turn tf_model.h5 and pytorch_model.bin, also in shards, into model.safetensors.

    The new file lies beside the old one, which stays, as do configuration and tokenizer. It appears
    when it is whole and has been read back bit by bit. Checkpoints that have one are skipped, so a
    conversion that was interrupted goes on where it was. No code of a checkpoint is run.
    """
    found = list(dict.fromkeys(weights for path in paths for weights in _weights(path)))
    if not found:
        raise ValueError(f"nothing there has one of {', '.join(OLD_FILES)}")
    console = Console(stderr=True)
    outcomes = [
        _convert(weights, max_shard_size)
        for weights in track(found, "Converting", console=console, disable=not console.is_terminal)
    ]
    Console().print(_table(outcomes))
    for outcome in outcomes:
        if outcome.reason:
            typer.echo(f"tfhf: {outcome.weights}: {outcome.reason}", err=True)
    if any(outcome.reason for outcome in outcomes):
        raise typer.Exit(1)


def _weights(path: Path) -> Iterator[Path]:
    """Yield the weights to convert: one file or index for each folder."""
    if path.is_dir():
        for folder, _, files in sorted(os.walk(path)):
            yield from [Path(folder, name) for name in OLD_FILES if name in files][:1]
    elif path.name in OLD_FILES:
        yield path
    else:
        raise typer.BadParameter(f"{path} must be a folder or one of {', '.join(OLD_FILES)}")


def _convert(weights: Path, max_shard_size: str) -> Outcome:
    from tfhf.checkpoints.atomic import replace_folder
    from tfhf.checkpoints.reader import open_checkpoint
    from tfhf.checkpoints.writer import write_safetensors

    folder = weights.parent
    if any((folder / name).exists() for name in NEW_FILES):
        return Outcome(weights, "skipped")
    try:
        with open_checkpoint(weights) as checkpoint:
            entries = checkpoint.entries.values()
            with replace_folder(folder) as new:
                write_safetensors(new, entries, max_shard_size)
                written = next(new / name for name in reversed(NEW_FILES) if (new / name).exists())
                with open_checkpoint(written) as copy:
                    _require_equal(checkpoint, copy)
            return Outcome(
                weights, "converted", len(entries), sum(entry.nbytes for entry in entries)
            )
    except (OSError, ValueError) as error:
        return Outcome(weights, "failed", reason=str(error))


def _require_equal(checkpoint: Checkpoint, copy: Checkpoint) -> None:
    """Raise ValueError where two checkpoints differ in a bit."""
    if set(checkpoint) != set(copy):
        raise ValueError("it was written with other tensors")
    for name, entry in checkpoint.entries.items():
        other = copy.entries[name]
        same = (entry.shape, entry.dtype) == (other.shape, other.dtype)
        if not same or entry.read().tobytes() != other.read().tobytes():
            raise ValueError(f"{name} was not written as it was read")
        entry.release()
        other.release()


def _table(outcomes: Iterable[Outcome]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("checkpoint", overflow="fold")
    for column in ("tensors", "MB"):
        table.add_column(column, justify="right")
    table.add_column("outcome")
    for outcome in outcomes:
        size = [f"{outcome.tensors:,}", f"{outcome.nbytes / 1e6:,.1f}"]
        size = size if outcome.what == "converted" else ["", ""]
        table.add_row(str(outcome.weights), *size, outcome.what)
    return table
