"""A model as a SavedModel that TensorFlow Serving takes as it is.

What is saved is not the Keras model but a plain ``tf.Module`` with the values of its variables, the
graph tokenizer, and functions that reach the model by closure. Keras's own bookkeeping in a
SavedModel makes it unloadable outside Python (keras #19274) or stores the weights twice.
"""

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from transformers import PreTrainedTokenizerBase

from tfhf.checkpoints.atomic import new_version
from tfhf.modeling import TFPreTrainedModel
from tfhf.models.heads import TFForSequenceClassification
from tfhf.serving.operations import check_operations, operations_of, remove_xla
from tfhf.serving.warmup import write_warmup_requests
from tfhf.tokenization.graph import GraphTokenizer

logger = logging.getLogger(__name__)

Tensors = dict[str, tf.Tensor]

#: Where the names of a classifier's labels are, in the order of its scores.
LABELS_FILE = Path("assets.extra", "labels.json")


def export_model(
    model: TFPreTrainedModel,
    directory: str | os.PathLike[str],
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> str:
    """Write a model, and its tokenizer, as the next version of a served model.

    The SavedModel has these signatures, all from named tensors to named tensors:

    - ``tokens``: the model's inputs (int32 ``input_ids``, ``attention_mask``, … of shape
      [batch, length]) -> its outputs (``logits``, …; floats as float32 under every dtype policy;
      tuples as ``hidden_states_0``, ``hidden_states_1``, …).
    - ``serving_default``, for a sequence classifier with a tokenizer: ``text`` (strings [batch]) ->
      ``label`` (strings [batch], the name of the highest score) and ``scores`` (float32
      [batch, num_labels]): by ``config.problem_type`` the softmax of the logits, their sigmoid for
      a multi-label model, or the logits themselves for a regression, which a model with one label
      is unless it says otherwise.
    - ``serving_default`` is ``tokens`` in every other case.

    The result runs without Python and without XLA, also if the model is compiled with
    ``jit_compile=True``. It lies beside the older versions, complete or not at all, with a warm-up
    request for each signature; ``assets.extra/operations.txt`` lists the operations in it, and
    ``assets.extra/labels.json`` the labels of a classifier, in the order of ``scores``.

    Args:
        model: A tfhf model.
        directory: The folder of all versions. Its name is the model's name in TF Serving.
        tokenizer: The tokenizer to put in front of the model, inside the graph. It cuts texts to
            what it (``model_max_length``) and the model (``max_length``) both allow.

    Returns:
        The path of the new version, ``directory/1`` for the first.

    Raises:
        NotADirectoryError: ``directory`` is a file.
        TypeError: ``tokenizer`` is none of Transformers'.
        UnsupportedTokenizerError: it is one that TensorFlow operations cannot reproduce exactly.
        ValueError: ``tokenizer`` has more tokens than the model, or the model uses an operation
            that TF Serving does not have.

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

    served = tf.Module()
    served.weights = [variable.value for variable in model.variables]
    signatures = {"tokens": _tokens(model)}
    warmup = {"tokens": _blank_tokens(model)}
    if tokenizer is not None and isinstance(model, TFForSequenceClassification):
        served.tokenizer = _graph_tokenizer(model, tokenizer)
        signatures["serving_default"] = _classify_text(model, served.tokenizer)
        warmup["serving_default"] = {"text": tf.constant(["warm-up"])}
    else:
        if tokenizer is not None:
            logger.warning("%s has no signature for text yet: only ids in", type(model).__name__)
        signatures["serving_default"] = signatures["tokens"]
        warmup["serving_default"] = warmup["tokens"]

    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    with (version := new_version(directory)) as folder:
        tf.saved_model.save(served, str(folder), signatures, options)
        remove_xla(folder)
        check_operations(folder)
        write_warmup_requests(folder, directory.resolve().name, warmup)
        operations = "".join(f"{operation}\n" for operation in operations_of(folder))
        (folder / "assets.extra" / "operations.txt").write_text(operations)
        if "text" in warmup["serving_default"]:
            (folder / LABELS_FILE).write_text(json.dumps(_labels(model)), encoding="utf-8")
    assert version.path is not None
    return str(directory / version.path.name)


def _tokens(model: TFPreTrainedModel) -> Any:
    """Trace the model: named ids -> named outputs."""

    @tf.function(autograph=False)
    def tokens(**inputs: tf.Tensor) -> Tensors:
        outputs = model(**inputs, **model.final_inputs, return_dict=True, training=False)
        return dict(_named_tensors(outputs))

    return tokens.get_concrete_function(**model.input_signature)


def _named_tensors(outputs: Mapping[str, Any]) -> Iterator[tuple[str, tf.Tensor]]:
    """Flatten the tuples in a model's output: ``attentions`` -> ``attentions_0``, …"""
    for name, value in outputs.items():
        if isinstance(value, tuple):
            yield from _named_tensors({f"{name}_{i}": part for i, part in enumerate(value)})
        elif value is not None:
            yield name, tf.cast(value, tf.float32) if value.dtype.is_floating else value


def _blank_tokens(model: TFPreTrainedModel) -> Tensors:
    """The smallest input that every model takes: one row of two visible padding tokens."""
    return {
        name: tf.fill(
            [1, *(size or 2 for size in spec.shape[1:])],
            tf.constant(int(name == "attention_mask"), spec.dtype),
        )
        for name, spec in model.input_signature.items()
    }


def _graph_tokenizer(
    model: TFPreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> GraphTokenizer:
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise TypeError(
            f"tokenizer must be a tokenizer of Transformers, but it is a {type(tokenizer).__name__}"
        )
    vocab_size = model.config.vocab_size
    if len(tokenizer) > vocab_size:
        raise ValueError(
            f"tokenizer has {len(tokenizer)} tokens, but the model knows only {vocab_size} "
            "(config.vocab_size): expected the tokenizer of the model's own checkpoint"
        )
    limit = min(tokenizer.model_max_length, model.max_length or tokenizer.model_max_length)
    return GraphTokenizer.from_tokenizer(tokenizer, max_length=limit)


def _classify_text(model: TFPreTrainedModel, tokenizer: Callable[[tf.Tensor], Tensors]) -> Any:
    """Trace tokenizer, model and scores: ``text`` -> ``label`` and ``scores``."""
    config = model.config
    labels = _labels(model)
    to_scores = _score_function(config)

    @tf.function(autograph=False)
    def classify_text(text: tf.Tensor) -> Tensors:
        tokens = tokenizer(text)
        inputs = {name: _widen(tokens[name]) for name in model.input_signature if name in tokens}
        outputs = model(**inputs, **model.final_inputs, return_dict=True, training=False)
        logits = outputs.logits
        return {
            "label": tf.gather(tf.constant(labels), tf.argmax(logits, axis=-1)),
            "scores": to_scores(tf.cast(logits, tf.float32)),
        }

    return classify_text.get_concrete_function(tf.TensorSpec([None], tf.string, "text"))


def _labels(model: TFPreTrainedModel) -> list[str]:
    return [model.config.id2label[i] for i in range(model.config.num_labels)]


def _widen(tokens: tf.Tensor) -> tf.Tensor:
    """Give an empty batch one column of padding: heads read the first one."""
    missing = tf.maximum(1 - tf.shape(tokens)[1], 0)
    return tf.pad(tokens, [[0, 0], [0, missing]])


def _score_function(config: Any) -> Callable[[tf.Tensor], tf.Tensor]:
    """Choose what fits the loss that the model was trained with."""
    if config.problem_type == "multi_label_classification":
        return tf.sigmoid
    if config.problem_type == "regression" or (
        config.problem_type is None and config.num_labels == 1
    ):
        return tf.identity
    return tf.nn.softmax
