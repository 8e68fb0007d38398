import keras
import numpy as np
import pytest
import tensorflow as tf

from tfhf.layers import Block, Dense, Embedding, LayerNorm


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


class TestBlock:
    def test_builds_what_it_holds(self):
        class Pair(Block):
            def __init__(self):
                super().__init__()
                self.first = Dense(2, 3)
                self.rest = [LayerNorm(3, 1e-5), keras.layers.Dropout(0.1)]

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
