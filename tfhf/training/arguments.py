"""TrainingArguments: everything that a training can be told, in Python and on the command line."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import enum
import json
import math
import os
import platform
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import yaml

from tfhf.checkpoints.atomic import write_file


def _option(default: Any, help: str, **limits: float) -> Any:
    """Describe a field: its default, what it means, and ``least``, ``above``, ``below``, ``most``.

    Limits hold where the value is a number.
    """
    return dataclasses.field(default=default, metadata={"help": help, **limits})


@dataclasses.dataclass
class TrainingArguments:
    """What :class:`~tfhf.Trainer` is told: names and defaults are those of Transformers.

    The fields below say what each means; ``--help`` of a script that uses
    :meth:`from_command_line` shows the same.

    Raises:
        TypeError: an unknown argument, or a value of another type.
        ValueError: a value out of its range, or two that do not fit together.

    Example:
        >>> args = TrainingArguments("runs/mrpc", num_train_epochs=2, eval_strategy="epoch")
        >>> args.learning_rate, args.per_device_train_batch_size, args.lr_scheduler_type
        (5e-05, 8, 'linear')
        >>> TrainingArguments.from_command_line(["--learning_rate", "3e-5", "--bf16"]).bf16
        True
    """

    # Where results go
    output_dir: str = _option("trainer_output", "folder of checkpoints and results")
    overwrite_output_dir: bool = _option(
        False, "remove the checkpoints of earlier trainings when a new one begins"
    )
    run_name: str | None = _option(None, "name of the run in TensorBoard; default: date and host")

    # How long, and in which batches
    num_train_epochs: float = _option(3.0, "how often every row is seen", above=0)
    max_steps: int = _option(-1, "updates in all, instead of num_train_epochs", least=-1)
    per_device_train_batch_size: int = _option(8, "rows per device and batch", least=1)
    per_device_eval_batch_size: int = _option(8, "rows per device, for evaluation", least=1)
    gradient_accumulation_steps: int = _option(1, "batches per update of the weights", least=1)
    group_by_length: bool = _option(False, "put rows of similar length into a batch")
    dataloader_drop_last: bool = _option(False, "leave out the rows that fill no batch")
    remove_unused_columns: bool = _option(
        True, "drop what the model does not take; else the data collator gets all columns"
    )
    seed: int = _option(42, "of the random numbers: dropout, new weights", least=0)
    data_seed: int | None = _option(None, "of the order of the rows; default: seed", least=0)

    # The optimizer and its schedule
    optim: Literal["adamw", "adamw_torch", "adamw_torch_fused", "adafactor", "lion", "sgd"] = (
        _option("adamw", 'optimizer; "adamw_torch" is another name of "adamw"')
    )
    learning_rate: float = _option(5e-5, "the highest learning rate", above=0)
    weight_decay: float = _option(0.0, "decay of weights, but of biases and norms", least=0)
    adam_beta1: float = _option(0.9, "decay of the mean of gradients", least=0, below=1)
    adam_beta2: float = _option(0.999, "decay of the mean of squares", least=0, below=1)
    adam_epsilon: float = _option(1e-8, "added to AdamW's denominator", least=0)
    max_grad_norm: float = _option(1.0, "gradients are clipped to this norm; 0: not", least=0)
    lr_scheduler_type: Literal[
        "linear",
        "cosine",
        "cosine_with_restarts",
        "polynomial",
        "constant",
        "constant_with_warmup",
        "inverse_sqrt",
    ] = _option("linear", "how the learning rate falls; see get_scheduler")
    lr_scheduler_kwargs: dict[str, Any] | None = dataclasses.field(
        default=None, metadata={"help": "its options, as JSON"}
    )
    warmup_ratio: float = _option(0.0, "share of the updates that warm up", least=0, most=1)
    warmup_steps: int = _option(0, "updates that warm up, instead of warmup_ratio", least=0)
    layerwise_lr_decay: float | None = _option(
        None, "the learning rate of each layer, as a share of that of the next", above=0, most=1
    )
    use_ema: bool = _option(False, "average the weights, and end with the average")
    ema_momentum: float = _option(0.99, "of the average, per batch", least=0, below=1)
    label_smoothing_factor: float = _option(0.0, "share of a label spread", least=0, below=1)

    # The devices
    strategy: Literal["auto", "one_device", "mirrored", "multi_worker", "tpu"] = _option(
        "auto", "which devices train; auto: as the model was made"
    )
    bf16: bool = _option(False, "compute in bfloat16, with weights in float32")
    fp16: bool = _option(False, "compute in float16, with weights in float32 and a scaled loss")
    jit_compile: bool = _option(False, "compile steps with XLA")
    steps_per_execution: int = _option(1, "batches per call of TensorFlow", least=1)

    # Evaluation, checkpoints, logs
    eval_strategy: Literal["no", "steps", "epoch"] = _option("no", "when to evaluate")
    eval_steps: int | None = _option(
        None, "updates between evaluations; default: logging_steps", least=1
    )
    save_strategy: Literal["no", "steps", "epoch", "best"] = _option(
        "steps", "when to save a checkpoint"
    )
    save_steps: int = _option(500, "updates between checkpoints", least=1)
    save_total_limit: int | None = _option(None, "how many checkpoints to keep", least=1)
    save_only_model: bool = _option(False, "save no more than what from_pretrained reads")
    resume_from_checkpoint: str | None = _option(
        None, 'checkpoint to go on from; "last": the newest in output_dir, if there is one'
    )
    load_best_model_at_end: bool = _option(False, "end with the weights of the best checkpoint")
    metric_for_best_model: str | None = _option(None, 'default: "loss", where one is needed')
    greater_is_better: bool | None = _option(
        None, "whether that metric should be high; default: unless its name ends with loss"
    )
    logging_strategy: Literal["no", "steps", "epoch"] = _option("steps", "when to log")
    logging_steps: int = _option(500, "updates between logs", least=1)
    logging_first_step: bool = _option(False, "log the first update as well")
    logging_dir: str | None = _option(None, "of TensorBoard; default: output_dir/runs/run_name")
    report_to: list[str] = dataclasses.field(
        default_factory=lambda: ["tensorboard"],
        metadata={"help": 'where logs go: "tensorboard", "none" or "all"'},
    )
    disable_tqdm: bool = _option(False, "show no progress line")

    # The Hub
    push_to_hub: bool = _option(
        False, "upload the model when training is done, and Trainer's at each save"
    )
    hub_model_id: str | None = _option(None, "name on the Hub; default: output_dir's name")
    hub_token: str | None = _option(None, "default: that of `hf auth login`")
    hub_private_repo: bool | None = _option(None, "whether a new repository is private")

    def __post_init__(self) -> None:
        if isinstance(self.report_to, str):
            self.report_to = [self.report_to]
        for name, kind in _kinds(type(self)).items():
            setattr(self, name, _checked(name, getattr(self, name), kind))
        for field in dataclasses.fields(self):
            _check_limits(field.name, getattr(self, field.name), field.metadata)
        if self.max_steps == 0:
            raise ValueError("max_steps must be at least 1, or -1 for num_train_epochs, not 0")
        if self.bf16 and self.fp16:
            raise ValueError("bf16 and fp16 exclude each other, but both are True")
        unknown = {*self.report_to} - {"all", "none", "tensorboard"}
        if unknown:
            raise ValueError(f"report_to knows tensorboard, none and all, not {sorted(unknown)}")
        if self.eval_steps is None:
            self.eval_steps = self.logging_steps
        needs_metric = self.load_best_model_at_end or self.save_strategy == "best"
        if needs_metric:
            self.metric_for_best_model = self.metric_for_best_model or "loss"
            if self.eval_strategy == "no":
                raise ValueError(
                    "eval_strategy is 'no', but load_best_model_at_end and save_strategy='best' "
                    "compare evaluations: choose 'epoch' or 'steps'"
                )
        if self.load_best_model_at_end:
            self._check_best_is_saved()

    def _check_best_is_saved(self) -> None:
        saving, evaluating = self.save_strategy, self.eval_strategy
        if saving not in ("best", evaluating):
            raise ValueError(
                "load_best_model_at_end needs a checkpoint of each evaluation: save_strategy must "
                f"be {evaluating!r} as eval_strategy, or 'best', but it is {saving!r}"
            )
        if saving == "steps" and self.save_steps % (self.eval_steps or 1):
            raise ValueError(
                "load_best_model_at_end needs save_steps to be a multiple of eval_steps = "
                f"{self.eval_steps}, but it is {self.save_steps}"
            )

    def get_warmup_steps(self, num_training_steps: int) -> int:
        """Return how many of the updates warm up."""
        return self.warmup_steps or math.ceil(num_training_steps * self.warmup_ratio)

    @property
    def reports(self) -> bool:
        """Whether logs go to TensorBoard."""
        return "none" not in self.report_to

    @property
    def logging_folder(self) -> Path:
        """Where TensorBoard finds the logs."""
        if self.logging_dir is not None:
            return Path(self.logging_dir)
        name = self.run_name or f"{datetime.datetime.now():%b%d_%H-%M-%S}_{platform.node()}"
        return Path(self.output_dir, "runs", name)

    # Files and the command line -----------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Return all values by name, without the token."""
        return dataclasses.asdict(self) | {"hub_token": None}

    def to_json_string(self) -> str:
        """Return :meth:`to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=2)

    def to_file(self, path: str | os.PathLike[str]) -> None:
        """Write ``.json``, or ``.yaml`` or ``.yml``, without the token; the file changes at once.

        Raises:
            ValueError: another ending.
        """
        as_yaml = _is_yaml(path)
        text = yaml.safe_dump(self.to_dict(), sort_keys=False) if as_yaml else self.to_json_string()
        write_file(path, text.rstrip() + "\n")

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], **changes: Any) -> Self:
        """Read what :meth:`to_file` wrote, or a person; ``changes`` come first.

        Raises:
            OSError: there is no such file.
            TypeError: it names an unknown argument.
            ValueError: another ending, a file that is no list of names and values, a wrong value.
        """
        return cls(**(_read_values(cls, path) | changes))

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Give a parser one option for each field; those that are not given leave no value.

        ``--learning_rate`` and ``--learning-rate`` are the same; ``--bf16`` says True, and
        ``--bf16 False`` the other.
        """
        kinds = _kinds(cls)
        for field in dataclasses.fields(cls):
            spellings = dict.fromkeys([f"--{field.name}", f"--{field.name.replace('_', '-')}"])
            parser.add_argument(
                *spellings,
                help=f"{field.metadata['help']} (default: {_default(field)!r})".replace("%", "%%"),
                default=argparse.SUPPRESS,
                **_parsing(kinds[field.name]),
            )

    @classmethod
    def from_command_line(cls, arguments: Sequence[str] | None = None, **defaults: Any) -> Self:
        """Read the arguments of a command line, and of a file that ``--config`` names.

        Args:
            arguments: those of the command line; default: ``sys.argv[1:]``.
            **defaults: other defaults than the class has.

        Raises:
            SystemExit: there is an unknown option; with the message that argparse prints.
            TypeError, ValueError: a value is wrong.

        Example:
            >>> TrainingArguments.from_command_line(["--max-steps", "9"], output_dir="x").max_steps
            9
        """
        parser = argparse.ArgumentParser(description="Train a model.")
        parser.add_argument("--config", metavar="FILE", help="JSON or YAML file of options")
        cls.add_arguments(parser)
        given = vars(parser.parse_args(arguments))
        path = given.pop("config")
        return cls(**(defaults | (_read_values(cls, path) if path else {}) | given))


@dataclasses.dataclass
class Seq2SeqTrainingArguments(TrainingArguments):
    """:class:`TrainingArguments` for models that write: with how they write in evaluations.

    Example:
        >>> Seq2SeqTrainingArguments("runs/summaries", predict_with_generate=True).eval_strategy
        'no'
    """

    predict_with_generate: bool = _option(False, "evaluate what the model generates")
    generation_max_length: int | None = _option(None, "max_length of generate", least=1)
    generation_num_beams: int | None = _option(None, "num_beams of generate", least=1)


def _read_values(cls: type[TrainingArguments], path: str | os.PathLike[str]) -> dict[str, Any]:
    text = Path(path).read_text(encoding="utf-8")
    try:
        values = yaml.safe_load(text) if _is_yaml(path) else json.loads(text)
    except (yaml.YAMLError, json.JSONDecodeError) as error:
        raise ValueError(f"{os.fspath(path)} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{os.fspath(path)} must have names with values, but has {values!r}")
    unknown = values.keys() - {field.name for field in dataclasses.fields(cls)}
    if unknown:
        raise TypeError(f"{os.fspath(path)}: {cls.__name__} has no argument {sorted(unknown)[0]!r}")
    return values


def _is_yaml(path: str | os.PathLike[str]) -> bool:
    suffix = Path(path).suffix
    if suffix not in (".json", ".yaml", ".yml"):
        raise ValueError(f"path must end with .json, .yaml or .yml, but it is {os.fspath(path)!r}")
    return suffix != ".json"


# Types ------------------------------------------------------------------------------------------


def _kinds(cls: type[TrainingArguments]) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _default(field: dataclasses.Field) -> Any:
    made = field.default_factory
    return field.default if isinstance(made, dataclasses._MISSING_TYPE) else made()


def _alternatives(kind: Any) -> tuple[Any, ...]:
    """Return the types of a union, or the one type."""
    return typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)


def _checked(name: str, value: Any, kind: Any) -> Any:
    """Return a value as its field has it.

    Raises:
        TypeError: it is of another type.
        ValueError: it is a text that the field does not know.
    """
    value = value.value if isinstance(value, enum.Enum) else value
    value = os.fspath(value) if isinstance(value, os.PathLike) else value
    expected = [typing.get_origin(part) or part for part in _alternatives(kind)]
    if Literal in expected:
        if value not in typing.get_args(kind):
            known = ", ".join(map(repr, typing.get_args(kind)))
            raise ValueError(f"{name} must be one of {known}, but it is {value!r}")
        return value
    if float in expected and not isinstance(value, bool):
        if isinstance(value, int):
            return float(value)
        if isinstance(value, str):  # YAML takes 5e-5 for a text
            try:
                return float(value)
            except ValueError:
                pass
    if not isinstance(value, tuple(expected)) or (isinstance(value, bool) and bool not in expected):
        names = " or ".join(getattr(part, "__name__", str(part)) for part in expected)
        raise TypeError(f"{name} must be {names.replace('NoneType', 'None')}, not {value!r}")
    return value


def _check_limits(name: str, value: Any, limits: typing.Mapping[str, Any]) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return
    for limit, holds, words in (
        ("least", lambda least: value >= least, "at least"),
        ("above", lambda least: value > least, "above"),
        ("most", lambda most: value <= most, "at most"),
        ("below", lambda most: value < most, "below"),
    ):
        if limit in limits and not holds(limits[limit]):
            raise ValueError(f"{name} must be {words} {limits[limit]}, but it is {value}")


def _parsing(kind: Any) -> dict[str, Any]:
    """Return how argparse reads a field."""
    parts = _alternatives(kind)
    first = typing.get_origin(parts[0]) or parts[0]
    if first is bool:
        return {"type": _boolean, "nargs": "?", "const": True, "metavar": "BOOL"}
    if first is Literal:
        return {"choices": typing.get_args(kind)}
    if first is list:
        return {"nargs": "+", "metavar": "NAME"}
    if first is dict:
        return {"type": json.loads, "metavar": "JSON"}
    return {"type": first, "metavar": first.__name__.upper()}


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"expected True or False, not {text!r}")
    return text.lower() == "true"
