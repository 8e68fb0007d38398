"""What the ways to a model server have in common: REST and gRPC."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import tensorflow as tf


class ServingError(Exception):
    """A model server refused a request, failed at it, or did not answer.

    Attributes:
        code: gRPC's name for what went wrong, over REST too: ``"INVALID_ARGUMENT"``,
            ``"NOT_FOUND"``, ``"UNAVAILABLE"``, ``"DEADLINE_EXCEEDED"``, …
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class ServedModel:
    """Which model of a server is meant: the version, or what has the label, or the newest."""

    name: str
    version: int | None = None
    label: str | None = None

    def __str__(self) -> str:
        if self.version is not None:
            return f"version {self.version} of {self.name}"
        return f"{self.name} labelled {self.label}" if self.label is not None else self.name


class ServedSignature(NamedTuple):
    """The tensors that a signature takes and gives, by name."""

    inputs: dict[str, tf.TensorSpec]
    outputs: dict[str, tf.TensorSpec]


class VersionStatus(NamedTuple):
    """What a server says of one version: ``"AVAILABLE"``, ``"LOADING"``, ``"END"``, …"""

    version: int
    state: str
    error: str


class Connection(Protocol):
    """A way to a server; all of it may be used by several threads, and raises `ServingError`."""

    def predict(
        self,
        model: ServedModel,
        signature_name: str,
        signature: ServedSignature,
        inputs: Mapping[str, np.ndarray],
        timeout: float,
    ) -> dict[str, np.ndarray]:
        """Ask a signature; strings come back as bytes or as str."""

    def signatures(self, model: ServedModel, timeout: float) -> dict[str, ServedSignature]:
        """Ask which signatures there are."""

    def status(self, model: ServedModel, timeout: float) -> list[VersionStatus]:
        """Ask which versions there are."""

    def close(self) -> None:
        """Let the server go."""


def no_answer(address: str) -> ServingError:
    """Say that nobody answers."""
    return ServingError("UNAVAILABLE", f"{address} does not answer: is the server running there?")


def too_late(model: ServedModel, timeout: float) -> ServingError:
    """Say that the answer did not come in time."""
    return ServingError("DEADLINE_EXCEEDED", f"{model} gave no answer within {timeout:.3g} s")


def refused(model: ServedModel, code: str, words: str) -> ServingError:
    """Say what the server says."""
    return ServingError(code, f"the server answers about {model}: {words.strip()} ({code})")


def unreadable(model: ServedModel, why: str) -> ServingError:
    """Say that an answer is not what it should be: that of another server, or another version."""
    return ServingError("INTERNAL", f"the server's answer about {model} cannot be read: {why}")
