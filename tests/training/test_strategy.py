"""Strategies: training on two replicas equals training on one device with the same batches."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest
import tensorflow as tf

from tfhf.training.strategy import make_strategy

SCRIPT = Path(__file__).with_name("on_replicas.py")
WORKERS = "import sys, tfhf.training.launch as l; sys.exit(l.launch(sys.argv[1], sys.argv[2:], 2))"


def run(command):
    """Run a script of this folder, and return the JSON that it (or each worker) printed."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line[line.index("{") :] for line in done.stdout.splitlines() if '{"case"' in line]
    assert lines
    return [json.loads(line) for line in lines]


def check(results):
    """Two replicas and one device agree to 1e-5, on weights that have moved much further."""
    for result in results:
        case = result.pop("case")
        if case == "rows":
            assert result["counts"] == [0.0] * 4, "a row was not seen exactly once per epoch"
            continue
        assert result.pop("moved") > 1e-3, case
        # Activations are rounded to 8 or 11 bits, wherever a weight differs in its last.
        tolerance = {"bfloat16": 0.05, "float16": 0.005}.get(case, 1e-5)
        assert result.pop("predictions", 0.0) < tolerance, case
        tolerance = {"bfloat16": 0.005, "float16": 5e-4}.get(case, 1e-5)
        assert max(result.pop("history"), result.pop("scores", 0.0)) < tolerance, case
        assert result == {"weights": pytest.approx(0, abs=1e-5)}, case


def test_mirrored_with_everything_at_once_equals_one_device():
    results = run([sys.executable, SCRIPT, "mirrored", "combined"])
    assert [result["case"] for result in results] == ["rows", "combined"]
    check(results)


@pytest.mark.slow
def test_mirrored_equals_one_device():
    results = run([sys.executable, SCRIPT, "mirrored"])
    assert len(results) == 18
    check(results)


@pytest.mark.slow
def test_two_workers_equal_one_device():
    results = run([sys.executable, "-c", WORKERS, SCRIPT, "multi_worker"])
    assert len(results) == 2 * 18
    check(results)


@pytest.fixture
def no_variables(monkeypatch):
    for name in ("TF_CONFIG", "TPU_NAME", "TFHF_STRATEGY", "TFHF_MIXED_PRECISION"):
        monkeypatch.delenv(name, raising=False)


def test_the_strategy_that_fits(no_variables, monkeypatch):
    assert isinstance(make_strategy("one_device"), tf.distribute.OneDeviceStrategy)
    if not tf.config.list_physical_devices("GPU"):
        assert isinstance(make_strategy(), tf.distribute.OneDeviceStrategy)
    monkeypatch.setenv("TFHF_STRATEGY", "nonsense")
    for name in (None, "auto"):
        with pytest.raises(ValueError, match="one_device, mirrored, multi_worker, tpu.*'nonsense'"):
            make_strategy(name)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [("multi_worker", ValueError, "TF_CONFIG.*tfhf launch"), ("tpu", RuntimeError, "Cloud TPU VM")],
)
def test_a_strategy_that_cannot_be(no_variables, name, error, message):
    with pytest.raises(error, match=message):
        make_strategy(name)


def test_mixed_precision(no_variables, monkeypatch):
    try:
        make_strategy("one_device", mixed_precision="mixed_bfloat16")
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
        monkeypatch.setenv("TFHF_MIXED_PRECISION", "mixed_float16")
        make_strategy("one_device")
        assert keras.config.dtype_policy().name == "mixed_float16"
    finally:
        keras.config.set_dtype_policy("float32")


def test_a_made_up_tpu_is_connected_to(no_variables, monkeypatch):
    """A stand-in for what no test machine has: the calls that TensorFlow asks for, in order."""
    calls = []
    monkeypatch.setenv("TPU_NAME", "my-tpu")
    resolver = object()
    modules = tf.distribute.cluster_resolver, tf.config, tf.tpu.experimental, tf.distribute
    names = (
        "TPUClusterResolver",
        "experimental_connect_to_cluster",
        "initialize_tpu_system",
        "TPUStrategy",
    )
    for module, name in zip(modules, names):

        def call(argument, name=name):
            calls.append((name, argument))
            return resolver if name == "TPUClusterResolver" else name

        monkeypatch.setattr(module, name, call)
    assert make_strategy() == "TPUStrategy"
    assert calls == [(names[0], "my-tpu"), *((name, resolver) for name in names[1:])]


def test_an_optimizer_made_outside_the_scope_is_refused():
    strategy = make_strategy("one_device")
    optimizer = keras.optimizers.SGD(0.1)
    with strategy.scope():
        variable = keras.Variable([1.0])
    with pytest.raises(ValueError, match=r"strategy\.scope\(\)"):
        strategy.run(lambda: optimizer.apply([tf.constant([1.0])], [variable]))
