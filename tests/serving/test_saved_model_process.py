"""The C program in tfhf/serving/c, driven from Python: right, whatever it is asked."""

import os
import random
import shutil
import signal
from concurrent.futures import wait
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tfhf.serving import saved_model_process
from tfhf.serving.predict_request import encode_predict_request
from tfhf.serving.saved_model_process import SavedModelProcess


@pytest.fixture(scope="module")
def process(exported, program):
    with SavedModelProcess(exported[0], callers=4) as process:
        yield process


@pytest.fixture(scope="module")
def classify(exported):
    """What Python answers to texts: labels and scores."""
    served = tf.saved_model.load(exported[0]).signatures["serving_default"]
    return lambda texts: {
        name: value.numpy()
        for name, value in served(text=tf.constant(texts, tf.string, [len(texts)])).items()
    }


def hostile_texts(count):
    """Nothing, much, what is no text, and what tokenizers stumble over."""
    draw = random.Random(0)
    texts = [
        b"",
        b" ",
        b"\0",
        b"film\0bad\0",
        b"\xff\xfe\xfd",
        b"film \xc3",
        b"\xed\xa0\x80 surrogate",
        b"\xf4\x90\x80\x80 beyond unicode",
        b"\xc0\xaf overlong",
        b"\x80" * 5000,
        "\u202e\u200b\u200d\ufeff film".encode(),
        ("e" + "\u0301" * 2000).encode(),
        ("👩‍👩‍👧‍👦" * 300).encode(),
        b"z" * 100_000,
        b"[CLS] [SEP] [PAD] [MASK] [UNK]" * 40,
        b"[CLS" * 500 + b"]" * 500,
        b"%s%n%x" * 50,
        b"'; DROP TABLE films; --",
        b'{"b64": "!"}\\u0000\n\r\t',
        b"##z##" * 1000,
        b"film " * 200_000,  # 1 MB
        "電影".encode() * 170_000,  # 1 MB without a space
        b"\xff" * 1_000_000,
    ]
    while len(texts) < count:
        size = draw.choice([3, 20, 200])
        texts.append(
            draw.randbytes(size)
            if draw.random() < 0.5
            else " ".join(draw.choices(["a", "film", "bad", "é", "🎬"], k=size)).encode()
        )
    return texts


def ask_at_once(process, classify, texts, requests, largest_batch):
    """Ask in batches that mix any texts, in any order; compare each answer with Python's."""
    single = [classify([text]) for text in texts]
    distinct = {tuple(np.round(answer["scores"][0], 4)) for answer in single}
    assert len(distinct) > len(texts) / 3  # otherwise, no mix-up would be seen
    draw = random.Random(1)
    asked = []
    for _ in range(requests):
        rows = draw.choices(range(len(texts)), k=draw.randint(1, largest_batch))
        request = encode_predict_request("serving_default", {"text": [texts[i] for i in rows]})
        asked.append((process.submit(request), rows))
    for future, rows in asked:
        outputs = future.result().outputs
        assert outputs["label"].tolist() == [single[i]["label"][0] for i in rows]
        expected = np.concatenate([single[i]["scores"] for i in rows])
        np.testing.assert_allclose(outputs["scores"], expected, atol=1e-5)


def test_hostile_texts_and_no_answer_mixed_up(process, classify):
    texts = [text for text in hostile_texts(40) if len(text) < 10_000]
    ask_at_once(process, classify, texts, requests=150, largest_batch=4)


@pytest.mark.slow
def test_under_load(exported, program, classify):
    """10,000 requests by 16 threads; memory does not grow with their number."""
    texts = hostile_texts(120)
    with SavedModelProcess(exported[0], callers=16) as process:
        ask_at_once(process, classify, texts, requests=1000, largest_batch=3)
        memory = [process.memory()[0]]
        for _ in range(3):
            ask_at_once(process, classify, texts, requests=3000, largest_batch=3)
            memory.append(process.memory()[0])
    print(f"resident memory after 1,000, 4,000, 7,000 and 10,000 requests: {memory} MB")
    assert memory[-1] - memory[1] < 60, memory


def test_a_bad_text_among_good_ones(process, classify):
    texts = [b"a beautiful film", b"\xff\xff\xff", b"bad", b"z" * 100_000]
    outputs = process.predict({"text": texts})
    for row, text in enumerate(texts):
        expected = classify([text])
        assert outputs["label"][row] == expected["label"][0]
        np.testing.assert_allclose(outputs["scores"][row], expected["scores"][0], atol=1e-6)


@pytest.mark.parametrize(
    ("signature_name", "inputs", "message"),
    [
        ("nothing", {}, "the model has no signature nothing"),
        ("serving_default", {"words": ["a"]}, "the signature serving_default has no input words"),
        ("serving_default", {}, "the signature serving_default needs the input text"),
        ("serving_default", {"text": [1.0]}, "string"),
        ("serving_default", {"text": [["a"]]}, "shape"),
        ("tokens", {"input_ids": [[7]]}, "the signature tokens needs the input"),
    ],
)
def test_what_cannot_be_answered_is_refused(process, classify, signature_name, inputs, message):
    with pytest.raises(tf.errors.OpError, match=message):
        process.predict(inputs, signature_name)
    expected = classify(["film"])["scores"]
    np.testing.assert_allclose(process.predict({"text": ["film"]})["scores"], expected, atol=1e-6)


def test_damaged_requests_are_refused(process):
    request = encode_predict_request("serving_default", {"text": ["a", "film"]})
    draw = random.Random(0)
    futures = [process.submit(request[:size]) for size in range(len(request))]
    for _ in range(300):
        damaged = bytearray(request)
        damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        futures.append(process.submit(bytes(damaged)))
    wait(futures)
    failed = [future.exception() for future in futures if future.exception()]
    assert len(failed) > 100
    assert {type(error) for error in failed} <= {
        tf.errors.InvalidArgumentError,
        tf.errors.InternalError,
    }
    assert process.predict({"text": ["film"]})["label"].shape == (1,)


def test_an_empty_batch_and_many_calls(process):
    outputs = process.predict({"text": np.zeros(0, object)})
    assert outputs["label"].shape == (0,) and outputs["scores"].shape == (0, 3)
    request = encode_predict_request("", {"text": ["a", "bad"]})  # no name: serving_default
    answer = process.submit(request, calls=5).result()
    assert len(answer.seconds) == 5 and min(answer.seconds) > 0
    assert answer.outputs == {}
    now, peak = process.memory()
    assert 50 < now <= peak


def test_every_type_and_shape_comes_through(program, tmp_path):
    values = {
        "floats": tf.constant([[1 / 3, -0.0], [float("nan"), float("-inf")]]),
        "doubles": tf.constant([1e-300, 2 / 3], tf.float64),
        "ints": tf.constant([[[-(2**31), 2**31 - 1]]]),
        "longs": tf.constant(2**63 - 1, tf.int64),
        "flags": tf.constant([True, False]),
        "texts": tf.constant([b'a "b"\\\n\x00\x1f\xff\x7f', "é🎬".encode(), b""]),
        "nothing": tf.zeros((0, 3)),
    }
    module = tf.Module()
    module.all = tf.function(lambda x: {k: tf.identity(v) for k, v in values.items()})
    signature = module.all.get_concrete_function(tf.TensorSpec([], tf.bool, "x"))
    tf.saved_model.save(module, tmp_path, {"serving_default": signature})
    outputs = program.predict(tmp_path, {"x": True})
    assert set(outputs) == set(values)
    for name, value in values.items():
        assert outputs[name].dtype == value.dtype.as_numpy_dtype
        np.testing.assert_array_equal(outputs[name], value.numpy(), err_msg=name)


def test_a_process_that_dies_says_so(exported, program):
    process = SavedModelProcess(exported[0])
    request = encode_predict_request("serving_default", {"text": ["film"]})
    running = process.submit(request, calls=1_000_000)
    os.kill(process._process.pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match="the process ended without an answer .exit status -9."):
        running.result(timeout=30)
    process._reader.join()
    with pytest.raises(RuntimeError, match="the process ended without an answer"):
        process.predict({"text": ["film"]})
    # The reader has given up, and is not yet gone.
    process._reader = SimpleNamespace(is_alive=lambda: True, join=lambda: None)
    assert isinstance(process.submit(request).exception(timeout=30), RuntimeError)
    process.close()


def test_what_is_no_saved_model(program, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no saved_model\.pb"):
        SavedModelProcess(tmp_path)


def test_what_the_loader_refuses(exported, program, tmp_path):
    shutil.copytree(exported[0], tmp_path / "1")
    (tmp_path / "1/variables/variables.index").write_bytes(b"")
    with pytest.raises(
        RuntimeError, match=r"/1 could not be loaded without Python .exit status 1."
    ):
        SavedModelProcess(tmp_path / "1")


def test_no_compiler(exported, monkeypatch):
    compiled = saved_model_process.compiled_program
    monkeypatch.setattr(saved_model_process, "compiled_program", compiled.__wrapped__)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeError, match="no C compiler was found.*: install gcc"):
        SavedModelProcess(exported[0])
    monkeypatch.setenv("CC", shutil.which("false", path=os.defpath))
    with pytest.raises(RuntimeError, match=r"false could not compile .*saved_model_process\.c"):
        SavedModelProcess(exported[0])
