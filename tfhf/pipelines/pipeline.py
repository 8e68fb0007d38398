"""``tfhf.pipeline``: a task by its name, with a model and a tokenizer.

Tasks, arguments and default checkpoints are those of Transformers 4.57.
"""

from __future__ import annotations

import logging
import os
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
from transformers import AutoConfig, PretrainedConfig, PreTrainedTokenizerBase

from tfhf.checkpoints.pretrained import HUB_ARGUMENTS
from tfhf.generation.task_settings import translation_task
from tfhf.modeling import TFPreTrainedModel
from tfhf.pipelines.base import Pipeline, device_name
from tfhf.pipelines.feature_extraction import FeatureExtractionPipeline
from tfhf.pipelines.fill_mask import FillMaskPipeline
from tfhf.pipelines.question_answering import QuestionAnsweringPipeline
from tfhf.pipelines.saved_model import is_saved_model, saved_model_pipeline
from tfhf.pipelines.summarization import SummarizationPipeline
from tfhf.pipelines.text2text import Text2TextGenerationPipeline
from tfhf.pipelines.text_classification import TextClassificationPipeline
from tfhf.pipelines.text_generation import TextGenerationPipeline
from tfhf.pipelines.token_classification import TokenClassificationPipeline
from tfhf.pipelines.translation import TranslationPipeline
from tfhf.pipelines.zero_shot_classification import ZeroShotClassificationPipeline
from tfhf.tokenization import AutoTokenizer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A repository of the Hub at one revision."""

    name: str
    revision: str


@dataclass(frozen=True)
class Task:
    """What a task's name stands for; ``default`` is the checkpoint where none is given."""

    pipeline_class: type[Pipeline]
    default: Checkpoint | None


#: The first of several tasks with the same architectures is the one that is told from these.
TASKS: dict[str, Task] = {
    "feature-extraction": Task(
        FeatureExtractionPipeline, Checkpoint("distilbert/distilbert-base-cased", "6ea8117")
    ),
    "fill-mask": Task(FillMaskPipeline, Checkpoint("distilbert/distilroberta-base", "fb53ab8")),
    "question-answering": Task(
        QuestionAnsweringPipeline,
        Checkpoint("distilbert/distilbert-base-cased-distilled-squad", "564e9b5"),
    ),
    "text-classification": Task(
        TextClassificationPipeline,
        Checkpoint("distilbert/distilbert-base-uncased-finetuned-sst-2-english", "714eb0f"),
    ),
    "text-generation": Task(TextGenerationPipeline, Checkpoint("openai-community/gpt2", "607a30d")),
    "token-classification": Task(
        TokenClassificationPipeline,
        Checkpoint("dbmdz/bert-large-cased-finetuned-conll03-english", "4c53496"),
    ),
    "text2text-generation": Task(
        Text2TextGenerationPipeline, Checkpoint("google-t5/t5-base", "a9723ea")
    ),
    "summarization": Task(SummarizationPipeline, Checkpoint("google-t5/t5-small", "df1b051")),
    "translation": Task(TranslationPipeline, None),
    "zero-shot-classification": Task(
        ZeroShotClassificationPipeline, Checkpoint("FacebookAI/roberta-large-mnli", "2a8f12d")
    ),
}
ALIASES = {"ner": "token-classification", "sentiment-analysis": "text-classification"}
TRANSLATIONS = {
    ("en", language): Checkpoint("google-t5/t5-base", "a9723ea") for language in ("de", "fr", "ro")
}
"""Default checkpoints of ``translation_xx_to_yy``."""


def pipeline(
    task: str | None = None,
    model: TFPreTrainedModel | str | os.PathLike[str] | None = None,
    config: PretrainedConfig | str | None = None,
    tokenizer: PreTrainedTokenizerBase | str | os.PathLike[str] | None = None,
    *,
    framework: str | None = None,
    revision: str | None = None,
    use_fast: bool = True,
    token: str | bool | None = None,
    device: int | str | None = None,
    dtype: Any = None,
    trust_remote_code: bool = False,
    model_kwargs: dict[str, Any] | None = None,
    pipeline_class: type[Pipeline] | None = None,
    **options: Any,
) -> Pipeline:
    """Make the pipeline of a task.

    Args:
        task: one of `TASKS` or `ALIASES`, or ``"translation_xx_to_yy"``; left out, the task that
            the checkpoint's architecture is for.
        model: a model, a folder or a Hub id; left out, the task's default checkpoint. Also a
            version folder that ``model.export`` wrote, whose task and settings are fixed.
        config: a configuration for the checkpoint, or where to find one.
        tokenizer: a tokenizer, a folder or a Hub id; default: that of the model's checkpoint.
        framework: ``"tf"``, the only one; there for the old signature.
        revision: a branch, tag or commit of the Hub.
        use_fast: prefer a tokenizer written in Rust.
        token: the Hub's access token.
        device: where the model runs: see `Pipeline`.
        dtype: of the model, as for ``from_pretrained``.
        trust_remote_code: must be ``False``: no code of a checkpoint is ever run.
        model_kwargs: other arguments of the model's ``from_pretrained``.
        pipeline_class: a class of your own for the task.
        **options: ``batch_size`` and the options of the task, for all calls.

    Raises:
        KeyError: there is no such task.
        OSError: a checkpoint is not there.
        RuntimeError: neither a task nor a model, or a tokenizer without its model.
        TypeError: the model has no head for the task, or an option is unknown.
        ValueError: the checkpoint has no weights for the head, or an argument is impossible.

    Example:
        >>> classifier = pipeline("sentiment-analysis")  # doctest: +SKIP
        >>> classifier(["A moving film.", "Dull."])  # doctest: +SKIP
        [{'label': 'POSITIVE', 'score': 0.999}, {'label': 'NEGATIVE', 'score': 0.999}]
    """
    if framework not in (None, "tf"):
        raise ValueError(f"framework must be 'tf', but is {framework!r}: tfhf has no other")
    if trust_remote_code:
        raise ValueError("trust_remote_code=True: tfhf never runs code from a checkpoint")
    if task is None and model is None:
        raise RuntimeError("pipeline needs a task, such as 'fill-mask', or a model")
    _require_source("model", model, TFPreTrainedModel)
    _require_source("tokenizer", tokenizer, PreTrainedTokenizerBase)
    if isinstance(model, str | os.PathLike) and is_saved_model(model):
        name = None if task is None else ALIASES.get(task, task)
        return saved_model_pipeline(model, name, device=device, **options)
    if model is None and tokenizer is not None:
        raise RuntimeError("a tokenizer needs its model: pass model= as well")
    given = {"revision": revision, "token": token}
    hub: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    hub |= {name: value for name, value in (model_kwargs or {}).items() if name in HUB_ARGUMENTS}

    known, default = find_task(task) if task is not None else (None, None)
    if model is None:
        if default is None:
            raise ValueError(f"{task} has no default checkpoint: pass model=, a folder or a Hub id")
        model = default.name
        hub = {"revision": default.revision} | hub
        logger.warning(
            "pipeline(%r) without a model: using %s at revision %s", task, model, hub["revision"]
        )
    if isinstance(config, str):
        config = AutoConfig.from_pretrained(config, **hub)
    if config is None:
        config = _config_of(model, task, default, hub)
    if task is None or known is None:
        task = _task_of(config, model)
        known = TASKS[task]
    if task == "translation":
        task = translation_task(config)
        if task != "translation":
            logger.warning("pipeline('translation') does not say which languages: using %s", task)
    chosen = pipeline_class or known.pipeline_class

    if isinstance(model, TFPreTrainedModel):
        name = model.name_or_path
    else:
        name = os.fspath(model)
        arguments = {"dtype": dtype, **(model_kwargs or {}), **hub}
        with nullcontext() if device is None else tf.device(device_name(device)):
            model = _load_model(chosen, name, config, arguments)
    if tokenizer is None:
        tokenizer = name
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        if not tokenizer:
            raise ValueError("pass the tokenizer, too: the model does not say where it is from")
        if tokenizer != name:
            hub.pop("revision", None)
        tokenizer = _load_tokenizer(os.fspath(tokenizer), use_fast=use_fast, **hub)
    return chosen(model, tokenizer, task=task, device=device, **options)


def find_task(name: str) -> tuple[Task, Checkpoint | None]:
    """Return a task by its name and its default checkpoint.

    Raises:
        KeyError: there is none; the message lists all.
        TypeError: it is no name.

    Example:
        >>> find_task("sentiment-analysis")[1].revision
        '714eb0f'
    """
    if not isinstance(name, str):
        raise TypeError(f"task must be a name such as 'fill-mask', but is {name!r}")
    task = TASKS.get(ALIASES.get(name, name))
    if task is not None:
        return task, task.default
    if name.startswith("translation"):
        parts = name.split("_")
        if len(parts) != 4 or parts[2] != "to":
            raise KeyError(f"Invalid translation task {name}, use 'translation_xx_to_yy'")
        return TASKS["translation"], TRANSLATIONS.get((parts[1], parts[3]))
    names = sorted([*TASKS, *ALIASES, "translation_xx_to_yy"])
    raise KeyError(f"Unknown task {name!r}. The tasks are: {', '.join(names)}")


def _require_source(name: str, value: Any, kind: type) -> None:
    """Raise TypeError for what is no object of a kind, nor says where to find one."""
    if not isinstance(value, kind | str | os.PathLike | None):
        raise TypeError(
            f"{name} must be a {kind.__name__}, a folder or a Hub id, but is a "
            f"{type(value).__module__}.{type(value).__name__}"
        )


def _config_of(model: Any, task: str | None, default: Checkpoint | None, hub: dict) -> Any:
    if isinstance(model, TFPreTrainedModel):
        return model.config
    try:
        return AutoConfig.from_pretrained(model, **hub)
    except OSError as error:
        if default is None or model != default.name:
            raise OSError(
                f"model={os.fspath(model)!r} is no folder here, and no checkpoint in the cache; "
                "the Hub cannot be reached or does not have it"
            ) from error
        raise OSError(
            f"pipeline({task!r}) without a model uses {default.name}, revision {default.revision}: "
            "it is not in the cache, and the Hub cannot be reached or does not have it. Pass "
            "model=, a folder with a checkpoint or the Hub id of one that is in the cache."
        ) from error


def _task_of(config: PretrainedConfig, model: Any) -> str:
    """Return the task that the architecture of a model, or of a checkpoint, is for."""
    is_model = isinstance(model, TFPreTrainedModel)
    architectures = [type(model).__name__] if is_model else config.architectures or []
    for name, task in TASKS.items():
        own = task.pipeline_class.auto_class.class_names.get(config.model_type, ())
        own = [own] if isinstance(own, str) else own
        if {architecture.removeprefix("TF") for architecture in architectures} & set(own):
            return name
    raise RuntimeError(
        f"the task cannot be told from the architectures {architectures}: pass one of "
        f"{', '.join(TASKS)}"
    )


def _load_tokenizer(name: str, **options: Any) -> PreTrainedTokenizerBase:
    """Load a tokenizer; from a folder without its files, Transformers makes one without words."""
    tokenizer = AutoTokenizer.from_pretrained(name, **options)
    files = {*tokenizer.vocab_files_names.values(), "tokenizer.json", "tokenizer_config.json"}
    if os.path.isdir(name) and not files & set(os.listdir(name)):
        raise OSError(
            f"{name} has no tokenizer ({', '.join(sorted(files))}): save the model's own there, or "
            "pass tokenizer=, a folder or a Hub id"
        )
    return tokenizer


def _load_model(
    pipeline_class: type[Pipeline], name: str, config: PretrainedConfig, arguments: dict[str, Any]
) -> TFPreTrainedModel:
    """Load a checkpoint, which must have the weights of the head."""
    model_class = pipeline_class.auto_class.model_class(config)
    model, info = model_class.from_pretrained(
        name, config=config, output_loading_info=True, **arguments
    )
    body = f"{model.base_model_prefix}."
    head = [key for key in info["missing_keys"] if not key.startswith(body)]
    if model is not model.base_model and head:
        raise ValueError(
            f"{name} has no weights for the head of {model_class.__name__} ({', '.join(head)}): "
            f"its architecture is {config.architectures}. Pass a checkpoint that was trained for "
            "this task."
        )
    return model
