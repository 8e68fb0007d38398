"""Products with matrices that are laid out anew equal NumPy's, and each is laid out once."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfhf.layers import Dense, Embedding
from tfhf.layers.packing import is_packing, packing, product


def numbers(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("columns", [1, 47, 48, 49, 64, 130])
@pytest.mark.parametrize("rows", [0, 1, 5])
def test_products(rows, columns, transpose):
    x, matrix = numbers(rows, 7), numbers(7, columns)
    variable = keras.Variable(matrix.T if transpose else matrix)

    @tf.function(input_signature=[tf.TensorSpec([None, 7])])
    def function(x):
        with packing():
            return product(x, variable, transpose)

    got = function(x)
    assert got.shape == (rows, columns)
    np.testing.assert_allclose(got, x @ matrix, atol=1e-5)


def test_bfloat16():
    x, matrix = (tf.cast(numbers(*shape), tf.bfloat16) for shape in ([3, 40], [40, 70]))
    variable = keras.Variable(matrix, dtype="bfloat16")

    @tf.function
    def function(x):
        with packing():
            return product(x, variable)

    got = function(x)
    assert got.dtype == tf.bfloat16
    exact = tf.cast(x, tf.float32).numpy() @ tf.cast(matrix, tf.float32).numpy()
    np.testing.assert_allclose(tf.cast(got, tf.float32), exact, rtol=2**-7, atol=2**-5)


def test_a_float32_matrix_for_bfloat16_states():
    """As a layer of policy mixed_bfloat16 has it."""
    layer, table = (kind(40, 70, dtype="mixed_bfloat16") for kind in (Dense, Embedding))
    layer.build()
    table.build(None)
    x = tf.cast(numbers(3, 40), tf.bfloat16)

    def both(x):
        return layer(x), table.project(tf.pad(x, [[0, 0], [0, 30]]))

    plain = [value.numpy() for value in both(x)]

    @tf.function
    def packed(x):
        with packing():
            return both(x)

    for got, expected in zip(packed(x), plain, strict=True):
        assert got.dtype == tf.bfloat16
        np.testing.assert_array_equal(got, expected)


def test_a_loop_lays_out_what_it_reads_once():
    read, unread = (keras.Variable(numbers(6, 6)) for _ in range(2))

    @tf.function
    def function(x):
        with packing():
            _, y = tf.while_loop(
                lambda i, _: i < 4,
                lambda i, y: (i + 1, tf.nn.relu(product(y, read)) + product(y, read)),
                (0, x),
            )
        assert not is_packing()
        return y + product(y, unread)

    x = expected = numbers(2, 6)
    for _ in range(4):
        expected = np.maximum(expected @ read.numpy(), 0) + expected @ read.numpy()
    expected = expected + expected @ unread.numpy()
    np.testing.assert_allclose(function(tf.constant(x)), expected, rtol=1e-5)
    graph = function.get_concrete_function(tf.constant(x)).graph.as_graph_def()
    assert [node.op for node in graph.node].count("Pad") == 1  # outside the loop
    (body,) = (f for f in graph.library.function if "body" in f.signature.name)
    operations = [node.op for node in body.node_def]
    assert operations.count("BatchMatMulV2") == 2
    assert not {"Pad", "MatMul"} & set(operations)


def test_a_change_of_the_matrix_is_seen():
    variable = keras.Variable(numbers(4, 5))

    @tf.function
    def function(x):
        with packing():
            return product(x, variable)

    x = numbers(2, 4)
    function(x)
    variable.assign(numbers(4, 5) + 1)
    np.testing.assert_allclose(function(x), x @ variable.numpy(), atol=1e-5)
