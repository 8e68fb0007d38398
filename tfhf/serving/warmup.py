"""Warm-up requests: what TF Serving runs on a model before the first client sees it.

The file is a TFRecord of ``tensorflow.serving.PredictionLog`` messages, which hold requests.

Source: ``prediction_log.proto`` of TF Serving, for the field numbers;
https://www.tensorflow.org/tfx/serving/saved_model_warmup for the place of the file.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfhf.serving.predict_request import (
    decode_fields,
    decode_predict_request,
    encode_field,
    encode_predict_request,
)

WARMUP_FILE = Path("assets.extra", "tf_serving_warmup_requests")

# Field numbers: the message that has the field, then the field.
_PREDICTION_LOG_PREDICT_LOG = 6
_PREDICT_LOG_REQUEST = 1


def write_warmup_requests(
    saved_model: str | os.PathLike[str],
    model_name: str,
    requests: Mapping[str, Sequence[Mapping[str, tf.Tensor]]],
) -> None:
    """Write the warm-up requests of a SavedModel into its ``assets.extra``.

    Args:
        saved_model: The version folder.
        model_name: The name that the model is served under.
        requests: Signature name -> requests: input name -> tensor.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     text = tf.constant(["warm-up"])
        ...     write_warmup_requests(folder, "sentiment", {"serving_default": [{"text": text}]})
        ...     sum(1 for _ in tf.data.TFRecordDataset(str(Path(folder, WARMUP_FILE))))
        1
    """
    file = Path(saved_model, WARMUP_FILE)
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for signature_name, examples in requests.items():
            for inputs in examples:
                request = encode_predict_request(signature_name, inputs, model_name)
                writer.write(_encode_log(request))


def read_warmup_requests(
    saved_model: str | os.PathLike[str],
) -> list[tuple[str, dict[str, np.ndarray]]]:
    """Read the warm-up requests of a SavedModel, in their order.

    Args:
        saved_model: The version folder.

    Returns:
        (signature name, {input name: array}) for each request; none where there is no file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     request = {"text": tf.constant(["warm-up"])}
        ...     write_warmup_requests(folder, "sentiment", {"serving_default": [request]})
        ...     read_warmup_requests(folder)
        [('serving_default', {'text': array([b'warm-up'], dtype=object)})]
    """
    file = Path(saved_model, WARMUP_FILE)
    if not file.is_file():
        return []
    records = tf.data.TFRecordDataset(str(file)).as_numpy_iterator()
    return [_decode_log(record) for record in records]


def _encode_log(request: bytes) -> bytes:
    return encode_field(_PREDICTION_LOG_PREDICT_LOG, encode_field(_PREDICT_LOG_REQUEST, request))


def _decode_log(record: bytes) -> tuple[str, dict[str, np.ndarray]]:
    log = dict(decode_fields(record))[_PREDICTION_LOG_PREDICT_LOG]
    return decode_predict_request(dict(decode_fields(log))[_PREDICT_LOG_REQUEST])
