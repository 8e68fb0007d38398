"""The card of an export: what it does, what it needs, how large it is; Markdown, for people."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfhf.modeling import TFPreTrainedModel
from tfhf.serving.operations import TF_SERVING, lowest_tf_serving, operations_of
from tfhf.serving.signatures import UNSEEDED, Signature

CARD_FILE = "README.md"

CARD = """\
# {name}

A {model} for TensorFlow Serving, exported by tfhf.

## Signatures

| name | task | inputs | outputs |
|---|---|---|---|
{signatures}

Sizes of the first axis are those of the batch; `-1` is any size.

## Figures

| | |
|---|---|
{figures}

## TensorFlow Serving

Versions {lowest} to {highest} have all {count} operations. Here, `{name}` is the folder with the
versions in it:

    docker run -p 8501:8501 -v "$PWD/{name}:/models/{name}" -e MODEL_NAME={name} tensorflow/serving

To have requests share batches, add `--enable_batching` and
`--batching_parameters_file=/models/{name}/VERSION/batching_params.pbtxt`; to serve several models,
join their `models.config` and pass `--model_config_file`.

<details><summary>Operations</summary>

{operations}

</details>
"""


def write_card(
    saved_model: str | os.PathLike[str],
    name: str,
    model: TFPreTrainedModel,
    signatures: Mapping[str, Signature],
    figures: Mapping[str, Any],
    storage: str | None = None,
) -> None:
    """Write ``README.md`` into a version folder.

    Args:
        saved_model: The version folder, with the SavedModel in it.
        name: The name that the model is served under.
        model: The model that is in it.
        signatures: What it can be asked, by name.
        figures: What else is known of it, such as ``{"accuracy": 0.91}``.
        storage: What the weights are stored in; default: as the model has them.
    """
    folder = Path(saved_model)
    operations = operations_of(folder)
    weights = sum(file.stat().st_size for file in (folder / "variables").iterdir())
    dtypes = Counter(variable.dtype for variable in model.variables)
    graph = (folder / "saved_model.pb").stat().st_size
    known = {
        "parameters": f"{model.count_params():,}",
        "weights": f"{_megabytes(weights)}, {storage or dtypes.most_common(1)[0][0]}",
        "graph, with tokenizer": _megabytes(graph),
        **figures,
    }
    card = CARD.format(
        name=name,
        model=type(model).__name__,
        signatures="\n".join(_row(key, each) for key, each in signatures.items()),
        figures="\n".join(f"| {key} | {_figure(value)} |" for key, value in known.items()),
        lowest=lowest_tf_serving(folder),
        highest=TF_SERVING[-1],
        count=len(operations),
        operations=", ".join(f"`{operation}`" for operation in operations),
    )
    (folder / CARD_FILE).write_text(card, encoding="utf-8")


def _row(name: str, signature: Signature) -> str:
    inputs = signature.function.structured_input_signature[1]
    facts = signature.facts
    words = [facts.get("task"), "sampled without a seed" if facts.get(UNSEEDED) else None]
    cells = [f"`{name}`", ", ".join(filter(None, words))]
    cells += [_specs(specs) for specs in (inputs, signature.function.structured_outputs)]
    return f"| {' | '.join(cells)} |"


def _specs(specs: Mapping[str, tf.TensorSpec]) -> str:
    """Write ``text`` string [-1], …"""
    cells = []
    for name, spec in specs.items():
        shape = [] if spec.shape.rank is None else [size or -1 for size in spec.shape]
        cells.append(f"`{name}` {spec.dtype.name} {shape}")
    return "<br>".join(cells)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _figure(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
