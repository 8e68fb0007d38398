"""Keys and values of earlier tokens: appended, or written where there is room."""

import numpy as np
import pytest
import tensorflow as tf

from tfhf.layers import MultiHeadAttention, TransformerStack, attention_bias
from tfhf.layers.cache import BeamKeyValues, KeyValues, as_key_values, extend
from tfhf.layers.rotary import rotary_angles

SIZES = (2, 3, 6, 4)  # batch, heads, length, head_size


def random(rng, length, dtype=tf.float32):
    shape = (SIZES[0], SIZES[1], length, SIZES[3])
    return KeyValues(*(tf.cast(rng.normal(size=shape), dtype) for _ in range(2)))


def test_key_values_of_callers():
    rng = np.random.default_rng(0)
    own, cross = random(rng, 6), random(rng, 2)
    plain = tuple(own)
    forms = {
        "ours": ((own,), (own,)),
        "Transformers 4": (plain, plain),
        "lists of arrays": [[part.numpy() for part in plain]] * 2,
        "KeyValues": (own, own),
    }
    for form in forms.values():
        first, second = as_key_values(form)
        assert len(first) == len(second) == 1 and isinstance(first[0], KeyValues)
        for got, expected in zip((*first[0], *second[0]), (*plain, *plain), strict=True):
            np.testing.assert_array_equal(got, expected)
    for form in ([(own, cross)], [(*own, *cross)], (((own.key, own.value), [*cross]),)):
        ((got, of_encoder),) = as_key_values(form)
        np.testing.assert_array_equal(got.value, own.value)
        np.testing.assert_array_equal(of_encoder.key, cross.key)


@pytest.mark.parametrize(
    ("past", "fault"),
    [
        ((), r"past_key_values must be a tuple .*, but is \(\)"),
        ("cache", "past_key_values must be a tuple .*, but is 'cache'"),
        (tf.zeros((2, 2, 1, 3, 6, 4)), "past_key_values must be a tuple"),
        ([(tf.zeros(SIZES),)], r"past_key_values\[0\] must be .* shapes \[\(2, 3, 6, 4\)\]"),
        ([(tf.zeros(SIZES),) * 2, (tf.zeros(SIZES),) * 3], r"past_key_values\[1\] must be"),
        ([(tf.zeros(SIZES), tf.zeros(SIZES[1:]))], r"shapes .*\(3, 6, 4\)"),
        ([()], r"past_key_values\[0\] must be .* shapes \[\]"),
    ],
)
def test_what_are_no_key_values(past, fault):
    with pytest.raises(ValueError, match=fault):
        as_key_values(past)


@pytest.mark.parametrize("length", [1, 3])
def test_new_ones_come_behind(length):
    rng = np.random.default_rng(length)
    past, new = random(rng, 6), random(rng, length)
    for got, old, added in zip(extend(past, new, None), past, new, strict=True):
        np.testing.assert_array_equal(got[:, :, :6], old)
        np.testing.assert_array_equal(got[:, :, 6:], added)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("how", ["eager", "graph", "xla"])
@pytest.mark.parametrize(("position", "length"), [(0, 1), (3, 1), (5, 1), (2, 4), (0, 6)])
def test_new_ones_are_written_where_there_is_room(how, position, length, dtype):
    rng = np.random.default_rng(position)
    past, new = random(rng, 6, dtype), random(rng, length, dtype)
    expected = [part.numpy().copy() for part in past]
    for part, added in zip(expected, new, strict=True):
        part[:, :, position : position + length] = added
    write = extend if how == "eager" else tf.function(extend, jit_compile=how == "xla")
    got = write(past, new, tf.constant(position))
    for part, right in zip(got, expected, strict=True):
        assert part.dtype == dtype and part.shape == SIZES
        np.testing.assert_array_equal(part, right)


def test_no_copy_is_made_in_a_loop():
    """The graph without XLA writes into the loop's own tensor: no operation copies the cache."""

    @tf.function
    def fill(past, new):
        def step(i, past):
            return i + 1, extend(past, new, i)

        return tf.while_loop(lambda i, _: i < 6, step, (0, past))[1]

    rng = np.random.default_rng(0)
    past, new = random(rng, 6), random(rng, 1)
    for got, part in zip(fill(past, new), new, strict=True):
        np.testing.assert_array_equal(got, np.repeat(part, 6, axis=2))
    functions = fill.get_concrete_function(past, new).graph.as_graph_def().library.function
    used = {node.op for function in functions for node in function.node_def}
    assert "InplaceUpdate" in used
    assert not used & {"ConcatV2", "TensorScatterUpdate", "DeepCopy", "XlaDynamicUpdateSlice"}


@pytest.mark.parametrize("num_kv_heads", [4, 2, 1])
def test_attention_reads_on(num_kv_heads):
    layer = MultiHeadAttention(12, 4, num_kv_heads=num_kv_heads, stddev=0.5)
    layer.build()
    x = np.random.default_rng(0).normal(size=(2, 7, 12)).astype(np.float32)
    whole = layer(x, bias=attention_bias(None, causal=True, length=7))
    first = layer(x[:, :4], bias=attention_bias(None, causal=True, length=4))
    bias = attention_bias(None, causal=True, length=3, past_length=4)
    rest = layer(x[:, 4:], bias=bias, past_key_value=first.past_key_value)
    for a, b in zip(rest.past_key_value, whole.past_key_value, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)
    np.testing.assert_allclose(rest.mixed, whole.mixed[:, 4:], rtol=0, atol=1e-5)
    np.testing.assert_allclose(rest.weights, whole.weights[:, :, 4:], rtol=0, atol=1e-5)


@pytest.mark.parametrize("num_kv_heads", [4, 2])
@pytest.mark.parametrize("of_each_row", [False, True])
def test_beams_read_what_their_owners_keep(num_kv_heads, of_each_row):
    """They are as rows that each have the keys and values which the owners have for them."""
    prompts, beams, length, position = 2, 3, 6, 4
    rng = np.random.default_rng(num_kv_heads)
    layer = MultiHeadAttention(32, 4, num_kv_heads=num_kv_heads, stddev=0.5)
    layer.build()
    rows = prompts * beams
    kept = rng.normal(size=(2, prompts, beams, num_kv_heads, length, 8)).astype(np.float32)
    owners = rng.integers(0, beams, (prompts, beams, length))
    owners[:, :, position] = np.arange(beams)
    owned = np.take_along_axis(
        kept.transpose(0, 1, 3, 4, 2, 5), owners.transpose(0, 2, 1)[None, :, None, ..., None], 4
    ).transpose(0, 1, 4, 2, 3, 5)
    padding = rng.integers(0, 2, (rows, length)) if of_each_row else np.zeros((1, length), int)
    seen = (np.arange(length) <= position) & (np.arange(length) >= padding)
    angles = rng.integers(0, 9, (rows if of_each_row else 1, 1))
    given = {
        "hidden_states": rng.normal(size=(rows, 1, 32)).astype(np.float32),
        "bias": attention_bias(tf.constant(seen)),
        "rotation": rotary_angles(angles, 8, {"rope_theta": 100.0}, 9),
        "cache_position": tf.constant(position),
    }
    past = KeyValues(*tf.reshape(owned, [2, rows, num_kv_heads, length, 8]))
    expected = layer(**given, past_key_value=past)
    side_by_side = kept.transpose(0, 1, 3, 4, 2, 5).reshape(2, prompts, num_kv_heads, -1, 8)
    past = BeamKeyValues(*tf.constant(side_by_side), tf.constant(owners, tf.int32))
    got = layer(**given, past_key_value=past)
    np.testing.assert_allclose(got.mixed, expected.mixed, rtol=0, atol=1e-5)
    for ours, theirs, before in zip(
        got.past_key_value, expected.past_key_value, side_by_side, strict=True
    ):
        written = slice(position * beams, (position + 1) * beams)
        new = tf.reshape(theirs[:, :, position], [prompts, beams, num_kv_heads, 8])
        np.testing.assert_allclose(
            ours[:, :, written], tf.transpose(new, [0, 2, 1, 3]), rtol=0, atol=1e-5
        )
        np.testing.assert_array_equal(np.delete(ours, written, 2), np.delete(before, written, 2))


def test_cross_attention_keeps_what_the_encoder_said():
    layer = MultiHeadAttention(12, 3, cross_attention=True, stddev=0.5)
    layer.build()
    x, states = np.random.default_rng(0).normal(size=(2, 2, 5, 12)).astype(np.float32)
    first = layer(x, key_value_states=states)
    again = layer(x, past_key_value=first.past_key_value)
    np.testing.assert_array_equal(first.mixed, again.mixed)
    assert again.past_key_value.key is first.past_key_value.key


def test_a_stack_returns_the_past_only_if_asked():
    stack = TransformerStack([])
    assert stack(tf.zeros((1, 2, 3))).past_key_values is None
    assert stack(tf.zeros((1, 2, 3)), use_cache=True).past_key_values == ()
