"""tfhf.ServingClient over REST and gRPC, against a server on the loopback interface."""

import asyncio
import shutil
import socket
import sys
import threading
import time
from concurrent.futures import Future
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from loopback_server import LoopbackServer
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

import tfhf
from tfhf.serving import client
from tfhf.serving.predict_request import decode_predict_request
from tfhf.serving.saved_model_process import Answer

TEXTS = ["a movingly beautiful film!", "", "電影 🎬 CAFÉ.", "bad \0 film", "zz, zz"]


@pytest.fixture(scope="module")
def server(exported, tmp_path_factory):
    """Two versions of a classifier, of which the label `stable` has the first."""
    films = tmp_path_factory.mktemp("served") / "films"
    for version in ("1", "2"):
        shutil.copytree(exported[0], films / version)
    server = LoopbackServer(films, labels={"stable": 1})
    yield server
    server.close()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(client, "FIRST_PAUSE", 0.001)


@pytest.fixture(params=["rest", "rest rows", "grpc"])
def connect(request, server):
    """Make clients of one kind."""
    server.log.clear()
    server.headers.clear()
    server.faults.clear()
    server.slowness = 0
    made = []

    def connect(**options):
        if request.param == "rest rows":
            options["row_format"] = True
        url = server.grpc_url if request.param == "grpc" else server.rest_url
        made.append(tfhf.ServingClient(url, options.pop("model", "films"), **options))
        return made[-1]

    yield connect
    for each in made:
        each.close()


@pytest.fixture(scope="module")
def expected(exported):
    """What Python answers to each text."""
    served = tf.saved_model.load(exported[0]).signatures["serving_default"]
    return {
        text: {name: value.numpy()[0] for name, value in served(text=tf.constant([text])).items()}
        for text in TEXTS
    }


def check(outputs, texts, expected):
    assert outputs["label"].tolist() == [expected[text]["label"].decode() for text in texts]
    scores = [expected[text]["scores"] for text in texts]
    np.testing.assert_allclose(outputs["scores"], scores, atol=1e-6)
    assert outputs["scores"].dtype == np.float32


def test_one_request(connect, server, expected):
    outputs = connect().predict(TEXTS)
    check(outputs, TEXTS, expected)
    assert server.log == [(2, "serving_default", 5)]


def test_many_rows_in_parallel_and_in_order(connect, server, expected):
    texts = [TEXTS[i % 5] for i in range(53)]
    server.slowness = 0.01
    check(connect(batch_size=4, connections=3).predict({"text": texts}), texts, expected)
    assert sorted(rows for _, _, rows in server.log) == [1] + [4] * 13


def test_bytes_and_single_texts(connect, expected):
    films = connect()
    check(films.predict([text.encode() for text in TEXTS]), TEXTS, expected)
    check(films.predict(np.array(TEXTS)[[0, 2]]), [TEXTS[0], TEXTS[2]], expected)
    check(films.predict(TEXTS[2]), TEXTS[2:3], expected)
    assert films.predict([b"\xff\xfe bad"])["label"].shape == (1,)


def test_no_rows_need_no_server(connect, server):
    outputs = connect().predict([])
    assert outputs["label"].shape == (0,) and outputs["scores"].shape == (0, 3)
    assert not server.log


def test_other_signatures(connect, exported):
    _, model, _ = exported
    inputs = {"input_ids": [[2, 5, 3], [2, 6, 3]], "attention_mask": [1, 1, 1]}  # one for both rows
    outputs = connect().predict(inputs | {"token_type_ids": [0, 0, 0]}, "tokens")
    logits = model(np.array(inputs["input_ids"])).logits
    np.testing.assert_allclose(outputs["logits"], logits, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "version"), [({}, 2), ({"version": 1}, 1), ({"label": "stable"}, 1)]
)
def test_the_version(connect, server, options, version):
    films = connect(**options)
    films.predict(TEXTS[:1])
    assert server.log == [(version, "serving_default", 1)]
    assert films.is_ready()


def test_metadata_and_status(connect):
    films = connect()
    assert set(films.signatures()) == {"serving_default", "tokens"}
    inputs, outputs = films.signatures()["serving_default"]
    assert inputs == {"text": tf.TensorSpec([None], tf.string)}
    assert outputs["scores"] == tf.TensorSpec([None, 3], tf.float32)
    assert [(status.version, status.state) for status in films.status()] == [
        (1, "AVAILABLE"),
        (2, "AVAILABLE"),
    ]
    assert not connect(model="books").is_ready()
    assert not connect(version=3).is_ready()


def test_what_is_refused_is_not_asked_again(connect, server):
    with pytest.raises(tfhf.ServingError, match="NOT_FOUND") as error:
        connect(model="books").predict(TEXTS)
    assert error.value.code == "NOT_FOUND"
    for code in ("INVALID_ARGUMENT", "INTERNAL"):
        server.log.clear()
        server.faults.append((code, "so it is"))
        with pytest.raises(tfhf.ServingError, match=f"about films: so it is .{code}.") as error:
            connect().predict(TEXTS)
        assert error.value.code == code and len(server.log) == 1


def test_what_is_not_there_is_asked_again(connect, server, expected):
    server.faults.extend([("UNAVAILABLE", "loading")] * 3)
    check(connect(retries=3).predict(TEXTS), TEXTS, expected)
    assert len(server.log) == 4
    server.faults.extend([("UNAVAILABLE", "still loading")] * 3)
    with pytest.raises(tfhf.ServingError, match="still loading") as error:
        connect(retries=2).predict(TEXTS)
    assert error.value.code == "UNAVAILABLE" and not server.faults


def test_pauses_double_and_end_with_the_deadline(connect, server, monkeypatch):
    pauses = []
    clock = SimpleNamespace(sleep=pauses.append, monotonic=time.monotonic)
    monkeypatch.setattr(client, "time", clock)
    monkeypatch.setattr(client, "FIRST_PAUSE", 1.0)
    films = connect(retries=9)
    films.signatures()
    server.faults.extend([("UNAVAILABLE", "loading")] * 10)
    with pytest.raises(tfhf.ServingError, match="loading"):
        films.predict(TEXTS, timeout=1e3)
    bounds = [1, 2, 4, 5, 5, 5, 5, 5, 5]
    assert all(bound / 2 <= pause <= bound for pause, bound in zip(pauses, bounds, strict=True))
    pauses.clear()
    server.faults.extend([("UNAVAILABLE", "loading")] * 10)
    with pytest.raises(tfhf.ServingError, match="loading"):
        films.predict(TEXTS, timeout=1.5)
    assert len(pauses) < 9


def test_the_deadline(connect, server):
    films = connect()
    films.signatures()
    films.predict(TEXTS[:1])
    server.slowness = 0.6
    with pytest.raises(tfhf.ServingError, match=r"films gave no answer within 0\.\d+ s") as error:
        films.predict(TEXTS, timeout=0.2)
    assert error.value.code == "DEADLINE_EXCEEDED"
    assert len(server.log) == 2
    with pytest.raises(tfhf.ServingError, match="within 0 s"):
        films.predict(TEXTS, timeout=0)


def test_the_deadline_while_all_threads_are_busy(server, monkeypatch):
    predict, entered, gate = server.predict, threading.Event(), threading.Event()

    def wait(request):
        entered.set()
        gate.wait(10)
        return predict(request)

    with tfhf.ServingClient(server.rest_url, "films", connections=1) as films:
        films.predict(TEXTS[:1])
        monkeypatch.setattr(server, "predict", wait)
        busy = threading.Thread(target=films.predict, args=(TEXTS[:1],))
        busy.start()
        assert entered.wait(60)
        late = {"match": r"films gave no answer within 0\.05 s"}
        with pytest.raises(tfhf.ServingError, **late):
            films.predict(TEXTS, timeout=0.05)
        for ask in (
            films.apredict(TEXTS, timeout=0.05),
            films.asignatures(timeout=0.05),
            films.astatus(timeout=0.05),
        ):
            with pytest.raises(tfhf.ServingError, **late) as error:
                asyncio.run(awaited(ask))
            assert error.value.code == "DEADLINE_EXCEEDED"
        assert not asyncio.run(films.ais_ready(timeout=0.05))
        assert busy.is_alive()
        gate.set()
        busy.join()


async def awaited(awaitable):
    return await awaitable


class Version:
    """A version of a model that needs no model: it has names, and checks those of its inputs."""

    def __init__(self, inputs, outputs):
        self.inputs, self.outputs = inputs, outputs

    @property
    def signature_defs(self):
        text = meta_graph_pb2.TensorInfo(dtype=types_pb2.DT_STRING)
        text.tensor_shape.dim.add(size=-1)
        inputs, outputs = (dict.fromkeys(names, text) for names in (self.inputs, self.outputs))
        return {"serving_default": meta_graph_pb2.SignatureDef(inputs=inputs, outputs=outputs)}

    def submit(self, request):
        inputs = decode_predict_request(request)[1]
        if set(inputs) != set(self.inputs):
            raise tf.errors.InvalidArgumentError(None, None, "other inputs")
        answer = Future()
        outputs = {name: np.array([name.encode()], object) for name in self.outputs}
        answer.set_result(Answer(outputs, 0.0, [0.0]))
        return answer

    def close(self):
        pass


@pytest.mark.parametrize("kind", ["rest", "rest rows", "grpc"])
def test_a_new_version_has_another_signature(kind, tmp_path):
    server = LoopbackServer(tmp_path)

    def serve(number, inputs, outputs):
        server.processes[number] = Version(inputs, outputs)
        server.signature_defs[number] = server.processes[number].signature_defs

    serve(1, ["text"], ["label", "score"])
    url = server.grpc_url if kind == "grpc" else server.rest_url
    options = {"row_format": kind == "rest rows"}
    films = tfhf.ServingClient(url, server.name, **options)
    first = tfhf.ServingClient(url, server.name, version=1, **options)
    both = {"text": ["a"], "text_pair": ["b"]}
    assert set(films.predict(["a"])) == set(first.predict(["a"])) == {"label", "score"}
    serve(2, both, ["label", "why"])  # other inputs, which the client learns when they are given
    with pytest.raises(ValueError, match="takes text, text_pair: expected a dictionary"):
        films.predict(["a"])
    assert set(films.predict(both)) == {"label", "why"}
    for number, outputs in enumerate((["name"], ["label", "score"], ["score"]), 3):
        serve(number, both, outputs)
        asked = films.predict(both) if number % 2 else asyncio.run(films.apredict(both))
        assert set(asked) == set(outputs)
    serve(9, ["words"], ["label"])
    assert films.predict({"words": ["a"]})["label"].tolist() == ["label"]
    assert set(first.predict(["a"])) == {"label", "score"}
    with pytest.raises(ValueError, match="the signature takes text, but they are text, text_pair"):
        first.predict(both)
    for client_ in (films, first):
        client_.close()
    server.close()


def test_headers(connect, server):
    connect(headers={"Authorization": "Bearer me"}).predict(TEXTS)
    assert [headers["authorization"] for headers in server.headers] == ["Bearer me"]


def test_async(connect, server, expected):
    async def ask(films):
        assert await films.ais_ready()
        assert len(await films.astatus()) == 2 and "tokens" in await films.asignatures()
        both = await asyncio.gather(films.apredict(TEXTS), films.apredict(TEXTS[::-1]))
        with pytest.raises(ValueError, match="no 'other'"):
            await films.apredict(TEXTS, "other")
        return both

    server.faults.append(("UNAVAILABLE", "loading"))
    first, second = asyncio.run(ask(connect(batch_size=2)))
    check(first, TEXTS, expected)
    check(second, TEXTS[::-1], expected)


def test_one_client_for_many_threads(connect, expected):
    films = connect(batch_size=2)
    answers = {}

    def ask(i):
        texts = [TEXTS[(i + j) % 5] for j in range(7)]
        answers[i] = films.predict(texts), texts

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for outputs, texts in answers.values():
        check(outputs, texts, expected)
    assert len(answers) == 8


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"words": ["a"]}, "inputs: the signature takes text, but they are words"),
        ({}, "but they are none"),
        ([["a"]], r"text: expected the shape \(None,\), but it has the shape \(1, 1\)"),
        (["a", 3], "text: expected texts, but there is a int"),
        ([None], "text: expected texts, but there is a NoneType"),
    ],
)
def test_texts_that_do_not_fit(connect, server, inputs, message):
    with pytest.raises(ValueError, match=message):
        connect().predict(inputs)
    assert not server.log


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("localhost:8501", {}, "url: expected http://…, .* but it is 'localhost:8501'"),
        ("grpc:8500", {}, "url: expected"),
        ("http://", {}, "url: expected"),
        ("https:///v1", {}, "url: expected"),
        ("grpc://:8500", {}, "url: expected"),
        ("http://x", {"version": 1, "label": "a"}, "expected one of them at most"),
        ("http://x", {"batch_size": 0}, "batch_size: expected 1 at least"),
        ("http://x", {"connections": 0}, "connections: expected 1 at least"),
        ("http://x", {"retries": -1}, "retries: expected 0 at least"),
        ("grpc://x:1", {"row_format": True}, "row_format: gRPC has no rows"),
    ],
)
def test_impossible_clients(url, options, message):
    with pytest.raises(ValueError, match=message):
        tfhf.ServingClient(url, "films", **options)


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_nobody_is_there(scheme):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    films = tfhf.ServingClient(f"{scheme}://127.0.0.1:{port}", "films", retries=2, timeout=20)
    assert not films.is_ready()
    words = "does not answer: is the server running there" if scheme == "http" else "refused"
    with pytest.raises(tfhf.ServingError, match=words) as error:
        films.predict(["a"])
    assert error.value.code == "UNAVAILABLE"


def test_lost_connections_are_tried_again(server, expected):
    server.faults.extend([("LOST", "")] * 2)
    with tfhf.ServingClient(server.rest_url, "films") as films:
        check(films.predict(TEXTS), TEXTS, expected)
    assert not server.faults


def test_grpc_needs_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
    monkeypatch.delitem(sys.modules, "tfhf.serving.grpc_connection", raising=False)
    with pytest.raises(ImportError, match=r"grpc://x:1 needs tensorflow-serving-api: pip install"):
        tfhf.ServingClient("grpc://x:1", "films")
