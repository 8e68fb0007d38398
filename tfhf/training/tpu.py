"""What a TPU cannot take, found before training starts.

A TPU runs programs that XLA has compiled for tensors of one shape. What it cannot take otherwise
fails after minutes of compilation, with an error that names neither the column nor the reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

_PYTHON = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}


def require_tpu_ready(model: keras.Model, dataset: tf.data.Dataset, replicas: int = 1) -> None:
    """Refuse to train where a TPU could not; ``fit`` under a ``TPUStrategy`` begins with it.

    Args:
        model: compiled.
        dataset: of global batches.
        replicas: how many TPU cores share each batch.

    Raises:
        ValueError: all the reasons: columns of strings, of rows of different lengths, of batches
            that are not full or cannot be shared out; Python that the dataset or the model calls;
            strings in the model; ``jit_compile``.

    Example:
        >>> model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse", jit_compile=False)
        >>> data = tf.data.Dataset.from_tensor_slices((tf.zeros((5, 2)), tf.zeros((5, 1))))
        >>> require_tpu_ready(model, data.batch(2, drop_remainder=True))
        >>> require_tpu_ready(model, data.batch(2))
        Traceback (most recent call last):
        ValueError: a TPU cannot train this:
        - dataset[0] has the shape (None, 2): every batch must have the same: ...
    """
    reasons = [*_of_columns(dataset.element_spec, replicas), *_of_pipeline(dataset)]
    if getattr(model, "jit_compile", False):
        reasons.append("compile(jit_compile=True): the strategy compiles for the TPU already")
    if not reasons:
        reasons = [*_of_model(model, dataset.element_spec)]
    if reasons:
        raise ValueError("a TPU cannot train this:\n- " + "\n- ".join(reasons))


def _of_columns(spec: Any, replicas: int) -> Iterator[str]:
    """Tell which tensors of a batch have a type or a shape that XLA has not."""
    for path, tensor in keras.tree.flatten_with_path(spec):
        name = "dataset" + "".join(f"[{key}]" for key in path)
        if not isinstance(tensor, tf.TensorSpec):
            yield f"{name} is a {type(tensor).__name__}: pad rows to one length"
        elif tensor.dtype == tf.string:
            yield f"{name} holds strings: tokenize before, and leave the texts out"
        elif not tensor.shape.is_fully_defined():
            yield (
                f"{name} has the shape {tensor.shape}: every batch must have the same: "
                'drop_remainder=True, and rows padded to a length, as padding="max_length" does'
            )
        elif tensor.shape.rank and tensor.shape[0] % replicas:
            yield f"{name} has {tensor.shape[0]} rows, which {replicas} cores cannot share out"


def _of_pipeline(dataset: tf.data.Dataset) -> Iterator[str]:
    """Tell whether the dataset calls Python, which hosts of a TPU pod do not run."""
    graph = tf.compat.v1.GraphDef.FromString(
        tf.raw_ops.DatasetToGraphV2(
            input_dataset=tf.data.experimental.to_variant(dataset), external_state_policy=1
        ).numpy()
    )
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    if any(node.op in _PYTHON for node in nodes):
        yield (
            "the dataset calls Python (a collator, a generator, py_function): write it once with "
            "tfhf.write_tfrecords, and train from tfhf.read_tfrecords"
        )


def _of_model(model: keras.Model, spec: Any) -> Iterator[str]:
    """Tell whether the model calls Python or has to do with strings."""
    x, _, _ = keras.utils.unpack_x_y_sample_weight(spec)
    function = tf.function(lambda batch: model(batch), autograph=False).get_concrete_function(x)
    graph = function.graph.as_graph_def()
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    types = {node.op for node in nodes}
    if types & _PYTHON:
        yield "the model calls Python: py_function or numpy_function"
    strings = sorted(kind for kind in types if kind.startswith(("String", "Regex", "DecodeRaw")))
    if strings:
        yield f"the model works on strings, with {', '.join(strings)}"
