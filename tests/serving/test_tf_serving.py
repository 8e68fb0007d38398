"""A real tensorflow_model_server, where there is one: named by TFHF_MODEL_SERVER, or on PATH."""

import os
import shutil
import socket
import subprocess
import time

import numpy as np
import pytest
import tensorflow as tf

import tfhf

TEXTS = ["a movingly beautiful film!", "", "電影 🎬 CAFÉ.", "bad \0 film"]
SERVER = os.environ.get("TFHF_MODEL_SERVER") or shutil.which("tensorflow_model_server")
CONFIG = """
model_config_list {{
  config {{
    name: "films"
    base_path: "{base_path}"
    model_platform: "tensorflow"
    model_version_policy {{ specific {{ versions: 1 versions: 2 }} }}
    version_labels {{ key: "stable" value: 1 }}
  }}
}}
"""

pytestmark = pytest.mark.skipif(not SERVER, reason="there is no tensorflow_model_server")


@pytest.fixture(scope="module")
def server(exported, tmp_path_factory):
    """The URLs of two versions of the classifier, with batching: REST and gRPC."""
    models = tmp_path_factory.mktemp("models")
    for version in ("1", "2"):
        shutil.copytree(exported[0], models / "films" / version)
    (models / "models.config").write_text(CONFIG.format(base_path=models / "films"))
    ports = []
    with socket.socket() as first, socket.socket() as second:
        for free in (first, second):
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    command = [
        SERVER,
        f"--port={ports[0]}",
        f"--rest_api_port={ports[1]}",
        f"--model_config_file={models / 'models.config'}",
        "--allow_version_labels_for_unavailable_models=true",
        "--enable_batching=true",
        f"--batching_parameters_file={models / 'films/1/batching_params.pbtxt'}",
    ]
    process = subprocess.Popen(command)
    urls = {"rest": f"http://127.0.0.1:{ports[1]}", "grpc": f"grpc://127.0.0.1:{ports[0]}"}
    deadline = time.monotonic() + 120
    with tfhf.ServingClient(urls["rest"], "films") as films:
        while not films.is_ready():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.2)
    yield urls
    process.kill()
    process.wait()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("rest", {}),
        ("rest", {"row_format": True}),
        ("rest", {"label": "stable"}),
        ("grpc", {}),
        ("grpc", {"version": 1}),
    ],
)
def test_it_answers_as_python(server, exported, kind, options):
    local = tf.saved_model.load(exported[0]).signatures["serving_default"]
    texts = TEXTS * 10
    expected = local(text=tf.constant(texts))
    with tfhf.ServingClient(server[kind], "films", batch_size=7, **options) as films:
        outputs = films.predict(texts)
        assert outputs["label"].tolist() == [label.decode() for label in expected["label"].numpy()]
        np.testing.assert_allclose(outputs["scores"], expected["scores"], atol=1e-5)

        names = ("input_ids", "attention_mask", "token_type_ids")
        tokens = {name: [[1, 1, 1]] for name in names}
        logits = exported[1](**{name: tf.constant(ids) for name, ids in tokens.items()}).logits
        np.testing.assert_allclose(films.predict(tokens, "tokens")["logits"], logits, atol=1e-5)

        assert set(films.signatures()) == {"serving_default", "tokens"}
        assert {status.state for status in films.status()} == {"AVAILABLE"}


@pytest.mark.parametrize("kind", ["rest", "grpc"])
def test_what_it_refuses(server, kind):
    with pytest.raises(tfhf.ServingError) as error:
        tfhf.ServingClient(server[kind], "books").predict(["a"])
    assert error.value.code == "NOT_FOUND"
