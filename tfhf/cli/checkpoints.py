"""Loading checkpoints that must be trained for what they are asked."""

from __future__ import annotations

from typing import Any


def load_trained(auto_class: Any, name: str, task: str, **arguments: Any) -> Any:
    """Load a model whose head is in the checkpoint, too.

    Args:
        auto_class: the auto class of the task.
        name: a folder or a Hub id.
        task: the task, for the message.
        **arguments: those of ``from_pretrained``.

    Raises:
        ValueError: the head would begin with random weights.
    """
    model, info = auto_class.from_pretrained(name, output_loading_info=True, **arguments)
    body = f"{model.base_model_prefix}."
    new = [key for key in info["missing_keys"] if not key.startswith(body)]
    if new and model is not model.base_model:
        raise ValueError(f"{name} was not trained for {task}: it lacks {', '.join(new)}")
    return model
