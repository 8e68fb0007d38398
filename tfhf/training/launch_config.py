"""How to launch training on this host: a few answers, kept in a YAML file."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub.constants import HF_HOME

from tfhf.checkpoints.atomic import write_file

#: Where ``tfhf config`` writes and ``tfhf launch`` reads.
CONFIG_FILE = Path(HF_HOME, "tfhf", "launch.yaml")

CHOICES: dict[str, tuple[str | None, ...]] = {
    "strategy": ("auto", "one_device", "mirrored", "multi_worker", "tpu"),
    "mixed_precision": (None, "mixed_bfloat16", "mixed_float16"),
}


@dataclass(frozen=True)
class LaunchConfig:
    """The arguments of :func:`tfhf.training.launch.launch` that belong to a host.

    Attributes:
        strategy: what ``make_strategy()`` makes.
        num_workers: processes on this host.
        hosts: ``"name:port"`` of each host where several take part.
        host_index: which of ``hosts`` this is.
        max_restarts: how often all workers are started again after one has died.
        mixed_precision: the dtype policy of the models; None: float32.

    Raises:
        ValueError: a value of another type, or not among the choices.

    Example:
        >>> LaunchConfig(num_workers=2).max_restarts
        3
    """

    strategy: str = "auto"
    num_workers: int = 1
    hosts: tuple[str, ...] = ()
    host_index: int = 0
    max_restarts: int = 3
    mixed_precision: str | None = None

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name} must be one of {', '.join(map(str, choices))}, "
                    f"but it is {getattr(self, name)!r}"
                )
        for name, least in (("num_workers", 1), ("host_index", 0), ("max_restarts", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be a number from {least}, but it is {value!r}")
        if isinstance(self.hosts, str) or not all(isinstance(host, str) for host in self.hosts):
            raise ValueError(f"hosts must be a list of name:port, but it is {self.hosts!r}")
        object.__setattr__(self, "hosts", tuple(self.hosts))


def ask_config(ask: Callable[[str], str] = input) -> LaunchConfig:
    """Ask which devices train and how; no answer takes what stands in brackets.

    Args:
        ask: prints a question and returns the answer.

    Example:
        >>> answers = iter(["multi_worker", "2", "", "", "mixed_bfloat16"])
        >>> ask_config(lambda question: next(answers))
        LaunchConfig(strategy='multi_worker', num_workers=2, hosts=(), host_index=0, max_restarts=3, mixed_precision='mixed_bfloat16')
    """  # noqa: E501
    answers: dict[str, Any] = {}

    def put(name: str, question: str, read: Callable[[str], Any] = str) -> Any:
        default = getattr(LaunchConfig, name)
        while True:
            answer = ask(f"{question} [{default or 'none'}]: ").strip()
            if not answer or answer == "none":
                return default
            try:
                value = read(answer)
                LaunchConfig(**{name: value})
            except ValueError as error:
                print(error)
            else:
                answers[name] = value
                return value

    if put("strategy", f"Strategy: {', '.join(map(str, CHOICES['strategy']))}") == "multi_worker":
        put("num_workers", "Processes on each host", int)
        if put("hosts", "Hosts, as name:port with spaces between, if there are others", str.split):
            put("host_index", "Which of them is this, counted from 0", int)
        put("max_restarts", "How often to start again after a failure", int)
    put("mixed_precision", "Mixed precision: none, mixed_bfloat16 (newer GPUs), mixed_float16")
    return LaunchConfig(**answers)


def write_config(config: LaunchConfig, path: str | os.PathLike[str] = CONFIG_FILE) -> None:
    """Write a configuration as YAML.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "launch.yaml")
        >>> write_config(LaunchConfig(num_workers=2), path)
        >>> read_config(path).num_workers
        2
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = dataclasses.asdict(config) | {"hosts": list(config.hosts)}
    write_file(path, yaml.safe_dump(content, sort_keys=False))


def read_config(path: str | os.PathLike[str] = CONFIG_FILE) -> LaunchConfig:
    """Read a configuration; without the file, the default one.

    Raises:
        ValueError: the file holds anything else.
    """
    path = Path(path)
    if not path.is_file():
        return LaunchConfig()
    try:
        return LaunchConfig(**yaml.safe_load(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path} is no launch configuration: {error}") from error
