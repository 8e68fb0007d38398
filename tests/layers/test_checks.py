import numpy as np
import pytest
import tensorflow as tf

from tfhf.layers.checks import require, require_mask, require_range, require_sequence

Invalid = tf.errors.InvalidArgumentError


def by_graph(function, *signature):
    return tf.function(function, input_signature=signature)


def test_require_returns_what_it_was_given():
    x = tf.constant([1, 2])
    np.testing.assert_array_equal(require(tf.constant(True), ["never shown"], x), x)


@pytest.mark.parametrize("compiled", [False, True])
def test_require_stops_what_depends_on_it(compiled):
    ran = tf.Variable(0)

    def step(x):
        x = require(tf.reduce_all(x > 0), ["x must be positive, but is", x], x)
        ran.assign_add(tf.reduce_sum(x))
        return x

    step = tf.function(step) if compiled else step
    with pytest.raises(Invalid, match=r"x must be positive, but is\]? \[?-1"):
        step(tf.constant([-1]))
    assert ran.numpy() == 0
    step(tf.constant([5]))
    assert ran.numpy() == 5


class TestRange:
    @pytest.mark.parametrize("dtype", ["int32", "int64"])
    @pytest.mark.parametrize("values", [[0], [4], [[0, 4], [1, 2]], []])
    def test_inside(self, values, dtype):
        values = tf.constant(values, dtype)
        np.testing.assert_array_equal(require_range(values, 5, "ids"), values)

    @pytest.mark.parametrize("values, low, high", [([-1, 3], -1, 3), ([0, 5], 0, 5)])
    def test_outside(self, values, low, high):
        message = f"ids must be 0 to 4 but they reach from {low} to {high}"
        with pytest.raises(Invalid, match=message):
            require_range(tf.constant(values), 5, "ids")
        graph = by_graph(lambda x: require_range(x, 5, "ids"), tf.TensorSpec(None, tf.int32))
        with pytest.raises(
            Invalid, match=rf"ids must be 0 to\] \[4\].*\[{low}\] \[to\] \[{high}\]"
        ):
            graph(tf.constant(values))


class TestMask:
    @pytest.mark.parametrize("mask", [[[True, False]], [[1.0, 0.0]], [[1, 0]]])
    def test_right(self, mask):
        assert require_mask(tf.constant(mask), "x", [1, 2]).numpy().tolist() == [[1, 0]]

    def test_wrong(self):
        with pytest.raises(ValueError, match=r"x must be \[batch, length\], .* \(2,\)"):
            require_mask(tf.ones(2), "x", [1, 2])
        with pytest.raises(Invalid, match=r"x must be \[batch, length\] = .*1, 2.*\[1 3\]"):
            require_mask(tf.ones((1, 3)), "x", [1, 2])


class TestSequence:
    @pytest.mark.parametrize(
        "x, size, message",
        [
            (tf.zeros((3,), tf.int32), None, r"x must be \[batch, length\].*shape is \(3,\)"),
            (tf.zeros((1, 2, 3), tf.int32), None, r"x must be \[batch, length\].*\(1, 2, 3\)"),
            (tf.zeros((2, 3)), None, "x must be integers, but their type is float32"),
            (tf.constant([["a"]]), None, "x must be integers, but their type is string"),
            (tf.zeros((2, 3)), 8, r"x must be \[batch, length, 8\].*\(2, 3\)"),
            (tf.zeros((2, 3, 7)), 8, r"x must be \[batch, length, 8\].*\(2, 3, 7\)"),
            (tf.zeros((2, 6), tf.int32), None, "x has 6 positions.*max_position_embeddings = 5"),
            (tf.zeros((2, 6, 8)), 8, "x has 6 positions.*max_length=5"),
        ],
    )
    def test_what_is_known_when_traced(self, x, size, message):
        def check(x):
            return require_sequence(x, "x", vector_size=size, max_length=5)

        for function in (check, by_graph(check, tf.TensorSpec(x.shape, x.dtype))):
            with pytest.raises(ValueError, match=message):
                function(x)

    def test_length_unknown_when_traced(self):
        graph = by_graph(
            lambda x: require_sequence(x, "x", max_length=5),
            tf.TensorSpec((None, None), tf.int32),
        )
        assert graph(tf.zeros((2, 5), tf.int32)).shape == (2, 5)
        with pytest.raises(Invalid, match=r"x must not be longer.* 5\].*\[2 6\]"):
            graph(tf.zeros((2, 6), tf.int32))

    def test_rank_unknown_when_traced(self):
        def check(x):
            x = require_sequence(x, "x", max_length=None)
            assert x.shape.rank == 2
            return x

        graph = by_graph(check, tf.TensorSpec(None, tf.int32))
        assert graph(tf.zeros((2, 9), tf.int32)).shape == (2, 9)
        with pytest.raises(Invalid, match=r"x must be \[batch, length\].*\[9\]"):
            graph(tf.zeros((9,), tf.int32))

    def test_no_limit(self):
        assert require_sequence(tf.zeros((1, 9), tf.int32), "x", max_length=None).shape == (1, 9)
