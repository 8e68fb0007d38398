"""``tfhf train``, ``eval`` and ``predict``: the Trainer over files, or a dataset of the Hub.

All fields of ``TrainingArguments`` are options. What they are is known when TensorFlow is imported:
so argparse reads them, when a command runs.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tfhf.checkpoints.atomic import replace_file
from tfhf.cli.checkpoints import load_trained
from tfhf.cli.options import examples, named_values
from tfhf.cli.push import uploading
from tfhf.cli.rows import STANDARD, SUFFIXES, RowWriter
from tfhf.cli.tasks import plain_name

if TYPE_CHECKING:
    from datasets import Dataset

    from tfhf import Seq2SeqTrainingArguments, Trainer
    from tfhf.cli.training_base import TrainingTask

app = typer.Typer()

#: Everything behind the command's name is left to argparse.
RAW: dict[str, Any] = {
    "add_help_option": False,
    "context_settings": {"ignore_unknown_options": True, "allow_extra_args": True},
}
TRAIN_EXAMPLES = examples(
    "tfhf train --task text-classification --model distilbert-base-uncased "
    "--train-file train.csv --validation-file dev.csv --output-dir runs/films",
    "tfhf train --task text-classification --model bert-base-uncased --dataset glue "
    "--dataset-config mrpc --column text=sentence1 --column text_pair=sentence2 "
    "--output-dir runs/mrpc",
    "tfhf train --task token-classification --model bert-base-cased --train-file ner.jsonl "
    "--output-dir runs/ner --num-train-epochs 5 --bf16",
    "tfhf train --task question-answering --model distilbert-base-cased --dataset squad "
    "--column answer=answers.text --column answer_start=answers.answer_start --output-dir runs/qa",
    "tfhf launch --num-workers 2 -m tfhf.cli train --config training.yaml --task fill-mask "
    "--model bert-base-uncased --train-file texts.csv",
)
EVAL_EXAMPLES = examples(
    "tfhf eval --task text-classification --model runs/films --file test.csv",
    "tfhf eval --task summarization --model t5-small --dataset cnn_dailymail "
    "--dataset-config 3.0.0 --column text=article --column target=highlights",
)
PREDICT_EXAMPLES = examples(
    "tfhf predict --task text-classification --model runs/films --file new.csv --output labels.csv",
)


@app.command(**RAW)
def train(context: typer.Context) -> None:
    """Fine-tune a checkpoint on texts; the options are those of tfhf.TrainingArguments."""
    options, arguments = _parse(context, train.__doc__, TRAIN_EXAMPLES)
    task = _task(options)
    rows = _rows(options, options.train_file, "train")
    task.learn_labels(rows)
    data = {"train_dataset": task.tokenize(rows)}
    if options.validation_file or (options.dataset and arguments.eval_strategy != "no"):
        data["eval_dataset"] = task.tokenize(_rows(options, options.validation_file, "validation"))
    # One upload at the end has the whole card, with the metrics of the finished model.
    trainer = _trainer(options, dataclasses.replace(arguments, push_to_hub=False), task, **data)
    results = {"train": trainer.train().metrics}
    trainer.save_model()
    if "eval_dataset" in data:
        results["eval"] = _measure(trainer)
    if trainer.is_chief:
        for split, metrics in results.items():
            trainer.log_metrics(split, metrics)
            trainer.save_metrics(split, metrics)
        trainer.save_state()
        _write_card(options, trainer, results.get("eval", {}), arguments.push_to_hub)


@app.command("eval", **RAW)
def evaluate(context: typer.Context) -> None:
    """Measure a fine-tuned checkpoint on texts with labels; print the metrics as JSON."""
    options, arguments = _parse(context, evaluate.__doc__, EVAL_EXAMPLES)
    task = _task(options)
    tokens = task.tokenize(_rows(options, options.file, options.split))
    typer.echo(json.dumps(_measure(_asked(options, arguments, task), tokens), indent=2))


@app.command(**RAW)
def predict(context: typer.Context) -> None:
    """Write what a fine-tuned checkpoint makes of texts, as JSON lines or CSV."""
    options, arguments = _parse(context, predict.__doc__, PREDICT_EXAMPLES)
    task = _task(options)
    rows = _rows(options, options.file, options.split)
    tokens = task.tokenize(rows, with_target=False)
    found = _asked(options, arguments, task).predict(tokens).predictions
    path = options.output
    with nullcontext(sys.stdout) if path == STANDARD else replace_file(path, "utf-8") as file:
        writer = RowWriter(file, path, rows.column_names)
        for row, answer in zip(rows, task.answers(_said(found, task), tokens)):
            writer.write(row, answer)


def _parse(
    context: typer.Context, description: str | None, epilog: str
) -> tuple[argparse.Namespace, Seq2SeqTrainingArguments]:
    """Read the options of a command, and those of the training."""
    from tfhf import Seq2SeqTrainingArguments
    from tfhf.cli.training_tasks import TRAINED

    command = context.info_name
    parser = argparse.ArgumentParser(
        prog=f"tfhf {command}",
        usage="%(prog)s --task TASK --model MODEL [OPTIONS]",
        description=description,
        epilog=epilog.replace("\n\n", "\n  "),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--task", type=plain_name, choices=TRAINED, required=True, help="what the model does")
    add("--model", required=True, help="checkpoint: a folder or a Hub id")
    add("--revision", help="its branch, tag or commit")
    add("--tokenizer", help="a folder or a Hub id; default: that of the checkpoint")
    add("--dataset", help="dataset of the Hub, in place of files")
    add("--dataset-config", help="its configuration")
    if command == "train":
        files = ["train_file", "validation_file"]
    else:
        files = ["file"]
        add("--split", default="test", help="which of the dataset (default: %(default)s)")
    for name in files:
        add(f"--{name.replace('_', '-')}", type=Path, metavar="FILE", help=".csv, .json or .jsonl")
    if command == "predict":
        add("--output", "-o", type=Path, metavar="FILE", default=STANDARD,
            help=".jsonl or .csv; default: standard output, JSON lines")  # fmt: skip
    add("--column", metavar="NAME=COLUMN", action="append", default=[],
        help="where the rows have what the task calls NAME: text, text_pair, label; tokens, tags; "
        "target; question, context, answer, answer_start; choice0, choice1, …; "
        "may be repeated")  # fmt: skip
    add(
        "--max-length",
        type=int,
        help="tokens; the rest of a text is cut off (default: at most 512)",
    )
    add("--config", metavar="FILE", help="JSON or YAML file of the options below")
    Seq2SeqTrainingArguments.add_arguments(parser)

    given = vars(parser.parse_args(context.args))
    names = {field.name for field in dataclasses.fields(Seq2SeqTrainingArguments)}
    training = {name: given.pop(name) for name in names & given.keys()}
    options = argparse.Namespace(**given)
    if (given[files[0]] is None) == (options.dataset is None):
        parser.error(f"pass either --{files[0].replace('_', '-')} or --dataset")
    for name in files:
        if given[name] is not None and not given[name].is_file():
            parser.error(f"there is no file {given[name]}")
    if options.max_length is not None and options.max_length < 1:
        parser.error(f"--max-length must be at least 1, but is {options.max_length}")
    if command == "predict":
        if options.output != STANDARD and options.output.suffix not in SUFFIXES:
            parser.error(f"--output must end in {' or '.join(SUFFIXES)}")
        if not options.output.absolute().parent.is_dir():
            parser.error(f"there is no folder {options.output.parent}")
        if not TRAINED[options.task][0].can_answer:
            parser.error(f"{options.task} has no predictions: use `tfhf pipeline {options.task}`")
    try:
        if options.config:
            return options, Seq2SeqTrainingArguments.from_file(options.config, **training)
        return options, Seq2SeqTrainingArguments(**training)
    except (OSError, TypeError, ValueError) as error:
        parser.error(str(error))


def _task(options: argparse.Namespace) -> TrainingTask:
    from tfhf.cli.training_tasks import make_task

    return make_task(
        options.task, options.model, options.tokenizer, options.max_length, options.revision
    )


def _rows(options: argparse.Namespace, file: Path | None, split: str) -> Dataset:
    from tfhf.cli.training_data import load_rows

    return load_rows(
        file,
        named_values("--column", options.column),
        dataset=options.dataset,
        config=options.dataset_config,
        split=split,
    )


def _trainer(
    options: argparse.Namespace,
    arguments: Seq2SeqTrainingArguments,
    task: TrainingTask,
    *,
    trained: bool = False,
    **data: Any,
) -> Trainer:
    """Make the Trainer, whose model is made where its strategy wants it."""
    import tfhf
    from tfhf.cli.training_tasks import TRAINED, TextToText

    _, auto_class = TRAINED[options.task]
    loading: dict[str, Any] = {"config": task.config}
    if options.revision is not None:
        loading["revision"] = options.revision

    def model_init() -> Any:
        if trained:
            return load_trained(auto_class, options.model, options.task, **loading)
        # A head for other labels begins anew.
        return auto_class.from_pretrained(options.model, ignore_mismatched_sizes=True, **loading)

    generates = isinstance(task, TextToText)
    trainer_class = tfhf.Seq2SeqTrainer if generates else tfhf.Trainer
    measures = task.can_measure and (arguments.predict_with_generate or not generates)
    trainer = trainer_class(
        model_init=model_init,
        args=arguments,
        processing_class=task.tokenizer,
        compute_metrics=(lambda found: task.metrics(_said(found[0], task), found[1]))
        if measures
        else None,
        **data,
    )
    trainer.data_collator = task.collator(trainer.model)
    return trainer


def _asked(
    options: argparse.Namespace, arguments: Seq2SeqTrainingArguments, task: TrainingTask
) -> Trainer:
    """Make a Trainer that trains nothing and writes no logs."""
    changed = dataclasses.replace(arguments, predict_with_generate=True, report_to=["none"])
    return _trainer(options, changed, task, trained=True)


def _said(predictions: Any, task: TrainingTask) -> Any:
    """Return what a head says, without states that some models return as well."""
    if not isinstance(predictions, tuple):
        return predictions
    return predictions[0] if task.outputs == 1 else predictions[: task.outputs]


def _measure(trainer: Trainer, tokens: Dataset | None = None) -> dict[str, float]:
    metrics = trainer.evaluate(tokens)
    if trainer.compute_metrics is None:
        metrics["eval_perplexity"] = math.exp(min(metrics["eval_loss"], 700.0))
    return metrics


def _write_card(
    options: argparse.Namespace, trainer: Trainer, metrics: dict[str, float], push: bool
) -> None:
    """Write the model card, and upload everything if that is asked for."""
    said = {
        "task": options.task,
        "dataset": options.dataset,
        "dataset_args": options.dataset_config,
        "evaluation": metrics,
    }
    if not push:
        trainer.create_model_card(**said)
        return
    folder = Path(trainer.args.output_dir)
    with uploading(folder, trainer.args.hub_model_id or folder.resolve().name):
        typer.echo(trainer.push_to_hub(**said))
