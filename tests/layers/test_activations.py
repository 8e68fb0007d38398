import gc
import math
import weakref

import numpy as np
import pytest
import tensorflow as tf

from tfhf.layers import get_tf_activation
from tfhf.layers.activations import ACTIVATIONS

X = np.concatenate([np.linspace(-12, 12, 241), [-1e4, -1e-6, 0.0, 1e-6, 1e4]]).astype(np.float32)


def erf(x):
    return np.vectorize(math.erf)(x)


def sigmoid(x):
    return 0.5 * (1 + np.tanh(x / 2))


def tanh_gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def exact_gelu(x):
    return 0.5 * x * (1 + erf(x / np.sqrt(2)))


REFERENCES = {
    "gelu": exact_gelu,
    "gelu_10": lambda x: np.clip(exact_gelu(x), -10, 10),
    "gelu_accurate": tanh_gelu,
    "gelu_fast": tanh_gelu,
    "gelu_new": tanh_gelu,
    "gelu_python": exact_gelu,
    "gelu_python_tanh": tanh_gelu,
    "gelu_pytorch_tanh": tanh_gelu,
    "laplace": lambda x: 0.5 * (1 + erf((x - 0.707107) / (0.282095 * np.sqrt(2)))),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "linear": lambda x: x,
    "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "quick_gelu": lambda x: x * sigmoid(1.702 * x),
    "relu": lambda x: np.maximum(x, 0),
    "relu2": lambda x: np.maximum(x, 0) ** 2,
    "relu6": lambda x: np.clip(x, 0, 6),
    "sigmoid": sigmoid,
    "silu": lambda x: x * sigmoid(x),
    "swish": lambda x: x * sigmoid(x),
    "tanh": np.tanh,
}


def test_every_activation_has_a_reference_here():
    assert set(REFERENCES) == set(ACTIVATIONS)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_values(name):
    expected = REFERENCES[name](X.astype(np.float64))
    got = get_tf_activation(name)(tf.constant(X))
    np.testing.assert_allclose(got, expected, rtol=2e-6, atol=2e-6)


@pytest.mark.oracle
@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_values_equal_transformers(name):
    import torch
    from transformers.activations import ACT2FN

    expected = ACT2FN[name](torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(get_tf_activation(name)(tf.constant(X)), expected, 2e-6, 2e-6)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_stays_half(name, dtype):
    x = tf.cast(tf.linspace(-3.0, 3.0, 13), dtype)
    got = get_tf_activation(name)(x)
    assert got.dtype == dtype
    expected = REFERENCES[name](tf.cast(x, tf.float64).numpy())
    np.testing.assert_allclose(tf.cast(got, tf.float32), expected, rtol=0.03, atol=0.03)


@pytest.mark.parametrize("name", ["gelu", "gelu_new", "mish", "silu", "relu2", "laplace"])
def test_gradients_by_differences(name):
    x = np.linspace(-4, 4, 50)
    variable = tf.Variable(x)
    with tf.GradientTape() as tape:
        y = get_tf_activation(name)(variable)
    step = 1e-6
    expected = (REFERENCES[name](x + step) - REFERENCES[name](x - step)) / (2 * step)
    np.testing.assert_allclose(tape.gradient(y, variable), expected, rtol=1e-5, atol=1e-5)


class TestGelu:
    """The exact one."""

    @pytest.mark.oracle
    @pytest.mark.parametrize("jit_compile", [None, False, True])
    def test_derivatives_equal_torch(self, jit_compile):
        """Value, gradient, and the gradient of the gradient."""
        import torch

        rng = np.random.default_rng(0)
        x, weight = rng.normal(0, 3, size=(2, 7, 11)).astype(np.float32)
        given = torch.from_numpy(x).requires_grad_()
        value = torch.nn.functional.gelu(given)
        (first,) = torch.autograd.grad(
            (value * torch.from_numpy(weight)).sum(), given, create_graph=True
        )
        (second,) = torch.autograd.grad(first.sum(), given)

        def derive(x):
            with tf.GradientTape() as outer:
                outer.watch(x)
                with tf.GradientTape() as inner:
                    inner.watch(x)
                    y = get_tf_activation("gelu")(x)
                dy = inner.gradient(y, x, output_gradients=tf.constant(weight))
            return y, dy, outer.gradient(dy, x)

        if jit_compile is not None:
            derive = tf.function(derive, jit_compile=jit_compile)
        for got, expected in zip(derive(tf.constant(x)), (value, first, second), strict=True):
            np.testing.assert_allclose(got, expected.detach().numpy(), rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
    def test_half_precision_is_rounded_once(self, dtype):
        """Value and gradient are those of float64, to half a digit of the type and no more."""
        x = tf.cast(tf.linspace(-6.0, 6.0, 1001), dtype)
        exact = tf.cast(x, tf.float64)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch([x, exact])
            y, expected = (get_tf_activation("gelu")(each) for each in (x, exact))
        half_digit = 2.0**-8 if dtype == "bfloat16" else 2.0**-11
        gradients = tape.gradient(y, x), tape.gradient(expected, exact)
        for got, wanted in [(y, expected), gradients]:
            assert got.dtype == dtype
            tolerance = {"rtol": 1.01 * half_digit, "atol": 1e-6}
            np.testing.assert_allclose(tf.cast(got, tf.float64), wanted, **tolerance)

    def test_far_values_have_no_nan(self):
        x = tf.constant([-np.inf, -1e30, -50.0, 50.0, 1e30])
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = get_tf_activation("gelu")(x)
        np.testing.assert_array_equal(y[1:], np.float32([0, 0, 50, 1e30]))
        np.testing.assert_array_equal(tape.gradient(y, x)[1:], [0, 0, 1, 1])

    def test_a_graph_can_be_freed(self):
        """A ``tf.custom_gradient`` would keep every graph in which it is traced."""
        gelu = get_tf_activation("gelu")
        traced = tf.function(lambda x: gelu(x)).get_concrete_function(tf.TensorSpec([None]))
        graph = weakref.ref(traced.graph)
        del traced
        gc.collect()
        assert graph() is None


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(KeyError, match=r"no activation named 'gelo'.*quick_gelu"):
        get_tf_activation("gelo")
