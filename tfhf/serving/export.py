"""A model as a SavedModel that TensorFlow Serving takes as it is.

What is saved is not the Keras model but a plain ``tf.Module`` with the values of its variables, the
graph tokenizers, and functions that reach the model by closure. Keras's own bookkeeping in a
SavedModel makes it unloadable outside Python (keras #19274) or stores the weights twice.
"""

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf
from transformers import PreTrainedTokenizerBase

from tfhf.checkpoints.atomic import new_version
from tfhf.modeling import TFPreTrainedModel
from tfhf.serving import signatures as tasks
from tfhf.serving.card import write_card
from tfhf.serving.operations import check_operations, operations_of, remove_xla
from tfhf.serving.server_files import write_server_files
from tfhf.serving.signatures import Signature
from tfhf.serving.stored_weights import (
    Storage,
    StoredWeight,
    read_stored_weights,
    rounded,
    store_weights,
)
from tfhf.serving.warmup import write_warmup_requests

logger = logging.getLogger(__name__)

#: What clients need to know of each signature: its task, and the task's facts, such as labels.
SIGNATURES_FILE = Path("assets.extra", "signatures.json")
BATCH_SIZES = (1, 2, 4, 8, 16, 32)

#: Gets ``serving_default``, from named arrays to named arrays, and returns figures by name.
Evaluate: TypeAlias = Callable[[Callable[..., dict[str, np.ndarray]]], Mapping[str, float]]


def export_model(
    model: TFPreTrainedModel,
    directory: str | os.PathLike[str],
    tokenizer: PreTrainedTokenizerBase | None = None,
    task: str | None = None,
    *,
    signatures: Mapping[str, str | Callable[..., Signature]] | None = None,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    weights: Storage | None = None,
    evaluate: Evaluate | None = None,
    figures: Mapping[str, Any] | None = None,
    **settings: Any,
) -> str:
    """Write a model, and its tokenizer, as the next version of a served model.

    The SavedModel has these signatures, all from named tensors to named tensors:

    - ``tokens``: the model's inputs (int32 ``input_ids``, ``attention_mask``, … of shape
      [batch, length]) -> its outputs (``logits``, …; floats as float32 under every dtype policy;
      tuples as ``hidden_states_0``, ``hidden_states_1``, …).
    - ``generate``, of a model that generates: ``input_ids``, ``attention_mask`` -> ``sequences``,
      by the settings of ``model.generation_config``.
    - ``serving_default``, with a tokenizer: strings -> what the pipeline of the task returns. The
      modules of ``tfhf.serving.signatures`` say for each task what goes in and out.
    - ``serving_default`` is ``tokens`` in every other case.

    The result runs without Python and without XLA, also if the model is compiled with
    ``jit_compile=True``. It lies beside the older versions, complete or not at all, with

    - ``assets.extra/tf_serving_warmup_requests``: requests of every signature and batch size.
    - ``assets.extra/signatures.json``: the task of each signature and its facts, such as ``labels``
      in the order of ``scores``.
    - ``assets.extra/operations.txt``: the operations in it.
    - ``batching_params.pbtxt`` and ``models.config``: what TF Serving can be told of it.
    - ``README.md``: a card for people, with sizes and figures.

    Args:
        model: A tfhf model.
        directory: The folder of all versions. Its name is the model's name in TF Serving.
        tokenizer: The tokenizer to put in front of the model, inside the graph. It cuts texts to
            what it (``model_max_length``) and the model (``max_length``) both allow.
        task: What ``serving_default`` does; default: what the model's head is for.
        signatures: More signatures by name: a task, or a function from model and tokenizer to a
            `Signature`, such as ``functools.partial(text_classification, pairs=True)``.
        batch_sizes: How many rows a batch may have in TF Serving, in ascending order.
        weights: ``"bfloat16"`` or ``"int8"``: the form in which float32 weights are stored, for an
            export of a half or a quarter of the size; see ``tfhf.serving.stored_weights``.
        evaluate: What measures the export for the card: a function that gets ``serving_default``
            and returns figures, such as ``lambda answer: {"accuracy":
            np.mean(answer(text=texts)["label"] == labels)}``, where ``labels`` are bytes. With
            ``weights`` the card also says what the float32 weights reach.
        figures: What else the card shall say, such as ``{"accuracy": 0.91}``.
        **settings: Those of the task: the keyword arguments of its function in
            ``tfhf.serving.signatures``.

    Returns:
        The path of the new version, ``directory/1`` for the first.

    Raises:
        KeyError: There is no such task.
        NotADirectoryError: ``directory`` is a file.
        TypeError: ``tokenizer`` is none of Transformers', or missing where a task, a signature or a
            setting needs it; the model has no head for the task; the task has no such setting.
        UnsupportedTokenizerError: ``tokenizer`` is one that TensorFlow operations cannot reproduce
            exactly.
        ValueError: ``tokenizer`` has more tokens than the model, a signature's name is taken,
            ``batch_sizes`` do not ascend, there are no such ``weights``, or the model uses
            an operation that TF Serving does not have.

    Example:
        >>> import tempfile, tfhf, transformers
        >>> size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
        >>> model = tfhf.TFBertModel(transformers.BertConfig(**size))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     first, second = export_model(model, folder), export_model(model, folder)
        ...     first == f"{folder}/1", sorted(os.listdir(folder))
        (True, ['1', '2'])
    """
    directory = Path(directory)
    if directory.exists() and not directory.is_dir():
        raise NotADirectoryError(
            f"directory: {os.fspath(directory)!r} is a file, expected a folder for the versions"
        )
    sizes = list(batch_sizes)
    if not sizes or sizes[0] < 1 or sizes != sorted(set(sizes)):
        raise ValueError(f"batch_sizes must ascend from 1 or more, but are {sizes}")
    made = _signatures(model, tokenizer, task, dict(signatures or {}), settings)
    model_name = directory.resolve().name
    functions = {name: signature.function for name, signature in made.items()}
    variables = model.variables
    stored = store_weights(variables, weights)
    measured = _measure(functions["serving_default"], evaluate, variables, stored)
    for function in functions.values():
        read_stored_weights(function, variables, stored)

    served = tf.Module()
    served.weights = [
        stored[i].parts if i in stored else variable.value for i, variable in enumerate(variables)
    ]
    served.expanded = list(stored.values())
    served.tracked = [signature.tracked for signature in made.values()]
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    with (version := new_version(directory)) as folder:
        tf.saved_model.save(served, str(folder), functions, options)
        remove_xla(folder)
        check_operations(folder)
        write_warmup_requests(folder, model_name, _warmup(made, sizes))
        operations = "".join(f"{operation}\n" for operation in operations_of(folder))
        (folder / "assets.extra" / "operations.txt").write_text(operations)
        facts = json.dumps({name: signature.facts for name, signature in made.items()})
        (folder / SIGNATURES_FILE).write_text(facts, encoding="utf-8")
        write_server_files(folder, model_name, sizes)
        write_card(folder, model_name, model, made, {**measured, **(figures or {})}, weights)
    assert version.path is not None
    return str(directory / version.path.name)


def _measure(
    function: Any,
    evaluate: Evaluate | None,
    variables: Sequence[keras.Variable],
    stored: Mapping[int, StoredWeight],
) -> dict[str, Any]:
    """Evaluate a function, with the weights as they are stored and as they are; for the card."""

    def answer(**inputs: Any) -> dict[str, np.ndarray]:
        outputs = function(**{name: tf.convert_to_tensor(value) for name, value in inputs.items()})
        return {name: value.numpy() for name, value in outputs.items()}

    if evaluate is None:
        return {"cost of the small weights": "not measured"} if stored else {}
    exact = evaluate(answer)
    if not stored:
        return dict(exact)
    with rounded(variables, stored):
        small = evaluate(answer)
    return {
        name: f"{value:.4g}; {exact[name]:.4g} with float32 weights"
        for name, value in small.items()
    }


def _warmup(
    signatures: Mapping[str, Signature], batch_sizes: Sequence[int]
) -> dict[str, list[dict[str, tf.Tensor]]]:
    """Repeat the examples of signatures to all batch sizes; scalars stay as they are."""
    return {
        name: [
            {
                key: tf.repeat(value, size, axis=0) if value.shape.rank else value
                for key, value in example.items()
            }
            for size in batch_sizes
            for example in signature.warmup
        ]
        for name, signature in signatures.items()
    }


def _signatures(
    model: TFPreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    task: str | None,
    more: dict[str, str | Callable[..., Signature]],
    settings: dict[str, Any],
) -> dict[str, Signature]:
    """Make the signatures of an export, `serving_default` first."""
    made = {"tokens": tasks.tokens(model)}
    if model.can_generate:
        made["generate"] = tasks.generate(model)
    if tokenizer is None:
        if task is not None or more or settings:
            wanted = ", ".join([*([task] if task else []), *more, *settings])
            raise TypeError(f"tokenizer: expected a tokenizer for {wanted}, but it is None")
        return {"serving_default": made["tokens"]} | made
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise TypeError(
            f"tokenizer must be a tokenizer of Transformers, but it is a {type(tokenizer).__name__}"
        )
    task = task or tasks.default_task(model)
    if task is None:
        if settings:
            raise TypeError(f"{type(model).__name__} has no task, so no {', '.join(settings)}")
        logger.warning("%s has no signature for text: only ids in", type(model).__name__)
        made = {"serving_default": made["tokens"]} | made
    else:
        made = {"serving_default": tasks.build(task, model, tokenizer, settings)} | made
    for name, builder in more.items():
        if name in made:
            raise ValueError(f"signatures: {name!r} is there already")
        if isinstance(builder, str):
            made[name] = tasks.build(builder, model, tokenizer, {})
        else:
            made[name] = builder(model, tokenizer)
    return made
