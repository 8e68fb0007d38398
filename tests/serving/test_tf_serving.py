import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
import tensorflow as tf

TEXTS = ["a movingly beautiful film!", "", "電影 🎬 CAFÉ."]


@pytest.fixture
def server(tmp_path, classifier, tokenizer):
    """The address of a TF Serving that serves the classifier as `films`."""
    if not shutil.which("tensorflow_model_server"):
        pytest.skip("tensorflow_model_server is not on PATH")
    classifier.export(tmp_path / "films", tokenizer=tokenizer)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            "tensorflow_model_server",
            "--port=0",
            f"--rest_api_port={port}",
            "--model_name=films",
            f"--model_base_path={tmp_path / 'films'}",
        ]
    )
    yield f"http://127.0.0.1:{port}/v1/models/films"
    process.kill()
    process.wait()


def ask(url, body=None, patience=60.0):
    """Get or post JSON, waiting for the server to be up."""
    data = None if body is None else json.dumps(body).encode()
    deadline = time.monotonic() + patience
    while True:
        try:
            with urllib.request.urlopen(url, data, timeout=30) as response:
                return json.load(response)
        except urllib.error.URLError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def test_rest(server, classifier, tokenizer, tmp_path):
    local = tf.saved_model.load(tmp_path / "films" / "1").signatures
    expected = local["serving_default"](text=tf.constant(TEXTS))
    answer = ask(f"{server}:predict", {"inputs": {"text": TEXTS}})["outputs"]
    assert answer["label"] == [label.decode() for label in expected["label"].numpy()]
    np.testing.assert_allclose(answer["scores"], expected["scores"], atol=1e-6)

    tokens = dict(tokenizer(TEXTS[:1]))
    answer = ask(f"{server}:predict", {"signature_name": "tokens", "inputs": tokens})["outputs"]
    np.testing.assert_allclose(answer, classifier(tokens).logits, atol=1e-6)

    (status,) = ask(server)["model_version_status"]
    assert (status["version"], status["state"]) == ("1", "AVAILABLE")
