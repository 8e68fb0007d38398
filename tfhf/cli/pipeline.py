"""``tfhf pipeline``: a task over a file."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from tfhf.checkpoints.atomic import replace_file
from tfhf.cli.options import Revision, Settings, Tokenizer, examples, named_values, settings
from tfhf.cli.rows import STANDARD, SUFFIXES, Row, RowWriter, is_csv, read_rows
from tfhf.cli.tasks import plain_name, task_words

app = typer.Typer()

#: {task: the columns that it reads}; the others read text.
COLUMNS = {
    "question-answering": ("question", "context"),
    "text-classification": ("text", "text_pair"),
    "text-generation": ("text", "messages"),
}


def _check_input(path: Path) -> Path:
    if path != STANDARD and not path.is_file():
        raise typer.BadParameter(f"there is no file {path}")
    return _check_suffix(path)


def _check_output(path: Path) -> Path:
    if not path.absolute().parent.is_dir():
        raise typer.BadParameter(f"there is no folder {path.parent}")
    return _check_suffix(path)


def _check_suffix(path: Path) -> Path:
    if path != STANDARD and path.suffix not in SUFFIXES:
        raise typer.BadParameter(f"{path} must end in {' or '.join(SUFFIXES)}, or be -")
    return path


@app.command(
    epilog=examples(
        "tfhf pipeline sentiment-analysis --input reviews.csv --output labels.csv",
        "tfhf pipeline ner --model runs/ner --set aggregation_strategy=simple < texts.jsonl",
        "tfhf pipeline question-answering --column context=passage --input squad.jsonl",
        "tfhf pipeline zero-shot-classification --candidate-labels sport,politics --input news.csv",
        "tfhf pipeline text-generation --set max_new_tokens=40 --set do_sample=true "
        "--input prompts.jsonl",
        "tfhf pipeline text-classification --model saved_models/movie-sentiment/1 < reviews.jsonl",
    )
)
def pipeline(
    task: Annotated[str, typer.Argument(metavar="TASK", **task_words())],
    model: Annotated[
        str | None,
        typer.Option(
            help="A folder, a Hub id, or a version folder of a SavedModel.",
            show_default="the task's",
        ),
    ] = None,
    tokenizer: Tokenizer = None,
    revision: Revision = None,
    source: Annotated[
        Path,
        typer.Option(
            "--input",
            "-i",
            help="JSON lines or CSV, as the suffix says; - is JSON lines.",
            callback=_check_input,
        ),
    ] = STANDARD,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="JSON lines or CSV, as the suffix says; - is JSON lines.",
            callback=_check_output,
        ),
    ] = STANDARD,
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=COLUMN",
            help="Where the input has what the task calls NAME. May be repeated.",
        ),
    ] = None,
    candidate_labels: Annotated[
        str | None,
        typer.Option(metavar="LABEL,…", help="The labels of zero-shot-classification."),
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="How many results for an input.")] = None,
    setting: Settings = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Rows that the model reads at a time.", min=1)
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, the number of a GPU, or a device of TensorFlow.")
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="Of the model, such as bfloat16.")] = None,
) -> None:
    """Run a task over the rows of a file.

    A row has the columns text, for classification perhaps text_pair too; for question-answering
    question and context; for text-generation text or messages.

    In JSON lines, each line is what tfhf.pipeline returns for a row. In CSV, each label, entity,
    answer or text has a line, after the row that it is of. A file appears when it is whole.
    """
    named = {"candidate_labels": candidate_labels, "top_k": top_k, "batch_size": batch_size}
    options = settings(setting) | {
        name: value for name, value in named.items() if value is not None
    }
    inputs = _Inputs(source, plain_name(task), named_values("--column", column or ()))
    if is_csv(output) and plain_name(task) == "feature-extraction":
        raise typer.BadParameter("feature-extraction gives vectors: write JSON lines")
    columns = inputs.columns() if is_csv(output) else []

    from tfhf import pipelines

    pipe = pipelines.pipeline(
        task,
        model,
        tokenizer=tokenizer,
        revision=revision,
        device=int(device) if device and device.lstrip("-").isdecimal() else device,
        dtype=dtype,
        **options,
    )
    opened = nullcontext(sys.stdout) if output == STANDARD else replace_file(output, "utf-8")
    try:
        with opened as file:
            writer = RowWriter(file, output, columns)
            # With a length, there is a bar that has an end.
            for result in pipe(iter(inputs) if source == STANDARD else inputs):
                writer.write(inputs.pending.popleft(), result)
    except pipelines.PipelineException as error:
        raise ValueError(str(error)) from error


class _Inputs:
    """What a task reads of the rows of a file.

    Args:
        path: the file.
        task: the task.
        columns: {what the task calls it: what the file calls it}, where these differ.

    Attributes:
        pending: rows that were read and have no result yet.
    """

    def __init__(self, path: Path, task: str, columns: dict[str, str]) -> None:
        self.pending: deque[Row] = deque()
        self._path = path
        self._kept: list[Row] | None = None
        self._task = task
        names = COLUMNS.get(task, ("text",))
        if unknown := set(columns) - set(names):
            raise typer.BadParameter(
                f"--column {unknown.pop()}=…: the columns of {task} are {', '.join(names)}"
            )
        self._columns = {name: columns.get(name, name) for name in names}

    def __len__(self) -> int:
        """Count the rows; a row that cannot be read is found before any work is done."""
        return sum(1 for _ in self._numbered())

    def columns(self) -> list[str]:
        """Return all columns; for this, the rows of standard input are kept in memory."""
        if self._path == STANDARD:
            self._kept = list(read_rows(self._path))
        return list(dict.fromkeys(name for row in self._rows() for name in row))

    def _rows(self) -> Iterable[Row]:
        return read_rows(self._path) if self._kept is None else self._kept

    def __iter__(self) -> Iterator[Any]:
        for row, value in self._numbered():
            self.pending.append(row)
            yield value

    def _numbered(self) -> Iterator[tuple[Row, Any]]:
        for number, row in enumerate(self._rows(), 1):
            try:
                yield row, self._input(row)
            except KeyError as error:
                column = self._columns[error.args[0]]
                raise ValueError(
                    f"{self._path}, row {number} has no column {column!r} but "
                    f"{', '.join(row) or 'none'}: pass --column {error.args[0]}=…"
                ) from error

    def _input(self, row: Row) -> Any:
        found = {name: row[column] for name, column in self._columns.items() if column in row}
        match self._task:
            case "question-answering":
                return {"question": found["question"], "context": found["context"]}
            case "text-classification" if found.get("text_pair") is not None:
                return {"text": found["text"], "text_pair": found["text_pair"]}
            case "text-generation" if "messages" in found:
                return found["messages"]
        return found["text"]
