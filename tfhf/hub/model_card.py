"""Model cards: what is known of a model and its training, and nothing else.

The sections are those that the Hub's guide asks for. Reference: Mitchell et al., Model Cards for
Model Reporting, 2018.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from matplotlib.figure import Figure

#: What a model does, by the end of its class's name.
TASKS = {
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForMaskedLM": "fill-mask",
    "ForMultipleChoice": "multiple-choice",
    "ForCausalLM": "text-generation",
    "LMHeadModel": "text-generation",
    "MTModel": "translation",
    "Model": "feature-extraction",
}
EXAMPLES = {
    "question-answering": '{"question": "Who wrote it?", "context": "Ada wrote it."}',
    "fill-mask": '"This is " + pipe.tokenizer.mask_token + "."',
}
UNKNOWN = "Nothing is known here: whoever made the model has not said."
CURVES = "training_curves.png"


def create_model_card(
    model: Any,
    model_name: str,
    *,
    history: Mapping[str, Sequence[float]] | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    evaluation: Mapping[str, float] | None = None,
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
        history: what ``fit`` returned, ``History.history``: for each name one number an epoch.
        hyperparameters: more of them, by name, as ``num_train_epochs``.
        evaluation: metrics of the finished model, by name; default: the last epoch of `history`.
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
        history it shows the picture ``training_curves.png``, which :func:`save_curves` draws.

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
    epochs = {name: [float(n) for n in numbers] for name, numbers in (history or {}).items()}
    if evaluation is None:
        evaluation = _last_epoch(epochs)
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
        metrics=[name for name in evaluation if "loss" not in name] or None,
        eval_results=_results(task, evaluation, datasets, dataset_args),
    )
    origin = f"It was fine-tuned from `{finetuned_from}`." if finetuned_from else ""
    what = f"`{type(model).__name__}` with {model.num_parameters():,} parameters. {origin}".strip()
    seen = "\n".join(f"- {name}{f' ({dataset_args})' if dataset_args else ''}" for name in datasets)
    settings = optimizer_settings(model) | dict(hyperparameters or {})
    sections = {
        "Model description": f"{description}\n\n{what}" if description else what,
        "Intended uses & limitations": intended_uses,
        "How to use": _usage(model_name, task),
        "Limitations and bias": limitations,
        "Training data": "\n\n".join(part for part in (training_data, seen) if part),
        "Training procedure": _list(settings),
        "Variables and metrics": _list({name: _meaning(name) for name in epochs}),
        "Training results": _epochs(epochs),
        "Evaluation results": _list(evaluation),
    }
    text = "\n\n".join(f"## {name}\n\n{said or UNKNOWN}" for name, said in sections.items())
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n# {data.model_name}\n\n{text}\n")


def save_model_card(card: ModelCard, folder: str | os.PathLike, history: Any = None) -> None:
    """Write a card, and the picture of its curves, as a folder's ``README.md``."""
    card.save(Path(folder, "README.md"))
    if history:
        save_curves(history, Path(folder, CURVES))


def save_curves(history: Mapping[str, Sequence[float]], file: str | os.PathLike) -> None:
    """Draw a curve over the epochs for each metric, training and validation side by side.

    Args:
        history: what ``fit`` returned, ``History.history``.
        file: where the picture goes; its suffix says which kind.
    """
    names = [name for name in history if not name.startswith("val_")]
    names += [name for name in history if name.startswith("val_") and name[4:] not in history]
    figure = Figure(figsize=(4 * len(names), 3), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names):
        for shown, label in ((name, "training"), (f"val_{name}", "validation")):
            if shown in history:
                epochs = range(1, len(history[shown]) + 1)
                axes.plot(epochs, history[shown], marker=".", label=label)
        axes.set_title(name)
        axes.set_xlabel("epoch")
        axes.legend()
    figure.savefig(file, dpi=100)


def optimizer_settings(model: Any) -> dict[str, Any]:
    """Return what a compiled model is trained with, by name."""
    settings = {"training_precision": model.dtype_policy.name}
    if not model.compiled:
        return settings
    config = keras.saving.serialize_keras_object(model.optimizer)
    named = {name: value for name, value in config["config"].items() if value not in (None, False)}
    return {"optimizer": config["class_name"]} | named | settings


def _task(model: Any) -> str | None:
    name = type(model).__name__
    return next((task for end, task in TASKS.items() if name.endswith(end)), None)


def _last_epoch(history: Mapping[str, list[float]]) -> dict[str, float]:
    """Return the last numbers of validation, or of training where there is none."""
    validation = [name for name in history if name.startswith("val_")]
    return {name.removeprefix("val_"): history[name][-1] for name in validation or history}


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
            metric_value=round(float(value), 4),
        )
        for name, value in evaluation.items()
        if "loss" not in name
    ] or None


def _usage(model_name: str, task: str | None) -> str:
    if task is None or task == "multiple-choice":
        lines = ["import tfhf", "", f'model = tfhf.TFAutoModel.from_pretrained("{model_name}")']
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


def _epochs(history: Mapping[str, list[float]]) -> str:
    if not history:
        return ""
    rows = [["epoch", *history], ["---"] * (1 + len(history))]
    for epoch, numbers in enumerate(zip(*history.values()), start=1):
        rows.append([str(epoch), *(f"{number:.4g}" for number in numbers)])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"{table}\n\n![Curves of training]({CURVES})"


def _list(values: Mapping[str, Any]) -> str:
    return "\n".join(f"- {name}: {_shown(value)}" for name, value in values.items())


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)
