"""Running a model over a dataset for its loss, its predictions and metrics of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

#: What the predictions and labels of shorter batches are filled up with.
PADDING = -100


class EvalPrediction(NamedTuple):
    """What ``compute_metrics`` is called with: NumPy arrays, or tuples of them."""

    predictions: Any
    label_ids: Any


class PredictionOutput(NamedTuple):
    """What ``Trainer.predict`` returns."""

    predictions: Any
    label_ids: Any
    metrics: dict[str, float]


class Evaluation(NamedTuple):
    """The results of one pass; without ``keep_predictions``, the first two are None."""

    predictions: Any
    label_ids: Any
    #: The mean over the rows; None without labels.
    loss: float | None
    rows: int
    batches: int


Batch = tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]
Predict = Callable[[dict[str, tf.Tensor], dict[str, tf.Tensor]], tuple[Any, tf.Tensor | None]]


def forward_pass(model: Any, loss: Any = None, jit_compile: bool = False) -> Predict:
    """Make the function that gives the outputs and the loss of a batch.

    Args:
        model: a model of tfhf.
        loss: a Keras loss, instead of the model's own.
        jit_compile: whether XLA compiles it.
    """
    ignored = ("loss", *getattr(model.config, "keys_to_ignore_at_inference", ()))

    @tf.function(reduce_retracing=True, jit_compile=jit_compile)
    def run(features: dict[str, tf.Tensor], labels: dict[str, tf.Tensor]) -> Any:
        asked = {} if loss is not None and "decoder_input_ids" in features else labels
        outputs = model(features | asked | model.final_inputs, training=False)
        value = outputs.get("loss")
        if loss is not None and labels:
            name = next(iter(labels))
            value = loss(labels[name], outputs[model.label_outputs[name]])
        return {name: outputs[name] for name in outputs if name not in ignored}, value

    return run


def evaluate_dataset(
    model: Any,
    dataset: tf.data.Dataset,
    predict: Predict,
    *,
    keep_predictions: bool,
    preprocess: Callable[[Any, Any], Any] | None = None,
    padding: int = PADDING,
) -> Evaluation:
    """Run a model over a dataset, batch after batch, on the first device of its strategy.

    Args:
        model: a model of tfhf.
        dataset: batches as ``fit`` takes them.
        predict: gives the predictions and the loss of a batch.
        keep_predictions: whether to return predictions and labels.
        preprocess: called with the predictions and labels of a batch; what it returns is kept
            instead of the predictions.
        padding: what predictions of shorter batches are filled up with.
    """
    kept, kept_labels = [], []
    total, rows, batches = 0.0, 0, 0
    has_loss = False
    for data in dataset:
        features, labels = model.named_batch(data)
        predictions, loss = predict(features, labels)
        size = int(tf.shape(next(iter(features.values())))[0])
        rows, batches = rows + size, batches + 1
        if loss is not None:
            has_loss = True
            total += float(loss) * size
        if keep_predictions:
            if preprocess is not None:
                predictions = preprocess(only(predictions), only(labels))
            kept.append(predictions)
            kept_labels.append(labels)
    return Evaluation(
        predictions=only(join(kept, padding)) if kept else None,
        label_ids=only(join(kept_labels, PADDING)) if kept and kept_labels[0] else None,
        loss=total / rows if has_loss and rows else None,
        rows=rows,
        batches=batches,
    )


def only(parts: Any) -> Any:
    """Return the one value of a dictionary or tuple; of several, a tuple."""
    if not isinstance(parts, Mapping | tuple | list):
        return parts
    values = tuple(parts.values()) if isinstance(parts, Mapping) else tuple(parts)
    return values[0] if len(values) == 1 else values


def join(batches: list[Any], padding: int) -> Any:
    """Join batches of arrays, or of dictionaries or tuples of them, to NumPy arrays.

    Example:
        >>> join([np.array([[1, 2]]), np.array([[3], [4]])], padding=0).tolist()
        [[1, 2], [3, 0], [4, 0]]
    """
    first = batches[0]
    if isinstance(first, Mapping):
        return {name: join([batch[name] for batch in batches], padding) for name in first}
    if isinstance(first, tuple | list):
        return tuple(join(list(part), padding) for part in zip(*batches))
    arrays = [np.asarray(batch) for batch in batches]
    shape = np.max([array.shape[1:] for array in arrays], axis=0).astype(int)
    padded = np.full((sum(map(len, arrays)), *shape), padding, arrays[0].dtype)
    start = 0
    for array in arrays:
        rows = slice(start, start + len(array))
        padded[(rows, *(slice(size) for size in array.shape[1:]))] = array
        start += len(array)
    return padded
