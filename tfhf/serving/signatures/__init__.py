"""Signatures of SavedModels: for each task what goes in, what comes out, and the graph between."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from transformers import PreTrainedTokenizerBase

from tfhf.auto import (
    TFAutoModel,
    TFAutoModelForCausalLM,
    TFAutoModelForMaskedLM,
    TFAutoModelForMultipleChoice,
    TFAutoModelForQuestionAnswering,
    TFAutoModelForSeq2SeqLM,
    TFAutoModelForSequenceClassification,
    TFAutoModelForTextEncoding,
    TFAutoModelForTokenClassification,
)
from tfhf.modeling import TFPreTrainedModel
from tfhf.serving.signatures.feature_extraction import feature_extraction
from tfhf.serving.signatures.fill_mask import fill_mask
from tfhf.serving.signatures.generation import UNSEEDED, generate
from tfhf.serving.signatures.multiple_choice import multiple_choice
from tfhf.serving.signatures.question_answering import question_answering
from tfhf.serving.signatures.sentence_embeddings import sentence_embeddings
from tfhf.serving.signatures.signature import Signature
from tfhf.serving.signatures.text2text import summarization, text2text_generation, translation
from tfhf.serving.signatures.text_classification import text_classification
from tfhf.serving.signatures.text_generation import generate_text, text_generation
from tfhf.serving.signatures.token_classification import token_classification
from tfhf.serving.signatures.tokens import tokens
from tfhf.serving.signatures.zero_shot_classification import zero_shot_classification

__all__ = [
    "ALIASES",
    "TASKS",
    "UNSEEDED",
    "Signature",
    "Task",
    "build",
    "default_task",
    "feature_extraction",
    "fill_mask",
    "generate",
    "generate_text",
    "multiple_choice",
    "question_answering",
    "sentence_embeddings",
    "summarization",
    "text2text_generation",
    "text_classification",
    "text_generation",
    "token_classification",
    "tokens",
    "translation",
    "zero_shot_classification",
]


@dataclass(frozen=True)
class Task:
    """What a task's name stands for in an export.

    Attributes:
        builder: makes the signature of a model, a tokenizer and the task's settings, which are its
            keyword arguments.
        auto_classes: the auto classes whose models have the head.
    """

    builder: Callable[..., Signature]
    auto_classes: tuple[Any, ...]

    def fits(self, model: TFPreTrainedModel) -> bool:
        """Whether a model has the head of the task, and texts are all that it reads."""
        if "decoder_input_ids" in model.input_signature and not model.can_generate:
            return False
        for auto_class in self.auto_classes:
            with suppress(ValueError):  # it has no class for such a configuration
                if isinstance(model, auto_class.model_class(model.config)):
                    return True
        return False


#: The first of several tasks with the same head is the one that a model is exported for by default.
TASKS: dict[str, Task] = {
    "feature-extraction": Task(feature_extraction, (TFAutoModel, TFAutoModelForTextEncoding)),
    "sentence-embeddings": Task(sentence_embeddings, (TFAutoModel, TFAutoModelForTextEncoding)),
    "text-generation": Task(text_generation, (TFAutoModelForCausalLM,)),
    "text2text-generation": Task(text2text_generation, (TFAutoModelForSeq2SeqLM,)),
    "summarization": Task(summarization, (TFAutoModelForSeq2SeqLM,)),
    "translation": Task(translation, (TFAutoModelForSeq2SeqLM,)),
    "fill-mask": Task(fill_mask, (TFAutoModelForMaskedLM,)),
    "multiple-choice": Task(multiple_choice, (TFAutoModelForMultipleChoice,)),
    "question-answering": Task(question_answering, (TFAutoModelForQuestionAnswering,)),
    "text-classification": Task(text_classification, (TFAutoModelForSequenceClassification,)),
    "zero-shot-classification": Task(
        zero_shot_classification, (TFAutoModelForSequenceClassification,)
    ),
    "token-classification": Task(token_classification, (TFAutoModelForTokenClassification,)),
}
ALIASES = {"ner": "token-classification", "sentiment-analysis": "text-classification"}


def default_task(model: TFPreTrainedModel) -> str | None:
    """Return the task that a model's head is for; ``None``: there is no signature for it.

    Example:
        >>> import tfhf, transformers
        >>> config = transformers.BertConfig(num_hidden_layers=1)
        >>> default_task(tfhf.TFBertForSequenceClassification(config))
        'text-classification'
    """
    return next((name for name, task in TASKS.items() if task.fits(model)), None)


def build(
    task: str,
    model: TFPreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    settings: Mapping[str, Any],
) -> Signature:
    """Make the signature of a task.

    Args:
        task: one of `TASKS` or `ALIASES`, or ``"translation_xx_to_yy"``.
        model: a model with the head of the task.
        tokenizer: its tokenizer.
        settings: keyword arguments of the task's builder.

    Raises:
        KeyError: there is no such task.
        TypeError: the model has another head, or the task has no such setting.
    """
    name = ALIASES.get(task, task)
    if name.startswith("translation_"):
        name, settings = "translation", {"task": task, **settings}
    if name not in TASKS:
        raise KeyError(f"task: {task!r} is none of {', '.join(sorted([*TASKS, *ALIASES]))}")
    found = TASKS[name]
    if not found.fits(model):
        makers = " or ".join(auto_class.__name__ for auto_class in found.auto_classes)
        raise TypeError(
            f"task: {task} needs a model with its head, such as {makers} makes, but the model is a "
            f"{type(model).__name__}"
        )
    _, _, *parameters = inspect.signature(found.builder).parameters.values()
    known = [parameter.name for parameter in parameters]
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    if not takes_any and (unknown := sorted(set(settings) - set(known))):
        raise TypeError(
            f"an export for {task} has no setting {', '.join(unknown)}; it has "
            f"{', '.join(known) or 'none'}. tfhf.pipeline, in Python, has more of them"
        )
    signature = found.builder(model, tokenizer, **settings)
    return replace(signature, facts={"task": name} | signature.facts)
