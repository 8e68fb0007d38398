import numpy as np
import pytest
import tensorflow as tf

from tfhf.layers import Block, Dense, Dropout, Embedding, LayerNorm


def built(layer, seed=0):
    """Build a layer and give it random weights, biases too."""
    layer.build()
    rng = np.random.default_rng(seed)
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape))
    return layer


class TestDense:
    @pytest.mark.parametrize("shape", [(2, 5), (2, 3, 5), (2, 1, 3, 5), (0, 3, 5)])
    @pytest.mark.parametrize("use_bias", [True, False])
    def test_values(self, shape, use_bias):
        layer = built(Dense(5, 4, activation=tf.nn.relu, use_bias=use_bias))
        x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
        expected = x @ layer.kernel.numpy() + (layer.bias.numpy() if use_bias else 0)
        got = layer(x)
        assert got.shape == (*shape[:-1], 4)
        np.testing.assert_allclose(got, np.maximum(expected, 0), atol=1e-5)

    def test_static_shape_is_kept(self):
        layer = built(Dense(5, 4))
        seen = []
        tf.function(lambda x: seen.append(layer(x).shape)).get_concrete_function(
            tf.TensorSpec((None, 3, 5))
        )
        assert seen[0].as_list() == [None, 3, 4]

    def test_built_without_data(self):
        layer = Dense(5, 4)
        layer.build()
        assert [tuple(weight.shape) for weight in layer.weights] == [(5, 4), (4,)]


class TestEmbedding:
    def test_rows(self):
        layer = built(Embedding(7, 3))
        ids = np.array([[0, 6], [3, 3]])
        np.testing.assert_array_equal(layer(tf.constant(ids)), layer.embeddings.numpy()[ids])

    @pytest.mark.parametrize("bad", [-1, 7])
    def test_ids_without_a_row(self, bad):
        layer = built(Embedding(7, 3, ids_name="position_ids"))
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"position_ids .*0 to 6.*{bad}"):
            layer(tf.constant([[0, bad]]))

    def test_project_is_the_transposed_table(self):
        layer = built(Embedding(7, 3))
        x = np.random.default_rng(1).normal(size=(2, 4, 3)).astype(np.float32)
        np.testing.assert_allclose(layer.project(x), x @ layer.embeddings.numpy().T, atol=1e-5)

    @pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float16"])
    def test_dtypes(self, policy):
        layer = Embedding(7, 3, dtype=policy)
        layer.build()
        assert layer.embeddings.dtype == layer.variable_dtype
        vectors = layer(tf.constant([[1, 2]]))
        assert vectors.dtype == layer.compute_dtype
        assert layer.project(vectors).dtype == layer.compute_dtype
        np.testing.assert_array_equal(
            vectors[0], tf.cast(layer.embeddings.value, layer.compute_dtype)[1:3]
        )


class TestLayerNorm:
    @pytest.mark.parametrize("epsilon", [1e-12, 1e-5, 0.1])
    def test_values(self, epsilon):
        layer = built(LayerNorm(6, epsilon))
        x = np.random.default_rng(1).normal(2, 3, size=(2, 4, 6))
        x[0, 0] = 1.5  # no variance
        deviation = np.sqrt(x.var(-1, keepdims=True) + epsilon)
        expected = (x - x.mean(-1, keepdims=True)) / deviation
        expected = expected * layer.gamma.numpy() + layer.beta.numpy()
        np.testing.assert_allclose(layer(x.astype(np.float32)), expected, rtol=1e-4, atol=1e-5)

    def test_without_bias(self):
        bare = built(LayerNorm(6, 1e-5, use_scale=False, use_bias=False))
        assert not bare.weights
        layer = built(LayerNorm(6, 1e-5, use_bias=False))
        assert [weight.name for weight in layer.weights] == ["gamma"]
        x = np.random.default_rng(1).normal(2, 3, size=(2, 6))
        expected = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        got = layer(x.astype(np.float32))
        np.testing.assert_allclose(got, expected * layer.gamma.numpy(), rtol=1e-4, atol=1e-5)

    def test_half_precision_is_normalised_in_float32(self):
        """The squares of these numbers, and 1e-12, do not exist in float16."""
        layer = built(LayerNorm(6, 1e-12, dtype="mixed_float16"))
        x = np.random.default_rng(1).normal(size=(3, 6)) * 1e3
        got = layer(tf.cast(x, tf.float16))
        exact = built(LayerNorm(6, 1e-12))(x.astype(np.float16).astype(np.float32))
        assert got.dtype == tf.float16
        np.testing.assert_allclose(tf.cast(got, tf.float32), exact, rtol=1e-3, atol=2e-3)

    @pytest.mark.oracle
    @pytest.mark.parametrize("jit_compile", [None, False, True])
    @pytest.mark.parametrize("shape", [(5, 9), (2, 3, 9), (2, 1, 3, 9)])
    def test_derivatives_equal_torch(self, shape, jit_compile):
        """Values, the gradients of inputs, gamma and beta, and the gradient of the first."""
        import torch

        layer = built(LayerNorm(9, 1e-5))
        rng = np.random.default_rng(1)
        x = rng.normal(1, 2, size=shape).astype(np.float32)
        dy, direction = rng.normal(size=(2, *shape)).astype(np.float32)
        given, gamma, beta = (
            torch.tensor(tf.convert_to_tensor(each).numpy(), requires_grad=True)
            for each in (x, layer.gamma, layer.beta)
        )
        value = torch.nn.functional.layer_norm(given, [9], gamma, beta, 1e-5)
        first = torch.autograd.grad(
            value, (given, gamma, beta), torch.tensor(dy), create_graph=True
        )
        (second,) = torch.autograd.grad(first[0], given, torch.tensor(direction))

        def derive(x):
            with tf.GradientTape() as outer:
                outer.watch(x)
                with tf.GradientTape() as inner:
                    inner.watch(x)
                    y = layer(x)
                sources = (x, layer.gamma.value, layer.beta.value)
                first = inner.gradient(y, sources, output_gradients=tf.constant(dy))
            second = outer.gradient(first[0], x, output_gradients=tf.constant(direction))
            return y, *first, second

        if jit_compile is not None:
            derive = tf.function(derive, jit_compile=jit_compile)
        for got, expected in zip(derive(tf.constant(x)), (value, *first, second), strict=True):
            np.testing.assert_allclose(got, expected.detach().numpy(), rtol=2e-6, atol=2e-6)

    @pytest.mark.oracle
    def test_gradients_in_bfloat16(self):
        """Gradients of bfloat16 inputs are those of float32, rounded; gamma's are not rounded."""
        import torch

        layer = built(LayerNorm(9, 1e-5, dtype="mixed_bfloat16"))
        x, dy = (tf.cast(tf.random.normal([40, 9]), tf.bfloat16) for _ in range(2))
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
        sources = (x, layer.gamma.value, layer.beta.value)
        got = [y, *tape.gradient(y, sources, output_gradients=dy)]
        exact = [tf.cast(each, tf.float32).numpy() for each in (*sources, dy)]
        inputs = [torch.tensor(each, requires_grad=True) for each in exact[:3]]
        value = torch.nn.functional.layer_norm(inputs[0], [9], *inputs[1:], 1e-5)
        expected = [value, *torch.autograd.grad(value, inputs, torch.tensor(exact[3]))]
        for one, wanted, rtol in zip(got, expected, [4e-3, 4e-3, 1e-5, 1e-5], strict=True):
            one = tf.cast(one, tf.float32)
            np.testing.assert_allclose(one, wanted.detach().numpy(), rtol=rtol, atol=1e-5)

    def test_no_rows(self):
        layer = built(LayerNorm(6, 1e-5))
        x = tf.zeros([0, 3, 6])
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
        dx, dgamma, dbeta = tape.gradient(y, (x, layer.gamma.value, layer.beta.value))
        assert y.shape == dx.shape == (0, 3, 6)
        np.testing.assert_array_equal([dgamma, dbeta], np.zeros([2, 6]))


class TestBlock:
    def test_builds_what_it_holds(self):
        class Pair(Block):
            def __init__(self):
                super().__init__()
                self.first = Dense(2, 3)
                self.rest = [LayerNorm(3, 1e-5), Dropout(0.1)]

        pair = Pair()
        pair.build()
        assert [tuple(weight.shape) for weight in pair.weights] == [(2, 3), (3,), (3,), (3,)]
        assert pair.built and pair.first.built and all(layer.built for layer in pair.rest)

    def test_does_not_round_what_it_is_given(self):
        class Keep(Block):
            def call(self, x):
                return x

        exact = tf.constant(16777215.0)
        assert Keep(dtype="mixed_bfloat16")(exact).numpy() == 16777215.0
