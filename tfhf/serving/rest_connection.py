"""TF Serving's REST interface, and KServe's first one, which is the same.

Source: https://www.tensorflow.org/tfx/serving/api_rest
"""

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import requests
import tensorflow as tf
from tensorflow.core.framework import types_pb2

from tfhf.serving.connection import (
    ServedModel,
    ServedSignature,
    VersionStatus,
    no_answer,
    refused,
    too_late,
    unreadable,
)

CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    412: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class RestConnection:
    """A server's REST interface.

    Args:
        url: What comes before ``/v1/models``.
        headers: What every request carries, such as a token.
        connections: How many requests run at the same time.
        row_format: Send ``instances``, a row each, in place of ``inputs``, a column each.
    """

    def __init__(
        self, url: str, headers: Mapping[str, str], connections: int, row_format: bool
    ) -> None:
        self.url = url.rstrip("/")
        self.row_format = row_format
        self.session = requests.Session()
        self.session.headers.update(headers)
        for scheme in ("http://", "https://"):
            adapter = requests.adapters.HTTPAdapter(pool_maxsize=connections)
            self.session.mount(scheme, adapter)

    def predict(
        self,
        model: ServedModel,
        signature_name: str,
        signature: ServedSignature,
        inputs: Mapping[str, np.ndarray],
        timeout: float,
    ) -> dict[str, np.ndarray]:
        """Ask a signature."""
        for name, array in inputs.items():
            if array.dtype != object and not np.isfinite(array).all():
                raise ValueError(
                    f"{name}: JSON has no NaN and no infinity; expected finite numbers"
                )
        columns = {name: _to_json(array) for name, array in inputs.items()}
        body: dict[str, Any] = {"signature_name": signature_name}
        if self.row_format:
            if scalars := [name for name, array in inputs.items() if not array.ndim]:
                raise ValueError(f"row_format: {', '.join(scalars)} has no rows")
            rows = zip(*columns.values(), strict=True)
            body["instances"] = [dict(zip(columns, row, strict=True)) for row in rows]
        else:
            body["inputs"] = columns
        answer = self._ask(model, ":predict", timeout, body)
        specs = signature.outputs
        with _reading(model):
            found = answer["predictions"] if self.row_format else answer["outputs"]
            if len(specs) == 1:  # then its name is left out
                (name,) = specs
                found = [{name: row} for row in found] if self.row_format else {name: found}
            if self.row_format:
                found = {name: [row[name] for row in found] for name in specs}
            return {name: _from_json(found[name], spec) for name, spec in specs.items()}

    def signatures(self, model: ServedModel, timeout: float) -> dict[str, ServedSignature]:
        """Ask which signatures there are."""
        answer = self._ask(model, "/metadata", timeout)
        with _reading(model):
            found = answer["metadata"]["signature_def"]["signature_def"]
            return {
                name: ServedSignature(_specs(entry["inputs"]), _specs(entry["outputs"]))
                for name, entry in found.items()
                if entry.get("inputs")  # not what loads the variables
            }

    def status(self, model: ServedModel, timeout: float) -> list[VersionStatus]:
        """Ask which versions there are."""
        answer = self._ask(model, "", timeout)
        with _reading(model):
            return [
                VersionStatus(
                    int(version["version"]),
                    version["state"],
                    version.get("status", {}).get("error_message", ""),
                )
                for version in answer["model_version_status"]
            ]

    def close(self) -> None:
        """Let the server go."""
        self.session.close()

    def _ask(
        self, model: ServedModel, what: str, timeout: float, body: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        path = f"{self.url}/v1/models/{model.name}"
        if model.version is not None:
            path += f"/versions/{model.version}"
        elif model.label is not None:
            path += f"/labels/{model.label}"
        method = "GET" if body is None else "POST"
        try:
            response = self.session.request(method, path + what, json=body, timeout=timeout)
        except requests.Timeout as error:
            raise too_late(model, timeout) from error
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            raise no_answer(self.url) from error
        except requests.RequestException as error:
            raise refused(model, "UNKNOWN", str(error)) from error
        try:
            answer = response.json()
        except requests.JSONDecodeError:  # a gateway's page, perhaps
            answer = None
        if not isinstance(answer, dict):
            answer = {"error": response.text[:200] or response.reason}
        if response.status_code != 200 or "error" in answer:
            code = CODES.get(response.status_code, "UNKNOWN")
            raise refused(model, code, str(answer.get("error", answer)))
        return answer


@contextmanager
def _reading(model: ServedModel) -> Iterator[None]:
    """What is read of an answer may be missing in it, or be of another kind."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise unreadable(model, repr(error)) from error


def _to_json(array: np.ndarray) -> Any:
    """Nest lists; what is no text is written in base64."""
    if array.dtype != object:
        return array.tolist()
    if array.ndim:
        return [_to_json(np.asarray(each, object)) for each in array]
    text = array.item()
    if isinstance(text, bytes):
        return {"b64": base64.b64encode(text).decode()}
    return text


def _from_json(values: Any, spec: tf.TensorSpec) -> np.ndarray:
    array = np.array(values, spec.dtype.as_numpy_dtype)
    if array.dtype == object:
        for i, each in enumerate(array.flat):
            if isinstance(each, dict):
                array.flat[i] = base64.b64decode(each["b64"])
    if not array.size and spec.shape.rank is not None:  # nested lists end with an empty axis
        array = array.reshape(array.shape + tuple(n or 0 for n in spec.shape[array.ndim :]))
    return array


def _specs(tensors: dict[str, Any]) -> dict[str, tf.TensorSpec]:
    return {name: _spec(tensor) for name, tensor in tensors.items()}


def _spec(tensor: dict[str, Any]) -> tf.TensorSpec:
    shape = tensor["tensor_shape"]
    sizes = [int(dim["size"]) for dim in shape.get("dim", [])]
    unknown = shape.get("unknown_rank", False)
    return tf.TensorSpec(
        None if unknown else [None if size < 0 else size for size in sizes],
        tf.as_dtype(types_pb2.DataType.Value(tensor["dtype"])),
    )
