"""Activation functions under the names that configurations use (``hidden_act``)."""

from __future__ import annotations

import math
from collections.abc import Callable

import tensorflow as tf

Activation = Callable[[tf.Tensor], tf.Tensor]


def gelu(x: tf.Tensor) -> tf.Tensor:
    """Gaussian error linear unit, exact (Hendrycks and Gimpel, 2016), in float32 at least.

    With ``erf``, which is faster than the ``erfc`` of ``tf.nn.gelu``. In this form TensorFlow fuses
    it with the matrix product before it, where no gradient is asked for.
    """
    t = tf.cast(x, tf.float64 if x.dtype == tf.float64 else tf.float32)
    return tf.cast(t * (0.5 * (1.0 + tf.math.erf(t * math.sqrt(0.5)))), x.dtype)


def gelu_new(x: tf.Tensor) -> tf.Tensor:
    """GELU by tanh, as in GPT-2 and the first BERT."""
    return tf.nn.gelu(x, approximate=True)


def gelu_fast(x: tf.Tensor) -> tf.Tensor:
    """GELU by tanh, with the square root rounded to seven digits."""
    inner = x * tf.cast(0.7978845608, x.dtype) * (1.0 + tf.cast(0.044715, x.dtype) * x * x)
    return 0.5 * x * (1.0 + tf.tanh(inner))


def gelu_10(x: tf.Tensor) -> tf.Tensor:
    """Exact GELU, clipped to [-10, 10] for quantized inference."""
    return tf.clip_by_value(gelu(x), -10.0, 10.0)


def gelu_accurate(x: tf.Tensor) -> tf.Tensor:
    """GELU by tanh, as in MEGATRON."""
    return 0.5 * x * (1.0 + tf.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * tf.pow(x, 3))))


def quick_gelu(x: tf.Tensor) -> tf.Tensor:
    """GELU by a sigmoid, as in CLIP."""
    return x * tf.sigmoid(1.702 * x)


def mish(x: tf.Tensor) -> tf.Tensor:
    """``x * tanh(softplus(x))`` (Misra, 2019)."""
    return x * tf.tanh(tf.nn.softplus(x))


def laplace(x: tf.Tensor) -> tf.Tensor:
    """The Laplace distribution function of MEGA, with its default mean and deviation."""
    return 0.5 * (1.0 + tf.math.erf((x - 0.707107) / (0.282095 * math.sqrt(2.0))))


ACTIVATIONS: dict[str, Activation] = {
    "gelu": gelu,
    "gelu_10": gelu_10,
    "gelu_accurate": gelu_accurate,
    "gelu_fast": gelu_fast,
    "gelu_new": gelu_new,
    "gelu_python": gelu,
    "gelu_pytorch_tanh": gelu_new,
    "gelu_python_tanh": gelu_new,
    "laplace": laplace,
    "leaky_relu": lambda x: tf.nn.leaky_relu(x, alpha=0.01),
    "linear": tf.identity,
    "mish": mish,
    "quick_gelu": quick_gelu,
    "relu": tf.nn.relu,
    "relu2": lambda x: tf.square(tf.nn.relu(x)),
    "relu6": tf.nn.relu6,
    "sigmoid": tf.sigmoid,
    "silu": tf.nn.silu,
    "swish": tf.nn.silu,
    "tanh": tf.tanh,
}


def get_tf_activation(name: str) -> Activation:
    """Return the function that a configuration names.

    Raises:
        KeyError: no such activation; the message lists those there are.

    Example:
        >>> float(get_tf_activation("relu")(tf.constant(-1.0)))
        0.0
    """
    if name not in ACTIVATIONS:
        raise KeyError(f"no activation named {name!r}; there are {', '.join(sorted(ACTIVATIONS))}")
    return ACTIVATIONS[name]
