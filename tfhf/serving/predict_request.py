"""TF Serving's ``PredictRequest``, as bytes.

The package that defines it, tensorflow-serving-api, is pinned to one TensorFlow and carries a gRPC
stack; its few nested fields take a few lines to write and to read, so that exporting and checking
do without it.

Source: ``predict.proto`` and ``model.proto`` of TF Serving, for the field numbers.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

# Field numbers: the message that has the field, then the field.
_PREDICT_REQUEST_MODEL_SPEC = 1
_PREDICT_REQUEST_INPUTS = 2
_MODEL_SPEC_NAME = 1
_MODEL_SPEC_SIGNATURE_NAME = 3
_MAP_KEY = 1
_MAP_VALUE = 2


def encode_predict_request(
    signature_name: str, inputs: Mapping[str, Any], model_name: str = ""
) -> bytes:
    """Write a request.

    Args:
        signature_name: The signature that is asked.
        inputs: Input name -> tensor, or what ``tf.make_tensor_proto`` takes.
        model_name: The name that the model is served under.

    Example:
        >>> request = encode_predict_request("serving_default", {"text": ["a", "b"]})
        >>> decode_predict_request(request)
        ('serving_default', {'text': array([b'a', b'b'], dtype=object)})
    """
    spec = encode_field(_MODEL_SPEC_NAME, model_name.encode())
    spec += encode_field(_MODEL_SPEC_SIGNATURE_NAME, signature_name.encode())
    request = encode_field(_PREDICT_REQUEST_MODEL_SPEC, spec)
    for name, tensor in inputs.items():
        value = tf.make_tensor_proto(tensor).SerializeToString()
        entry = encode_field(_MAP_KEY, name.encode()) + encode_field(_MAP_VALUE, value)
        request += encode_field(_PREDICT_REQUEST_INPUTS, entry)
    return request


def decode_predict_request(request: bytes) -> tuple[str, dict[str, np.ndarray]]:
    """Read a request that `encode_predict_request` wrote: the signature's name, and the inputs."""
    signature_name, inputs = "", {}
    for number, content in decode_fields(request):
        if number == _PREDICT_REQUEST_MODEL_SPEC:
            signature_name = dict(decode_fields(content))[_MODEL_SPEC_SIGNATURE_NAME].decode()
        elif number == _PREDICT_REQUEST_INPUTS:
            entry = dict(decode_fields(content))
            tensor = tensor_pb2.TensorProto.FromString(entry[_MAP_VALUE])
            inputs[entry[_MAP_KEY].decode()] = tf.make_ndarray(tensor)
    return signature_name, inputs


def encode_field(number: int, content: bytes) -> bytes:
    """Write one length-delimited field (wire type 2) of a protocol buffer."""
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def decode_fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Read a message of length-delimited fields with numbers below 16: numbers and contents."""
    position = 0
    while position < len(message):
        number = message[position] >> 3
        size, shift, more = 0, 0, True
        while more:
            position += 1
            size |= (message[position] & 0x7F) << shift
            shift += 7
            more = message[position] > 0x7F
        position += 1
        yield number, message[position : position + size]
        position += size


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])
