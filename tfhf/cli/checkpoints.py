"""Loading checkpoints that must be trained for what they are asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def loading(name: str) -> Iterator[None]:
    """Name the checkpoint where one cannot be read, which Transformers does not always do."""
    try:
        yield
    except OSError as error:
        raise OSError(f"{name} cannot be loaded: {error}") from error


def load_trained(auto_class: Any, name: str, task: str, **arguments: Any) -> Any:
    """Load a model whose head is in the checkpoint, too.

    Args:
        auto_class: the auto class of the task.
        name: a folder or a Hub id.
        task: the task, for the message.
        **arguments: those of ``from_pretrained``.

    Raises:
        OSError: the checkpoint is not there.
        ValueError: the head would begin with random weights.
    """
    with loading(name):
        model, info = auto_class.from_pretrained(name, output_loading_info=True, **arguments)
    body = f"{model.base_model_prefix}."
    new = [key for key in info["missing_keys"] if not key.startswith(body)]
    if new and model is not model.base_model:
        raise ValueError(f"{name} was not trained for {task}: it lacks {', '.join(new)}")
    return model
