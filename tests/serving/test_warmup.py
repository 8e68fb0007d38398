import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tensorflow.core.framework import tensor_pb2

from tfhf.serving.warmup import WARMUP_FILE, read_warmup_requests, write_warmup_requests


@pytest.fixture(scope="module")
def prediction_log():
    """The messages as TF Serving's .proto files define them, read by the protobuf library."""
    file = descriptor_pb2.FileDescriptorProto(name="log.proto", package="serving", syntax="proto3")

    def message(name, *fields, within=file.message_type):
        added = within.add(name=name)
        for field, number, kind, *repeated in fields:
            field = added.field.add(name=field, number=number, label=3 if repeated else 1)
            if kind in ("string", "bytes"):
                field.type = {"string": 9, "bytes": 12}[kind]
            else:
                field.type, field.type_name = 11, f".serving.{kind}"
        return added

    message("PredictionLog", ("predict_log", 6, "PredictLog"))
    message("PredictLog", ("request", 1, "PredictRequest"))
    message("ModelSpec", ("name", 1, "string"), ("signature_name", 3, "string"))
    request = message(
        "PredictRequest",
        ("model_spec", 1, "ModelSpec"),
        ("inputs", 2, "PredictRequest.InputsEntry", "repeated"),
    )
    # The value is a TensorProto: on the wire, a message and its bytes are the same.
    entry = message(
        "InputsEntry", ("key", 1, "string"), ("value", 2, "bytes"), within=request.nested_type
    )
    entry.options.map_entry = True
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("serving.PredictionLog"))


def requests_in(folder, prediction_log):
    """Decode the file: signature name -> input name -> array, and the model's names."""
    requests, names = {}, set()
    for record in tf.data.TFRecordDataset(str(folder / WARMUP_FILE)).as_numpy_iterator():
        request = prediction_log.FromString(record).predict_log.request
        names.add(request.model_spec.name)
        requests[request.model_spec.signature_name] = {
            name: tf.make_ndarray(tensor_pb2.TensorProto.FromString(value))
            for name, value in request.inputs.items()
        }
    return requests, names


def test_requests_read_back(tmp_path, prediction_log):
    long = "é" * 10_000  # lengths that need three bytes
    written = {
        "serving_default": [{"text": tf.constant(["", "film", long])}],
        "tokens": [
            {
                "input_ids": tf.constant([[1, 2, -3]]),
                "attention_mask": tf.zeros((2, 0), tf.int32),
            }
        ],
    }
    write_warmup_requests(tmp_path, "movie-sentiment", written)
    requests, names = requests_in(tmp_path, prediction_log)
    assert names == {"movie-sentiment"}
    assert list(requests) == ["serving_default", "tokens"]
    assert [text.decode() for text in requests["serving_default"]["text"]] == ["", "film", long]
    np.testing.assert_array_equal(requests["tokens"]["input_ids"], [[1, 2, -3]])
    assert requests["tokens"]["input_ids"].dtype == np.int32
    assert requests["tokens"]["attention_mask"].shape == (2, 0)


def test_exported_requests_run(exported):
    """What the export wrote is accepted by the signatures that it is for, in all batch sizes."""
    signatures = tf.saved_model.load(exported[0]).signatures
    sizes = {"serving_default": [], "tokens": []}
    for name, inputs in read_warmup_requests(exported[0]):
        outputs = signatures[name](**{key: tf.constant(value) for key, value in inputs.items()})
        (size,) = {value.shape[0] for value in outputs.values()}
        sizes[name].append(size)
    assert sizes["serving_default"] == sizes["tokens"] == [1, 2, 4, 8, 16, 32]
