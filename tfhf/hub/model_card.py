"""Model cards: what is known of a model and its training, and nothing else.

The sections are those that the Hub's guide asks for. Reference: Mitchell et al., Model Cards for
Model Reporting, 2018.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
from huggingface_hub import EvalResult, ModelCard, ModelCardData

#: What a model does, by the end of its class's name; None where that tells too little.
TASKS: dict[str, str | None] = {
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForMaskedLM": "fill-mask",
    "ForMultipleChoice": "multiple-choice",
    "ForCausalLM": "text-generation",
    "LMHeadModel": "text-generation",
    "MTModel": "translation",
    "EncoderDecoderModel": None,
    "DoubleHeadsModel": None,
    "Model": "feature-extraction",
}
EXAMPLES = {
    "question-answering": '{"question": "Who wrote it?", "context": "Ada wrote it."}',
    "fill-mask": '"This is " + pipe.tokenizer.mask_token + "."',
}
#: How the names of what is logged beside metrics end.
NO_METRICS = ("epoch", "grad_norm", "learning_rate", "runtime", "_per_second")
UNKNOWN = "Nothing is known here: whoever made the model has not said."
CURVES = "training_curves.png"


def create_model_card(
    model: Any,
    model_name: str,
    *,
    history: Mapping[str, Sequence[Any]] | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    evaluation: Mapping[str, Any] | None = None,
    task: str | None = None,
    language: str | list[str] | None = None,
    license: str | None = None,
    finetuned_from: str | None = None,
    tags: str | list[str] | None = None,
    dataset: str | list[str] | None = None,
    dataset_args: str | None = None,
    description: str | None = None,
    intended_uses: str | None = None,
    limitations: str | None = None,
    training_data: str | None = None,
) -> ModelCard:
    """Return the card of a model: what it says is what it was told, or could read off the model.

    Args:
        model: a tfhf model; if it is compiled, its optimizer is described.
        model_name: ``name`` or ``organisation/name`` on the Hub.
        history: what ``fit`` returned, ``History.history``: for each name one number an epoch, or
            None where an epoch has none. What is no number is left out, and so are times.
        hyperparameters: more of them, by name, as ``num_train_epochs``.
        evaluation: metrics of the finished model, by name, as ``Trainer.evaluate`` gives them;
            default: the last epoch of `history`.
        task: what the model does, as "summarization"; default: as its class tells.
        language: as "en".
        license: as "apache-2.0".
        finetuned_from: the checkpoint that training began with; default: where it was loaded from.
        tags: of the card.
        dataset: the name of the dataset, or names.
        dataset_args: its configuration, as "mrpc".
        description: what the model is.
        intended_uses: what it is for, and what it is not for.
        limitations: what it does badly, and whom it treats unfairly.
        training_data: what it has seen.

    Returns:
        A card of huggingface_hub: ``str(card)``, ``card.save(path)``, ``card.validate()``. With a
        history it shows the picture ``training_curves.png``, which :func:`save_curves` draws, where
        matplotlib is installed.

    Example:
        >>> from transformers import BertConfig
        >>> import tfhf
        >>> config = BertConfig(num_hidden_layers=1, hidden_size=8, num_attention_heads=2)
        >>> model = tfhf.TFBertForSequenceClassification(config)
        >>> card = create_model_card(model, "ada/moods", license="mit", evaluation={"accuracy": 1})
        >>> card.data.pipeline_tag, card.data.library_name
        ('text-classification', 'tfhf')
    """
    task = task or _task(model)
    if finetuned_from is None and model.name_or_path and not Path(model.name_or_path).exists():
        finetuned_from = model.name_or_path
    epochs = _measured(history or {})
    metrics = _last_epoch(epochs) if evaluation is None else _metrics(evaluation)
    datasets = [dataset] if isinstance(dataset, str) else list(dataset or [])
    data = ModelCardData(
        model_name=model_name.split("/")[-1],
        language=language,
        license=license,
        library_name="tfhf",
        pipeline_tag=task,
        base_model=finetuned_from,
        tags=[tags] if isinstance(tags, str) else tags,
        datasets=datasets or None,
        metrics=[name for name in metrics if "loss" not in name] or None,
        eval_results=_results(task, metrics, datasets, dataset_args),
    )
    origin = f"It was fine-tuned from `{finetuned_from}`." if finetuned_from else ""
    what = f"`{type(model).__name__}` with {model.num_parameters():,} parameters. {origin}".strip()
    seen = "\n".join(f"- {name}{f' ({dataset_args})' if dataset_args else ''}" for name in datasets)
    settings = optimizer_settings(model) | dict(hyperparameters or {})
    sections = {
        "Model description": f"{description}\n\n{what}" if description else what,
        "Intended uses & limitations": intended_uses,
        "How to use": _usage(type(model).__name__, model_name, task),
        "Limitations and bias": limitations,
        "Training data": "\n\n".join(part for part in (training_data, seen) if part),
        "Training procedure": _list(settings),
        "Variables and metrics": _list({name: _meaning(name) for name in epochs}),
        "Training results": _epochs(epochs),
        "Evaluation results": _list(metrics),
    }
    text = "\n\n".join(f"## {name}\n\n{said or UNKNOWN}" for name, said in sections.items())
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n# {data.model_name}\n\n{text}\n")


def save_model_card(card: ModelCard, folder: str | os.PathLike, history: Any = None) -> None:
    """Write a card, and the picture of its curves, as a folder's ``README.md``."""
    card.save(Path(folder, "README.md"))
    if _can_draw() and _measured(history or {}):
        save_curves(history, Path(folder, CURVES))


def save_curves(history: Mapping[str, Sequence[Any]], file: str | os.PathLike) -> None:
    """Draw a curve over the epochs for each metric, training and validation side by side.

    Args:
        history: what ``fit`` returned, ``History.history``, with a number at least. Of metrics that
            have fewer numbers than others it is not known when they were measured: they are left
            out.
        file: where the picture goes; its suffix says which kind.
    """
    from matplotlib.figure import Figure  # a TPU's host may lack it

    epochs, _ = _by_epoch(_measured(history))
    names = [name for name in epochs if not name.startswith("val_")]
    names += [name for name in epochs if name.startswith("val_") and name[4:] not in epochs]
    figure = Figure(figsize=(4 * len(names), 3), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names):
        for shown, label in ((name, "training"), (f"val_{name}", "validation")):
            points = [(i, y) for i, y in enumerate(epochs.get(shown, []), start=1) if y is not None]
            if points:
                axes.plot(*zip(*points), marker=".", label=label)
        axes.set_title(name)
        axes.set_xlabel("epoch")
        axes.legend()
    figure.savefig(file, dpi=100)


def by_name(epochs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return a history of what epochs logged: for each name one value an epoch, or None.

    Example:
        >>> by_name([{"loss": 0.7}, {"loss": 0.4, "val_loss": 0.6}])
        {'loss': [0.7, 0.4], 'val_loss': [None, 0.6]}
    """
    names = dict.fromkeys(name for logs in epochs for name in logs)
    return {name: [logs.get(name) for logs in epochs] for name in names}


def optimizer_settings(model: Any) -> dict[str, Any]:
    """Return what a compiled model is trained with, by name."""
    settings = {"training_precision": model.dtype_policy.name}
    if not model.compiled:
        return settings
    config = keras.saving.serialize_keras_object(model.optimizer)
    named = {name: value for name, value in config["config"].items() if value is not None}
    return {"optimizer": config["class_name"]} | named | settings


def _task(model: Any) -> str | None:
    name = type(model).__name__
    return next((task for end, task in TASKS.items() if name.endswith(end)), None)


def _measured(history: Mapping[str, Sequence[Any]]) -> dict[str, list[float | None]]:
    """Return the metrics, with None for what is no number; those without any are left out."""
    rows = {
        name: [_number(value) for value in values]
        for name, values in history.items()
        if not name.endswith(NO_METRICS)
    }
    return {name: row for name, row in rows.items() if any(n is not None for n in row)}


def _metrics(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics among what an evaluation says."""
    return {
        name.removeprefix("eval_"): number
        for name, value in evaluation.items()
        if not name.endswith(NO_METRICS) and (number := _number(value)) is not None
    }


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _last_epoch(history: Mapping[str, list[float | None]]) -> dict[str, float]:
    """Return the last numbers of validation, or of training where there is none."""
    validation = [name for name in history if name.startswith("val_")]
    return {
        name.removeprefix("val_"): [n for n in history[name] if n is not None][-1]
        for name in validation or history
    }


def _results(
    task: str | None, evaluation: Mapping[str, float], datasets: list[str], config: str | None
) -> list[EvalResult] | None:
    """Return the metrics as the Hub's tables have them: they need a task and a dataset."""
    if not datasets or task is None:
        return None
    return [
        EvalResult(
            task_type=task,
            dataset_type=datasets[0],
            dataset_name=" ".join([datasets[0], *([config] if config else [])]),
            dataset_config=config,
            metric_type=name,
            metric_value=round(value, 4),
        )
        for name, value in evaluation.items()
        if "loss" not in name
    ] or None


def _usage(class_name: str, model_name: str, task: str | None) -> str:
    if task is None or task == "multiple-choice":
        lines = ["import tfhf", "", f'model = tfhf.{class_name}.from_pretrained("{model_name}")']
    else:
        example = EXAMPLES.get(task, '"A text of your own."')
        lines = [
            "from tfhf import pipeline",
            "",
            f'pipe = pipeline("{task}", model="{model_name}")',
        ]
        lines += [f"pipe({example})"]
    return "\n".join(["```python", *lines, "```"])


def _meaning(name: str) -> str:
    of = "the validation data" if name.startswith("val_") else "the training data"
    what = name.removeprefix("val_")
    return f"the loss that training makes small, on {of}" if what == "loss" else f"{what} on {of}"


def _by_epoch(
    history: Mapping[str, list[float | None]],
) -> tuple[dict[str, list[float | None]], dict[str, list[float | None]]]:
    """Return what has a place for each epoch, and what has fewer: Keras does not say which."""
    count = max(map(len, history.values()), default=0)
    whole = {name: row for name, row in history.items() if len(row) == count}
    return whole, {name: row for name, row in history.items() if name not in whole}


def _epochs(history: Mapping[str, list[float | None]]) -> str:
    if not history:
        return ""
    whole, fewer = _by_epoch(history)
    rows = [["epoch", *whole], ["---"] * (1 + len(whole))]
    for epoch, numbers in enumerate(zip(*whole.values()), start=1):
        rows.append([str(epoch), *map(_short, numbers)])
    parts = ["\n".join(f"| {' | '.join(row)} |" for row in rows)]
    parts += [f"{name}, of some epochs: {', '.join(map(_short, fewer[name]))}" for name in fewer]
    if _can_draw():
        parts.append(f"![Curves of training]({CURVES})")
    return "\n\n".join(parts)


def _can_draw() -> bool:
    return importlib.util.find_spec("matplotlib") is not None


def _short(number: float | None) -> str:
    return "" if number is None else f"{number:.4g}"


def _list(values: Mapping[str, Any]) -> str:
    return "\n".join(f"- {name}: {_shown(value)}" for name, value in values.items())


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)
