"""Warm-up requests: what TF Serving runs on a model before the first client sees it.

The file is a TFRecord of ``tensorflow.serving.PredictionLog`` messages. The package that defines
them, tensorflow-serving-api, is pinned to one TensorFlow and carries a gRPC stack; the four nested
messages in question take a few lines to write, so tfhf does without it.

Source: ``prediction_log.proto``, ``predict.proto`` and ``model.proto`` of TF Serving, for the field
numbers; https://www.tensorflow.org/tfx/serving/saved_model_warmup for the place of the file.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

WARMUP_FILE = Path("assets.extra", "tf_serving_warmup_requests")

# Field numbers: the message that has the field, then the field.
_PREDICTION_LOG_PREDICT_LOG = 6
_PREDICT_LOG_REQUEST = 1
_PREDICT_REQUEST_MODEL_SPEC = 1
_PREDICT_REQUEST_INPUTS = 2
_MODEL_SPEC_NAME = 1
_MODEL_SPEC_SIGNATURE_NAME = 3
_MAP_KEY = 1
_MAP_VALUE = 2


def write_warmup_requests(
    saved_model: str | os.PathLike[str],
    model_name: str,
    requests: Mapping[str, Mapping[str, tf.Tensor]],
) -> None:
    """Write the warm-up requests of a SavedModel into its ``assets.extra``.

    Args:
        saved_model: The version folder.
        model_name: The name that the model is served under.
        requests: Signature name -> input name -> tensor. One request per signature.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     text = tf.constant(["warm-up"])
        ...     write_warmup_requests(folder, "sentiment", {"serving_default": {"text": text}})
        ...     sum(1 for _ in tf.data.TFRecordDataset(str(Path(folder, WARMUP_FILE))))
        1
    """
    file = Path(saved_model, WARMUP_FILE)
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for signature_name, inputs in requests.items():
            writer.write(_prediction_log(model_name, signature_name, inputs))


def _prediction_log(model_name: str, signature_name: str, inputs: Mapping[str, tf.Tensor]) -> bytes:
    model_spec = _field(_MODEL_SPEC_NAME, model_name.encode())
    model_spec += _field(_MODEL_SPEC_SIGNATURE_NAME, signature_name.encode())
    request = _field(_PREDICT_REQUEST_MODEL_SPEC, model_spec)
    for name, tensor in inputs.items():
        value = tf.make_tensor_proto(tensor).SerializeToString()
        entry = _field(_MAP_KEY, name.encode()) + _field(_MAP_VALUE, value)
        request += _field(_PREDICT_REQUEST_INPUTS, entry)
    return _field(_PREDICTION_LOG_PREDICT_LOG, _field(_PREDICT_LOG_REQUEST, request))


def _field(number: int, content: bytes) -> bytes:
    """Encode one length-delimited field (wire type 2) of a protocol buffer."""
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])
