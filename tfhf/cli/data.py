"""``tfhf data``: rows made ready for training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tfhf.cli.options import Tokenizer, examples, named_values
from tfhf.cli.tasks import plain_name

app = typer.Typer()
data = typer.Typer(help="Make rows ready for training.", no_args_is_help=True)
app.add_typer(data, name="data")


@data.callback()
def _data() -> None:
    """Make rows ready for training."""


@data.command(
    epilog=examples(
        "tfhf data to-tfrecord gs://bucket/films/train --task text-classification "
        "--model distilbert-base-uncased --file train.csv --max-length 128",
        "tfhf data to-tfrecord gs://bucket/films/dev --task text-classification "
        "--model distilbert-base-uncased --file dev.csv --max-length 128 "
        "--labels-from gs://bucket/films/train",
        "tfhf data to-tfrecord shards --task text-classification --model bert-base-uncased "
        "--dataset glue --dataset-config mrpc --column text=sentence1 --column text_pair=sentence2",
    )
)
def to_tfrecord(
    folder: Annotated[str, typer.Argument(help="Where to: a local folder, or gs://bucket/folder.")],
    task: Annotated[str, typer.Option(help="What is to be trained, as for `tfhf train`.")],
    model: Annotated[str, typer.Option(help="The checkpoint to be trained: a folder or a Hub id.")],
    file: Annotated[
        Path | None,
        typer.Option(help="Rows, .csv, .json or .jsonl.", exists=True, dir_okay=False),
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="A dataset of the Hub, instead.")] = None,
    dataset_config: Annotated[str | None, typer.Option(help="Its configuration.")] = None,
    split: Annotated[str, typer.Option(help="Which of the dataset.")] = "train",
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=COLUMN",
            help="Where the rows have what the task calls NAME. May be repeated.",
        ),
    ] = None,
    labels_from: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="What this command wrote before, so that labels have the same numbers.",
            show_default="the rows' own labels, in order",
        ),
    ] = None,
    tokenizer: Tokenizer = None,
    max_length: Annotated[
        int | None, typer.Option(help="Tokens; the rest of a text is cut off.", min=1)
    ] = None,
    rows_per_file: Annotated[
        int, typer.Option(help="Many files let many hosts read at once.", min=1)
    ] = 10_000,
) -> None:
    """Tokenize rows and write them as TFRecord files, for TPUs and many workers.

    Written again after an interruption, only what is missing is written. Python reads the folder
    with tfhf.read_tfrecords; the names of the labels 0, 1, … are the label_names of dataset.json.
    """
    if (file is None) == (dataset is None):
        raise typer.BadParameter("pass either --file or --dataset")
    columns = named_values("--column", column or ())

    from tfhf.cli.training_data import load_rows
    from tfhf.cli.training_tasks import TRAINED, Classification, make_task
    from tfhf.data.tfrecord import read_schema, write_tfrecords

    task = plain_name(task)
    if task not in TRAINED:
        raise typer.BadParameter(f"--task {task} is none of {', '.join(TRAINED)}")
    if labels_from is not None and not issubclass(TRAINED[task][0], Classification):
        raise typer.BadParameter(f"--labels-from: {task} has no labels with names")
    made = make_task(task, model, tokenizer, max_length)
    rows = load_rows(file, columns, dataset=dataset, config=dataset_config, split=split)
    if labels_from is None:
        made.learn_labels(rows)
    elif isinstance(made, Classification):
        known = read_schema(labels_from)
        if "label_names" not in known:
            raise ValueError(f"{labels_from} has numbers as labels, without names")
        made.set_labels(known["label_names"])
    has_names = isinstance(made, Classification) and made.config.num_labels > 1
    schema = write_tfrecords(
        made.tokenize(rows),
        folder,
        tokenizer=made.tokenizer,
        rows_per_file=rows_per_file,
        label_names=list(made.config.id2label.values()) if has_names else None,
    )
    typer.echo(
        f"{schema['rows']:,} rows of {', '.join(schema['columns'])} in {len(schema['files']):,} "
        f"files in {folder}"
    )
