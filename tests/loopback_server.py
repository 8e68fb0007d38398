"""A model server on the loopback interface: what TF Serving says on the wire.

gRPC is spoken by the services of tensorflow-serving-api, REST by a mapping written after
https://www.tensorflow.org/tfx/serving/api_rest; answers come from TensorFlow's C loader. Beyond
what TF Serving does, it fails on request.
"""

import base64
import json
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tfhf.serving.saved_model_process import SavedModelProcess

HTTP_STATUS = {
    "INVALID_ARGUMENT": 400,
    "NOT_FOUND": 404,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


class Failure(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class LoopbackServer:
    """Serves all versions of one model, under the name of their folder.

    ``faults`` holds what the next predictions fail with, (code, message), of which the code LOST
    ends a REST connection without a word; ``slowness`` the seconds that each takes longer; ``log``
    what was asked, (version, signature, rows), in the order of arrival, faults too.
    """

    def __init__(self, directory, labels=None):
        self.name = Path(directory).name
        self.labels = labels or {}
        folders = [path for path in Path(directory).iterdir() if path.name.isdecimal()]
        self.processes = {int(path.name): SavedModelProcess(path, callers=4) for path in folders}
        self.signature_defs = {int(path.name): signature_defs(path) for path in folders}
        self.faults, self.log, self.headers, self.slowness = deque(), [], [], 0

        self.grpc_server = grpc.server(ThreadPoolExecutor(16))
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            PredictionService(self), self.grpc_server
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(
            ModelService(self), self.grpc_server
        )
        self.grpc_url = f"grpc://127.0.0.1:{self.grpc_server.add_insecure_port('127.0.0.1:0')}"
        self.grpc_server.start()

        handler = type("Handler", (RestHandler,), {"served": self})
        self.rest_server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.rest_server.daemon_threads = True
        self.rest_url = f"http://127.0.0.1:{self.rest_server.server_port}"
        threading.Thread(target=self.rest_server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.grpc_server.stop(None).wait()
        self.rest_server.shutdown()
        self.rest_server.server_close()
        for process in self.processes.values():
            process.close()

    def version(self, spec):
        """Find the version that a ModelSpec means."""
        if spec.name != self.name:
            raise Failure("NOT_FOUND", f"Servable not found for request: Latest({spec.name})")
        choice = spec.WhichOneof("version_choice")
        if choice == "version_label":
            if spec.version_label not in self.labels:
                raise Failure("INVALID_ARGUMENT", f"Unrecognized label {spec.version_label}")
            return self.labels[spec.version_label]
        version = spec.version.value if choice else max(self.processes)
        if version not in self.processes:
            raise Failure(
                "NOT_FOUND", f"Servable not found for request: Specific({spec.name}, {version})"
            )
        return version

    def predict(self, request):
        version = self.version(request.model_spec)
        signature_name = request.model_spec.signature_name
        rows = [tensor.tensor_shape.dim[0].size for tensor in request.inputs.values()]
        self.log.append((version, signature_name, max(rows, default=0)))
        time.sleep(self.slowness)
        if self.faults:
            raise Failure(*self.faults.popleft())
        try:
            answer = self.processes[version].submit(request.SerializeToString()).result()
        except tf.errors.OpError as error:
            code = next(code for code in grpc.StatusCode if code.value[0] == error.error_code)
            raise Failure(code.name, error.message) from error
        response = predict_pb2.PredictResponse(
            outputs={name: tf.make_tensor_proto(array) for name, array in answer.outputs.items()}
        )
        response.model_spec.name = self.name
        response.model_spec.version.value = version
        return response

    def metadata(self, spec):
        version = self.version(spec)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = self.name
        response.model_spec.version.value = version
        signatures = get_model_metadata_pb2.SignatureDefMap(
            signature_def=self.signature_defs[version]
        )
        response.metadata["signature_def"].Pack(signatures)
        return response

    def status(self, spec):
        chosen = spec.WhichOneof("version_choice")
        versions = [self.version(spec)] if chosen else sorted(self.processes)
        self.version(spec)
        response = get_model_status_pb2.GetModelStatusResponse()
        for version in versions:
            response.model_version_status.add(version=version, state="AVAILABLE")
        return response


def signature_defs(folder):
    proto = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    return proto.meta_graphs[0].signature_def


def or_abort(context, act, *arguments):
    try:
        return act(*arguments)
    except Failure as failure:
        context.abort(grpc.StatusCode[failure.code], str(failure))


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, served):
        self.served = served

    def Predict(self, request, context):
        self.served.headers.append(dict(context.invocation_metadata()))
        return or_abort(context, self.served.predict, request)

    def GetModelMetadata(self, request, context):
        return or_abort(context, self.served.metadata, request.model_spec)


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, served):
        self.served = served

    def GetModelStatus(self, request, context):
        return or_abort(context, self.served.status, request.model_spec)


class RestHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: LoopbackServer

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self.answer(self.get)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.served.headers.append({name.lower(): value for name, value in self.headers.items()})
        self.answer(self.post, body)

    def answer(self, act, *arguments):
        try:
            status, answer = 200, act(*arguments)
        except Failure as failure:
            if failure.code == "LOST":
                self.close_connection = True
                return
            status, answer = HTTP_STATUS.get(failure.code, 500), {"error": str(failure)}
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def spec(self, path, signature_name=""):
        """Read /v1/models/NAME[/versions/VERSION | /labels/LABEL]."""
        parts = path.split("/")
        if parts[:3] != ["", "v1", "models"] or len(parts) not in (4, 6):
            raise Failure("INVALID_ARGUMENT", f"Malformed request: {self.command} {path}")
        spec = predict_pb2.PredictRequest().model_spec
        spec.name, spec.signature_name = parts[3], signature_name
        if parts[4:5] == ["versions"]:
            spec.version.value = int(parts[5])
        elif parts[4:5] == ["labels"]:
            spec.version_label = parts[5]
        return spec

    def get(self):
        if self.path.endswith("/metadata"):
            spec = self.spec(self.path.removesuffix("/metadata"))
            answer = to_json(self.served.metadata(spec))
            found = get_model_metadata_pb2.SignatureDefMap()
            self.served.metadata(spec).metadata["signature_def"].Unpack(found)
            answer["metadata"] = {"signature_def": to_json(found)}
            return answer
        return to_json(self.served.status(self.spec(self.path)))

    def post(self, body):
        try:
            body = json.loads(body)
        except json.JSONDecodeError as error:
            raise Failure("INVALID_ARGUMENT", f"JSON Parse error: {error}") from error
        name = body.get("signature_name", "serving_default")
        request = predict_pb2.PredictRequest(
            model_spec=self.spec(self.path.removesuffix(":predict"), name)
        )
        version = self.served.version(request.model_spec)
        signature = self.served.signature_defs[version][name]
        rows = "instances" in body
        inputs = columns_of(body["instances"]) if rows else body["inputs"]
        if not is_named(inputs):
            (only,) = signature.inputs
            inputs = {only: inputs}
        for key, values in inputs.items():
            if key not in signature.inputs:
                raise Failure("INVALID_ARGUMENT", f"unexpected tensor name: {key}")
            dtype = tf.as_dtype(signature.inputs[key].dtype)
            try:
                tensor = tf.make_tensor_proto(from_json(values), dtype)
            except (TypeError, ValueError) as error:
                raise Failure("INVALID_ARGUMENT", f"JSON Value: {values} {error}") from error
            request.inputs[key].CopyFrom(tensor)
        response = self.served.predict(request)
        outputs = {
            key: values_of(key, tf.make_ndarray(tensor)) for key, tensor in response.outputs.items()
        }
        if rows:
            found = [dict(zip(outputs, row)) for row in zip(*outputs.values(), strict=True)]
            single = len(outputs) == 1
            return {"predictions": [next(iter(row.values())) for row in found] if single else found}
        return {"outputs": next(iter(outputs.values())) if len(outputs) == 1 else outputs}


def to_json(message):
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def is_named(value):
    return isinstance(value, dict) and set(value) != {"b64"}


def columns_of(instances):
    if not instances or not is_named(instances[0]):
        return instances
    return {name: [instance[name] for instance in instances] for name in instances[0]}


def from_json(values):
    """Replace {"b64": …} by bytes, in nested lists."""
    if isinstance(values, list):
        return [from_json(each) for each in values]
    return base64.b64decode(values["b64"]) if isinstance(values, dict) else values


def values_of(name, array):
    """Nest lists of an output; bytes are text unless the name says otherwise."""
    if array.dtype != object:
        return array.tolist()
    if array.ndim:
        return [values_of(name, np.asarray(each, object)) for each in array]
    value = array.item()
    if name.endswith("_bytes"):
        return {"b64": base64.b64encode(value).decode()}
    return value.decode()
