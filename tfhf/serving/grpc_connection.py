"""TF Serving's gRPC interface. It needs tensorflow-serving-api: ``pip install tfhf[serving]``."""

from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tfhf.serving.connection import (
    ServedModel,
    ServedSignature,
    VersionStatus,
    refused,
    too_late,
)

OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # gRPC waits between attempts to connect, a second and soon minutes: the client does that.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


class GrpcConnection:
    """A server's gRPC interface.

    Args:
        address: Host and port.
        headers: What every request carries, such as a token.
        encrypted: Use TLS.
    """

    def __init__(self, address: str, headers: Mapping[str, str], encrypted: bool) -> None:
        self.headers = [(name.lower(), value) for name, value in headers.items()]
        self.channel = (
            grpc.secure_channel(address, grpc.ssl_channel_credentials(), OPTIONS)
            if encrypted
            else grpc.insecure_channel(address, OPTIONS)
        )
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.model_service = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def predict(
        self,
        model: ServedModel,
        signature_name: str,
        signature: ServedSignature,
        inputs: Mapping[str, np.ndarray],
        timeout: float,
    ) -> dict[str, np.ndarray]:
        """Ask a signature."""
        spec = _spec(model)
        spec.signature_name = signature_name
        request = predict_pb2.PredictRequest(
            model_spec=spec,
            inputs={name: tf.make_tensor_proto(array) for name, array in inputs.items()},
        )
        answer = self._ask(self.prediction.Predict, model, request, timeout)
        return {name: tf.make_ndarray(tensor) for name, tensor in answer.outputs.items()}

    def signatures(self, model: ServedModel, timeout: float) -> dict[str, ServedSignature]:
        """Ask which signatures there are."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=_spec(model), metadata_field=["signature_def"]
        )
        answer = self._ask(self.prediction.GetModelMetadata, model, request, timeout)
        found = get_model_metadata_pb2.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(found)
        return {
            name: ServedSignature(_tensor_specs(entry.inputs), _tensor_specs(entry.outputs))
            for name, entry in found.signature_def.items()
            if entry.inputs  # not what loads the variables
        }

    def status(self, model: ServedModel, timeout: float) -> list[VersionStatus]:
        """Ask which versions there are."""
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=_spec(model))
        answer = self._ask(self.model_service.GetModelStatus, model, request, timeout)
        state = get_model_status_pb2.ModelVersionStatus.State
        return [
            VersionStatus(version.version, state.Name(version.state), version.status.error_message)
            for version in answer.model_version_status
        ]

    def close(self) -> None:
        """Let the server go."""
        self.channel.close()

    def _ask(self, method: Any, model: ServedModel, request: Any, timeout: float) -> Any:
        try:
            return method(request, timeout=timeout, metadata=self.headers)
        except grpc.RpcError as error:
            code, words = error.code().name, error.details() or ""
            if code == "DEADLINE_EXCEEDED":
                raise too_late(model, timeout) from error
            raise refused(model, code, words) from error


def _spec(model: ServedModel) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=model.name)
    if model.version is not None:
        spec.version.value = model.version
    elif model.label is not None:
        spec.version_label = model.label
    return spec


def _tensor_specs(tensors: Mapping[str, meta_graph_pb2.TensorInfo]) -> dict[str, tf.TensorSpec]:
    return {
        name: tf.TensorSpec(tf.TensorShape(tensor.tensor_shape), tf.as_dtype(tensor.dtype))
        for name, tensor in tensors.items()
    }
