"""serve_check: what it finds, and what it cannot overlook."""

import io
import json
import os
import shutil
import signal

import numpy as np
import pytest
import rich.console
import tensorflow as tf

from tfhf.serving import serve_check
from tfhf.serving.export import SIGNATURES_FILE
from tfhf.serving.saved_model_process import SavedModelProcess
from tfhf.serving.serve_check import _difference, _require_same_rows
from tfhf.serving.signatures import UNSEEDED
from tfhf.serving.warmup import write_warmup_requests


@pytest.fixture(scope="module")
def films(exported, tmp_path_factory, program):
    """A folder with the versions 1 and 10, asked for one and for three texts."""
    films = tmp_path_factory.mktemp("checked") / "films"
    for version in ("1", "10"):
        shutil.copytree(exported[0], films / version)
    (films / "11").mkdir()  # a server does not see it either
    text = [{"text": tf.constant(["a film"] * count)} for count in (3, 1, 2)]
    ids = tf.constant([[2, 7, 3]])
    names = ("input_ids", "attention_mask", "token_type_ids")
    tokens = [dict.fromkeys(names, tf.ones_like(ids))]
    write_warmup_requests(films / "10", "films", {"serving_default": text, "tokens": tokens})
    return films


def shown(check):
    console = rich.console.Console(file=io.StringIO(), width=120)
    console.print(check)
    return console.file.getvalue()


def test_an_export_that_is_right(films):
    check = serve_check(films, seconds=0.01, callers=(1, 4))
    assert check.problems == [] and check.saved_model == films / "10"
    assert [(each.signature_name, each.batch_size) for each in check.requests] == [
        ("serving_default", 3),
        ("serving_default", 1),
        ("serving_default", 2),
        ("tokens", 1),
    ]
    assert max(each.difference for each in check.requests) < 1e-6
    assert [(each.signature_name, each.batch_size, each.callers) for each in check.timings] == [
        ("serving_default", 1, 1),
        ("serving_default", 1, 4),
        ("serving_default", 3, 1),
        ("serving_default", 3, 4),
        ("tokens", 1, 1),
        ("tokens", 1, 4),
    ]
    for timing in check.timings:
        assert timing.calls >= 2 and timing.calls % timing.callers == 0
        assert 0 < timing.median <= timing.percentile99
        # Callers never answer more than one at a time each; a median is below twice the mean.
        busy = timing.rows_per_second * timing.median / timing.batch_size
        assert 0 < busy <= 2 * timing.callers
    table = shown(check)
    assert f"{check.timings[0].rows_per_second:,.0f}" in table and "as with Python" in table


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        ([0.25, 0.7501], r"scores differs by 0\.0001 from Python's"),
        ([0.25, np.nan], "scores differs by nan from Python's"),
        ([0.25], r"scores has the shape \(1,\), and \(2,\) with Python"),
    ],
)
def test_floats_that_differ(found, problem):
    expected = np.array([0.25, 0.75], np.float32)
    with pytest.raises(ValueError, match=problem):
        _difference("scores", np.array(found, np.float32), expected)
    assert _difference("scores", expected + np.float32(2**-20), expected) == 2**-20
    assert _difference("scores", expected[:0], expected[:0]) == 0


def test_an_answer_that_is_another(films, monkeypatch):
    predict = SavedModelProcess.predict

    def changed(self, inputs, signature_name):
        if signature_name == "tokens":
            raise tf.errors.InternalError(None, None, "out of luck")
        return predict(self, inputs, signature_name) | {"label": np.array([b"[red]x"], object)}

    monkeypatch.setattr(SavedModelProcess, "predict", changed)
    check = serve_check(films, callers=(1,), seconds=0)
    assert len(check.problems) == 4 and "tokens, batch of 1: out of luck" in check.problems
    table = shown(check)
    assert "label is [b'[red]x'], and [b'" in table and "out of luck" in table
    assert check.timings == []


def save(folder, function, requests):
    """Save a function of whole numbers, with requests."""
    module = tf.Module()
    module.function = tf.function(function, [tf.TensorSpec([None], tf.int32, "numbers")])
    tf.saved_model.save(module, folder, module.function)
    inputs = [{"numbers": tf.constant(numbers)} for numbers in requests]
    write_warmup_requests(folder, "numbers", {"serving_default": inputs})


def test_what_is_sampled_without_a_seed(tmp_path, program):
    def throw(numbers):
        draws = tf.raw_ops.RandomUniformInt(
            shape=[tf.size(numbers), 4], minval=0, maxval=2**30, seed=0, seed2=0
        )
        return {"draws": draws[:, : 2 + draws[0, 0] % 2]}  # of one length or another

    save(tmp_path, throw, [[1], [2, 3]])
    assert len(serve_check(tmp_path, callers=[1], seconds=0).problems) == 2
    facts = {"serving_default": {UNSEEDED: True}}
    (tmp_path / SIGNATURES_FILE).write_text(json.dumps(facts))
    check = serve_check(tmp_path, callers=[1], seconds=0)
    assert check.problems == [] and len(check.timings) == 2
    table = shown(check)
    assert "sampled without a seed: as many rows, of the same types" in table
    assert "as with Python" not in table


def test_samples_of_other_rows_or_types():
    expected = np.zeros((2, 3), np.int32)
    assert _require_same_rows("draws", np.ones((2, 5), np.int32), expected) == 0
    for other in (np.zeros((1, 3), np.int32), np.zeros(2, np.int32), np.zeros((2, 3))):
        with pytest.raises(ValueError, match=r"draws is .* and int32 \(2, 3\) with Python"):
            _require_same_rows("draws", other, expected)


def test_a_request_that_fails(tmp_path, program):
    save(tmp_path, lambda numbers: {"found": tf.gather([5, 6], numbers)}, [[0], [1, 7], [0, 1, 0]])
    check = serve_check(tmp_path, callers=[1], seconds=0)
    (problem,) = check.problems
    assert problem.startswith("serving_default, batch of 2: ") and "7 is not in" in problem
    assert [timing.batch_size for timing in check.timings] == [1, 3]


def test_a_request_that_ends_the_process(tmp_path, program, monkeypatch):
    predict = SavedModelProcess.predict

    def fatal(self, inputs, signature_name):
        if len(inputs["numbers"]) == 1:
            os.kill(self._process.pid, signal.SIGKILL)
        return predict(self, inputs, signature_name)

    monkeypatch.setattr(SavedModelProcess, "predict", fatal)
    save(tmp_path, lambda numbers: {"found": numbers + 1}, [[0, 1], [2], [0, 1, 2]])
    check = serve_check(tmp_path, callers=[1], seconds=0)
    assert len(check.requests) == 2 and check.timings == []
    (problem,) = check.problems
    assert problem.startswith("serving_default, batch of 1: the process ended without an answer")
    assert "exit status -9" in shown(check)


def test_the_version(films):
    assert serve_check(films, 1, callers=[1], seconds=0).saved_model == films / "1"
    with pytest.raises(FileNotFoundError, match=r"version: .*films' has \[1, 10\], but not 11"):
        serve_check(films, 11)


def test_what_cannot_be_checked(films, tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a SavedModel, or a folder with versions"):
        serve_check(tmp_path)
    shutil.copytree(films / "1", tmp_path / "1")
    shutil.rmtree(tmp_path / "1/assets.extra")
    with pytest.raises(FileNotFoundError, match="has no warm-up requests"):
        serve_check(tmp_path)
