"""The settings that a checkpoint has for one task."""

from __future__ import annotations

import copy
from typing import Any

from transformers import GenerationConfig


def task_settings(
    model: Any, tokenizer: Any, task: str, *, max_length: int | None = None
) -> tuple[GenerationConfig, str | None]:
    """Return the settings of a model for a task, and the text before every input, if there is one.

    ``config.task_specific_params`` count before the model's ``generation_config``; padding is
    the tokenizer's where neither has any.

    Args:
        model: a model that generates.
        tokenizer: its tokenizer.
        task: the name of the task.
        max_length: that of sequences where nobody says how long they may be.

    Example:
        >>> import tfhf
        >>> from transformers import T5Config, T5Tokenizer
        >>> specific = {"summarization": {"prefix": "summarize: ", "num_beams": 4}}
        >>> config = T5Config(d_model=4, num_layers=1, num_heads=1, task_specific_params=specific)
        >>> model = tfhf.TFT5ForConditionalGeneration(config)
        >>> settings, prefix = task_settings(model, T5Tokenizer(), "summarization")
        >>> settings.num_beams, prefix
        (4, 'summarize: ')
    """
    config = model.config
    specific = dict((getattr(config, "task_specific_params", None) or {}).get(task) or {})
    prefix = specific.pop("prefix", getattr(config, "prefix", None))
    settings = copy.deepcopy(getattr(model, "generation_config", None)) or GenerationConfig()
    settings.update(**specific)
    if settings.max_length is None and settings.max_new_tokens is None:
        settings.max_length = max_length
    if settings.pad_token_id is None:
        settings.pad_token_id = tokenizer.pad_token_id
    return settings, prefix


def translation_task(config: Any) -> str:
    """Return the first pair of languages that a configuration has settings for, as a task's name.

    Example:
        >>> from transformers import T5Config
        >>> translation_task(T5Config(task_specific_params={"translation_en_to_de": {}}))
        'translation_en_to_de'
        >>> translation_task(T5Config())
        'translation'
    """
    names = getattr(config, "task_specific_params", None) or ()
    return next((name for name in names if name.startswith("translation_")), "translation")
