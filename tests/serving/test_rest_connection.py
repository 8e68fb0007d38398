"""REST where the other side is no TensorFlow Serving, and what JSON cannot hold."""

import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import numpy as np
import pytest
import tensorflow as tf

import tfhf
from tfhf.serving.connection import ServedModel, ServedSignature
from tfhf.serving.rest_connection import RestConnection, _from_json

MODEL = ServedModel("films")
NUMBERS = ServedSignature(
    {"x": tf.TensorSpec([None], tf.float32)}, {"y": tf.TensorSpec([None], tf.float32)}
)
TWO = NUMBERS._replace(outputs=NUMBERS.outputs | {"z": tf.TensorSpec([None], tf.string)})
OTHER_KINDS = b"""{
    "outputs": [{"b64": "?"}],
    "metadata": {"signature_def": {"signature_def": [1]}},
    "model_version_status": [{"version": "new"}]
}"""


@contextmanager
def gateway(body, status=200, headers=()):
    """Answer everything so; give the connection to it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *arguments):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    connection = RestConnection(f"http://127.0.0.1:{server.server_port}", {}, 1, False)
    try:
        yield connection
    finally:
        connection.close()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("body", "status", "fault"),
    [
        (b"<html>", 502, "about films: <html> .UNKNOWN."),
        (b"", 503, "about films: Service Unavailable .UNAVAILABLE."),
        (b'"no error here"', 200, 'about films: "no error here" .UNKNOWN.'),
        (b"[1]", 429, r"about films: \[1\] .RESOURCE_EXHAUSTED."),
        (b"null", 200, "about films: null .UNKNOWN."),
        (b"3", 500, "about films: 3 .INTERNAL."),
        (b"{}", 200, "about films cannot be read: KeyError"),
        (b'{"outputs": {"x": 1}, "metadata": 3, "model_version_status": 5}', 200, "cannot be read"),
        (OTHER_KINDS, 200, "about films cannot be read: "),
    ],
)
def test_a_gateway_that_answers_something_else(body, status, fault):
    inputs = {"x": np.zeros(1, np.float32)}
    with gateway(body, status) as rest:
        for ask in (
            lambda: rest.status(MODEL, 9),
            lambda: rest.signatures(MODEL, 9),
            lambda: rest.predict(MODEL, "serving_default", NUMBERS, inputs, 9),
            lambda: rest.predict(MODEL, "serving_default", TWO, inputs, 9),
        ):
            with pytest.raises(tfhf.ServingError, match=fault):
                ask()


def test_a_gateway_that_leads_in_circles():
    circle = gateway(b"", 302, [("Location", "/")])
    with circle as rest, pytest.raises(tfhf.ServingError, match="30 redirects") as error:
        rest.status(MODEL, 9)
    assert error.value.code == "UNKNOWN"


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_numbers_that_json_has_not(number):
    rest = RestConnection("http://localhost", {}, 1, False)
    with pytest.raises(ValueError, match="x: JSON has no NaN and no infinity"):
        rest.predict(MODEL, "", NUMBERS, {"x": np.array([1, number], np.float32)}, 9)


@pytest.mark.parametrize("shape", [(0, 0, 3), (2, 0, 3), (2, 3, 0), (2, 1, 3)])
@pytest.mark.parametrize("dtype", [tf.float32, tf.string])
def test_empty_axes(shape, dtype):
    """Nested lists say nothing of the axes behind an empty one; the metadata may."""
    values = np.zeros(shape, np.float32) if dtype == tf.float32 else np.full(shape, "a", object)
    spec = tf.TensorSpec([None, None, shape[2]], dtype)
    found = _from_json(json.loads(json.dumps(values.tolist())), spec)
    assert found.shape == shape and found.dtype == dtype.as_numpy_dtype
    np.testing.assert_array_equal(found, values)
