import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfhf.layers import Block, Dense, Dropout


def run(layer, x):
    """What a layer makes of ``x`` while training, and the gradient of its sum."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True)
    return y, tape.gradient(y, x)


class TestShare:
    @pytest.mark.parametrize("rate", [0.1, 0.25, 0.5, 0.9])
    def test_of_zeros(self, rate):
        """Within five standard deviations of a million draws."""
        y, _ = run(Dropout(rate), tf.ones([1000, 1000]))
        share = np.mean(y.numpy() == 0)
        assert abs(share - rate) < 5 * np.sqrt(rate * (1 - rate)) / 1000

    @pytest.mark.parametrize("rate", [2**-16, 0.1, 0.3, 1 - 2**-16])
    def test_is_exact_over_all_bits(self, rate, monkeypatch):
        """Of the 2**16 possible numbers, as many keep a value as they should, to one."""
        every = np.arange(2**16, dtype=np.uint16).view(np.uint32)
        monkeypatch.setattr(tf.random, "stateless_uniform", lambda *args: tf.constant(every))
        y, _ = run(Dropout(rate), tf.ones([2**16]))
        kept = np.sum(y.numpy() != 0)
        assert abs(kept - (1 - rate) * 2**16) <= 0.5
        np.testing.assert_allclose(np.mean(y, dtype=np.float64), 1.0, rtol=1e-7)

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
    def test_scale_is_not_rounded_to_half_precision(self, dtype):
        x = tf.cast(tf.random.uniform([1000], 1.0, 2.0), dtype)
        layer = Dropout(0.1, dtype=dtype)
        y, gradient = run(layer, x)
        assert y.dtype == gradient.dtype == dtype
        exact = tf.cast(tf.cast(x, tf.float32) * (2**16 / (2**16 - 6554)), dtype)
        np.testing.assert_array_equal(y[y != 0], exact[y != 0])

    @pytest.mark.parametrize("shape", [(), (1,), (7,), (0, 3), (3, 5, 7)])
    def test_shapes_of_odd_size(self, shape):
        y, gradient = run(Dropout(0.5), tf.ones(shape))
        assert y.shape == gradient.shape == shape
        assert {*y.numpy().ravel().tolist()} <= {0.0, 2.0}

    def test_neighbours_are_independent(self):
        """Two values share one random number of 32 bits, so correlations would show there."""
        y, _ = run(Dropout(0.5), tf.ones([2**20]))
        dropped = (y.numpy() == 0).astype(float) - 0.5
        for distance in (1, 2, 3, 4, 768):
            correlation = 4 * np.mean(dropped[distance:] * dropped[:-distance])
            assert abs(correlation) < 5 / 2**10


class TestEdges:
    def test_nothing_is_dropped_outside_training(self):
        x = tf.random.normal([20])
        assert Dropout(0.5)(x) is x

    @pytest.mark.parametrize("rate", [0.0, 1e-7])
    def test_no_rate(self, rate):
        x = tf.random.normal([20])
        np.testing.assert_array_equal(Dropout(rate)(x, training=True), x)

    def test_everything_is_dropped(self):
        y, gradient = run(Dropout(1.0), tf.random.normal([20]))
        np.testing.assert_array_equal(y, tf.zeros(20))
        np.testing.assert_array_equal(gradient, tf.zeros(20))

    @pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan")])
    def test_bad_rates(self, rate):
        with pytest.raises(ValueError, match=f"rate must be 0 to 1, but it is {rate}"):
            Dropout(rate)

    def test_seeds_repeat(self):
        def draw(seed):
            keras.utils.set_random_seed(seed)
            layer = Dropout(0.5)
            return [layer(tf.ones([50]), training=True).numpy() for _ in range(2)]

        first, second = draw(1)
        assert (first != second).any()
        np.testing.assert_array_equal(draw(1), [first, second])
        assert (draw(2)[0] != first).any()


class TestGradient:
    @pytest.mark.parametrize("jit_compile", [None, False, True])
    def test_drops_the_same(self, jit_compile):
        layer = Dropout(0.3)
        x = tf.random.uniform([3, 5, 7], 1.0, 2.0)

        def step(x):
            return run(layer, x)

        if jit_compile is not None:
            step = tf.function(step, jit_compile=jit_compile)
        y, gradient = step(x)
        np.testing.assert_allclose(y, x * gradient, rtol=1e-6)
        assert 0 < np.sum(y.numpy() == 0) < 105
        assert (step(x)[0] != y).numpy().any()


def test_export_draws_nothing(tmp_path):
    class Model(Block):
        def __init__(self):
            super().__init__()
            self.dense = Dense(4, 4)
            self.dropout = Dropout(0.5)

        def call(self, x, training=False):
            return self.dropout(self.dense(x), training=training)

    model = Model()
    model.build()
    serve = tf.function(model).get_concrete_function(tf.TensorSpec([None, 4]), training=False)
    assert not [op.name for op in serve.graph.get_operations() if "Random" in op.type]
    assert "Random" in str(
        tf.function(model)
        .get_concrete_function(tf.TensorSpec([None, 4]), training=True)
        .graph.as_graph_def()
    )
    tf.saved_model.save(model, tmp_path, signatures=serve)
    x = tf.random.normal([3, 4])
    got = tf.saved_model.load(tmp_path).signatures["serving_default"](x)
    np.testing.assert_allclose(next(iter(got.values())), model(x), rtol=1e-6)


DISTRIBUTED = """
import keras, tensorflow as tf
from tfhf.layers import Dropout
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
with strategy.scope():
    layer = Dropout(0.5)
    layer(tf.ones([2]), training=True)  # outside the replicas
step = tf.function(lambda: strategy.run(lambda: layer(tf.ones([40]), training=True)))
drawn = [tuple(v.numpy()) for _ in range(2) for v in strategy.experimental_local_results(step())]
assert len(drawn) == 4 == len(set(drawn)), drawn
"""


def test_replicas_draw_differently():
    """In a process of its own: devices are divided before TensorFlow starts."""
    done = subprocess.run([sys.executable, "-c", DISTRIBUTED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
