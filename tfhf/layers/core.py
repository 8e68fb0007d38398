"""Dense, embedding and normalisation layers that know their sizes before they see data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfhf.layers.activations import Activation
from tfhf.layers.cache import compiling_with_xla
from tfhf.layers.checks import require_range
from tfhf.layers.initializers import Normal
from tfhf.layers.packing import is_packing, product


class Block(keras.layers.Layer):
    """A layer made of layers, all of which know their sizes: building it builds them.

    Inputs are not cast to the compute dtype here: the layers within cast what they use, and what
    must stay exact (attention biases) does.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)

    def build(self, input_shape: Any = None) -> None:
        """Create the variables of all layers within."""
        for layer in self._flatten_layers(include_self=False, recursive=False):
            if not layer.built:
                layer.build(None)
        self.built = True


def resize(layer: keras.layers.Layer, attribute: str, size: int, axis: int = 0) -> None:
    """Give a built layer's variable another size on one axis: cut, or with new first values."""
    variable = getattr(layer, attribute)
    old = tf.convert_to_tensor(variable)
    shape = [*old.shape]
    kept = min(size, shape[axis])
    shape[axis] = size - kept
    new = getattr(layer, f"{attribute}_initializer")(tuple(shape), dtype=variable.dtype)
    value = tf.concat([tf.split(old, [kept, -1], axis=axis)[0], new], axis=axis)
    variable._shape = tuple(value.shape)  # Keras has no public way to resize a variable
    variable._initialize(value)


class Dense(keras.layers.Dense):
    """``activation(x @ kernel + bias)`` on the last axis, as one matrix product of rank 2.

    Several ``units`` are those of as many matrices, side by side in one.

    Attributes:
        update: what is added to the product, if anything: a `LowRankUpdate`.
    """

    update: Any = None

    def __init__(
        self,
        input_size: int,
        units: int | Sequence[int],
        *,
        activation: Activation | None = None,
        use_bias: bool = True,
        stddev: float = 0.02,
        **kwargs: Any,
    ) -> None:
        self.part_sizes = (units,) if isinstance(units, int) else tuple(units)
        super().__init__(
            sum(self.part_sizes),
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=Normal(stddev),
            **kwargs,
        )
        self.input_size = input_size

    def build(self, input_shape: Any = None) -> None:
        """Create ``kernel`` [input_size, units] and ``bias`` [units]."""
        super().build((None, self.input_size))

    def set_update(self, update: Any) -> None:
        """Have another update, or none."""
        self._tracker.unlock()  # Keras takes no new parts of a built layer otherwise
        if self.update is not None:
            self._tracker.untrack(self.update)
        self.update = update
        self._tracker.lock()

    def resize(self, units: int) -> None:
        """Have another number of units."""
        resize(self, "kernel", units, axis=1)
        if self.use_bias:
            resize(self, "bias", units)
        self.units = units
        self.part_sizes = (units,)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Map [..., input_size] to [..., units]."""
        x = tf.reshape(inputs, [-1, self.input_size])
        y = product(x, self.kernel)
        if inputs.shape[1:-1] == [1] and y.dtype == tf.float32:
            # A token of each row: alone, oneDNN's product is faster than with the bias in it.
            y = tf.reshape(y, [-1, 1, self.units])
        if self.use_bias:
            y = tf.nn.bias_add(y, self.bias)
        if self.update is not None and not self.update.merged:
            y += tf.reshape(self.update(x, training=training), tf.shape(y))
        y = self.activation(y)
        y = tf.reshape(y, tf.concat([tf.shape(inputs)[:-1], [self.units]], axis=0))
        return tf.ensure_shape(y, [*inputs.shape[:-1], self.units])


class Embedding(keras.layers.Layer):
    """A table of vectors, read by row; :meth:`project` makes it an output layer (tied weights)."""

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        *,
        ids_name: str = "input_ids",
        stddev: float = 0.02,
        **kwargs: Any,
    ) -> None:
        # Rows are cast after the lookup, never the whole table before it.
        super().__init__(autocast=False, **kwargs)
        self.input_dim = input_dim
        self.output_dim = output_dim
        self.ids_name = ids_name
        self.embeddings_initializer = Normal(stddev)

    def build(self, input_shape: Any = None) -> None:
        """Create ``embeddings`` [input_dim, output_dim]."""
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(self.input_dim, self.output_dim),
            initializer=self.embeddings_initializer,
            trainable=self.trainable,
        )
        self.built = True

    def resize(self, input_dim: int) -> None:
        """Have another number of rows."""
        resize(self, "embeddings", input_dim)
        self.input_dim = input_dim

    def call(self, ids: tf.Tensor, ids_name: str | None = None) -> tf.Tensor:
        """Map ids [...] to vectors [..., output_dim]; ids without a row are refused.

        ``ids_name`` is what errors call them; default: as the table says.
        """
        ids = require_range(ids, self.input_dim, ids_name or self.ids_name)
        return tf.cast(tf.gather(self.embeddings, ids), self.compute_dtype)

    def project(self, hidden_states: tf.Tensor) -> tf.Tensor:
        """Map [..., output_dim] to scores [..., input_dim] by the transposed table."""
        x = tf.reshape(hidden_states, [-1, self.output_dim])
        one_token = x.dtype == tf.float32 and hidden_states.shape[1:-1] == [1]
        if one_token and not is_packing() and not compiling_with_xla():
            # The next token of each row. For many, oneDNN takes up to 3 times as long this way
            # around, for a few the other way around (docs/performance.md).
            table = tf.convert_to_tensor(self.embeddings)
            x = tf.cond(
                tf.shape(x)[0] < 8,
                lambda: tf.matmul(x, table, transpose_b=True),
                lambda: tf.transpose(tf.matmul(table, x, transpose_b=True)),
            )
        else:
            x = product(x, self.embeddings, transpose=True)
        x = tf.reshape(x, tf.concat([tf.shape(hidden_states)[:-1], [self.input_dim]], axis=0))
        return tf.ensure_shape(x, [*hidden_states.shape[:-1], self.input_dim])


class LayerNorm(keras.layers.Layer):
    """Layer normalisation over the last axis, computed in float32 (Ba et al., 2016)."""

    def __init__(
        self,
        size: int,
        epsilon: float,
        *,
        use_scale: bool = True,
        use_bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.size = size
        self.epsilon = epsilon
        self.use_scale = use_scale
        self.use_bias = use_bias
        self.gamma_initializer = keras.initializers.Ones()
        self.beta_initializer = keras.initializers.Zeros()

    def build(self, input_shape: Any = None) -> None:
        """Create, as both flags say, ``gamma`` and ``beta`` [size]."""
        if self.use_scale:
            self.gamma = self.add_weight(
                name="gamma", shape=(self.size,), initializer=self.gamma_initializer, autocast=False
            )
        if self.use_bias:
            self.beta = self.add_weight(
                name="beta", shape=(self.size,), initializer=self.beta_initializer, autocast=False
            )
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Normalise [..., size]."""
        x = tf.cast(inputs, tf.float32)
        x -= tf.reduce_mean(x, axis=-1, keepdims=True)
        x *= tf.math.rsqrt(tf.reduce_mean(x * x, axis=-1, keepdims=True) + self.epsilon)
        if self.use_scale:
            x *= tf.cast(self.gamma, tf.float32)
        if self.use_bias:
            x = tf.nn.bias_add(x, tf.cast(self.beta, tf.float32))
        return tf.cast(x, self.compute_dtype)


class RMSNorm(keras.layers.Layer):
    """Scales the last axis to the mean square 1, in float32 (Zhang and Sennrich, 2019).

    https://arxiv.org/abs/1910.07467

    Args:
        size: of the last axis.
        epsilon: added to the mean square.
        offset: what is added to ``gamma``, which starts at 1 - ``offset``. Gemma's offset is 1; its
            product with ``gamma`` is then rounded once, while without an offset that is done, as by
            Llama, in the compute dtype.
        **kwargs: those of a Keras layer.

    Reference: ``LlamaRMSNorm``, ``Gemma2RMSNorm``.

    Example:
        >>> norm = RMSNorm(2, epsilon=0.0)
        >>> norm(tf.constant([[1.0, 7.0]])).numpy().round(3).tolist()
        [[0.20000000298023224, 1.399999976158142]]
    """

    def __init__(self, size: int, epsilon: float, *, offset: float = 0.0, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.size = size
        self.epsilon = epsilon
        self.offset = offset
        self.gamma_initializer = keras.initializers.Constant(1.0 - offset)

    def build(self, input_shape: Any = None) -> None:
        """Create ``gamma`` [size]."""
        self.gamma = self.add_weight(
            name="gamma", shape=(self.size,), initializer=self.gamma_initializer, autocast=False
        )
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Normalise [..., size]."""
        x = tf.cast(inputs, tf.float32)
        mean_square = tf.reduce_mean(tf.square(x), axis=-1, keepdims=True)
        x *= tf.math.rsqrt(mean_square + self.epsilon)
        if self.offset:
            x *= self.offset + tf.cast(self.gamma, tf.float32)
            return tf.cast(x, self.compute_dtype)
        return tf.cast(x, self.compute_dtype) * tf.cast(self.gamma, self.compute_dtype)


Normalization = LayerNorm | RMSNorm
