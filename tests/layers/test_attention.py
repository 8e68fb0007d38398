import numpy as np
import pytest
import tensorflow as tf

from tfhf.layers import LayerNorm, MultiHeadAttention, attention_bias

SIZE, HEADS = 12, 3


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def split(x):
    return x.reshape(*x.shape[:2], HEADS, -1).transpose(0, 2, 1, 3)


def reference(query, key, value, seen, out, head_mask=None):
    """Attention as its formula has it; ``seen`` is boolean [batch, heads, query, key]."""
    q, k, v = split(query), split(key), split(value)
    scores = q @ k.transpose(0, 1, 3, 2) / np.sqrt(q.shape[-1])
    weights = softmax(np.where(seen, scores, np.finfo(np.float64).min))
    if head_mask is not None:
        weights = weights * head_mask[None, :, None, None]
    mixed = (weights @ v).transpose(0, 2, 1, 3).reshape(query.shape)
    return out(mixed), weights


def affine(layer):
    kernel, bias = layer.kernel.numpy().astype(float), layer.bias.numpy().astype(float)
    return lambda x: x @ kernel + bias


@pytest.fixture(scope="module")
def layer():
    layer = MultiHeadAttention(SIZE, HEADS, stddev=0.5)
    layer.build()
    rng = np.random.default_rng(0)
    for weight in layer.weights:
        weight.assign(0.5 * rng.normal(size=weight.shape))
    return layer


@pytest.mark.parametrize("batch, length", [(2, 5), (1, 1), (3, 8)])
@pytest.mark.parametrize("masked", ["nothing", "keys", "keys per query"])
def test_self_attention(layer, batch, length, masked):
    rng = np.random.default_rng(batch * length)
    x = rng.normal(size=(batch, length, SIZE)).astype(np.float32)
    mask = None
    seen = np.ones((batch, 1, length, length), bool)
    if masked == "keys":
        mask = rng.integers(0, 2, (batch, length))
        mask[:, 0] = 1
        seen = seen & mask[:, None, None].astype(bool)
    elif masked == "keys per query":
        mask = rng.integers(0, 2, (batch, length, length)) | np.eye(length, dtype=int)
        seen = mask[:, None].astype(bool)
    head_mask = rng.uniform(size=HEADS)
    bias = None if mask is None else attention_bias(tf.constant(mask))
    query, key, value = np.split(affine(layer.qkv)(x), 3, axis=-1)
    for heads in (None, head_mask):
        given = None if heads is None else heads[None, :, None, None].astype(np.float32)
        mixed, weights, _ = layer(x, bias=bias, head_mask=given)
        expected = reference(query, key, value, seen, affine(layer.out), heads)
        np.testing.assert_allclose(mixed, expected[0], atol=1e-5)
        np.testing.assert_allclose(weights, expected[1], atol=1e-5)


def test_a_query_that_sees_nothing_stays_finite(layer):
    x = np.random.default_rng(0).normal(size=(1, 4, SIZE)).astype(np.float32)
    mixed, weights, _ = layer(x, bias=attention_bias(tf.zeros((1, 4), tf.int32)))
    np.testing.assert_allclose(weights, np.full((1, HEADS, 4, 4), 0.25), atol=1e-7)
    assert np.isfinite(mixed).all()


def test_cross_attention():
    layer = MultiHeadAttention(SIZE, HEADS, cross_attention=True, stddev=0.5)
    layer.build()
    rng = np.random.default_rng(0)
    for weight in layer.weights:
        weight.assign(0.5 * rng.normal(size=weight.shape))
    x = rng.normal(size=(2, 3, SIZE)).astype(np.float32)
    states = rng.normal(size=(2, 7, SIZE)).astype(np.float32)
    mask = np.array([[1] * 7, [1, 1, 0, 0, 1, 0, 0]])
    key, value = np.split(affine(layer.key_value)(states), 2, axis=-1)
    seen = mask[:, None, None].astype(bool)
    expected = reference(affine(layer.query)(x), key, value, seen, affine(layer.out))
    mixed, weights, _ = layer(x, bias=attention_bias(tf.constant(mask)), key_value_states=states)
    np.testing.assert_allclose(mixed, expected[0], atol=1e-5)
    np.testing.assert_allclose(weights, expected[1], atol=1e-5)
    assert not np.any(weights.numpy()[1][..., mask[1] == 0])


def test_rows_that_share_keys():
    """Three sequences of each of two texts: keys of two rows give what those of six rows give."""
    layer = MultiHeadAttention(SIZE, HEADS, cross_attention=True, stddev=0.5)
    layer.build()
    rng = np.random.default_rng(3)
    text = tf.constant(rng.normal(size=(2, 5, SIZE)), tf.float32)
    x = tf.constant(rng.normal(size=(6, 1, SIZE)), tf.float32)
    bias = attention_bias(tf.constant([[1, 1, 1, 0, 0], [0, 1, 1, 1, 1]]))
    past = layer(tf.zeros((2, 1, SIZE)), key_value_states=text).past_key_value
    shared = layer(x, bias=bias, past_key_value=past)
    repeated = type(past)(*(tf.repeat(part, 3, axis=0) for part in past))
    expected = layer(x, bias=tf.repeat(bias, 3, axis=0), past_key_value=repeated)
    np.testing.assert_allclose(shared.mixed, expected.mixed, rtol=0, atol=1e-6)
    assert shared.past_key_value.key.shape[0] == 2 and shared.weights.shape == (2, HEADS, 3, 5)


def test_dropout_is_for_training(layer):
    dropping = MultiHeadAttention(SIZE, HEADS, dropout=0.5)
    dropping.build()
    x = np.random.default_rng(0).normal(size=(2, 6, SIZE)).astype(np.float32)
    np.testing.assert_array_equal(dropping(x)[0], dropping(x)[0])
    dropped = dropping(x, training=True)[1].numpy()
    assert 0.2 < np.mean(dropped == 0) < 0.8


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "bfloat16"])
def test_padding_under_low_precision(policy):
    layer = MultiHeadAttention(SIZE, HEADS, dtype=policy)
    layer.build()
    x = tf.cast(np.random.default_rng(0).normal(size=(2, 5, SIZE)), layer.compute_dtype)
    mask = tf.constant([[1, 1, 1, 0, 0], [0, 0, 0, 0, 0]])
    mixed, weights, _ = layer(x, bias=attention_bias(mask))
    weights = tf.cast(weights, tf.float32).numpy()
    assert mixed.dtype == layer.compute_dtype
    assert np.isfinite(tf.cast(mixed, tf.float32)).all()
    assert not weights[0][..., 3:].any()
    np.testing.assert_allclose(weights.sum(-1), 1, atol=0.02)


class TestAttentionBias:
    @pytest.mark.parametrize("dtype", ["int32", "int64", "bool", "float32"])
    def test_keys(self, dtype):
        bias = attention_bias(tf.cast([[1, 0, 1], [0, 0, 0]], dtype)).numpy()
        assert bias.shape == (2, 1, 1, 3)
        assert bias.dtype == np.float32
        hidden = np.array([[False, True, False], [True, True, True]])
        np.testing.assert_array_equal(bias[:, 0, 0] < -1e38, hidden)
        np.testing.assert_array_equal(bias[:, 0, 0] == 0, ~hidden)
        assert np.isfinite(bias).all()

    def test_keys_per_query(self):
        mask = np.random.default_rng(0).integers(0, 2, (2, 3, 4))
        bias = attention_bias(tf.constant(mask)).numpy()
        assert bias.shape == (2, 1, 3, 4)
        np.testing.assert_array_equal(bias[:, 0] == 0, mask == 1)

    def test_causal(self):
        bias = attention_bias(None, causal=True, length=4).numpy()
        np.testing.assert_array_equal(bias[0, 0] == 0, np.tril(np.ones((4, 4), bool)))

    def test_causal_with_padding(self):
        mask = np.array([[0, 1, 1]])
        bias = attention_bias(tf.constant(mask), causal=True, length=3).numpy()
        expected = [[False, False, False], [False, True, False], [False, True, True]]
        np.testing.assert_array_equal(bias[0, 0] == 0, expected)

    @pytest.mark.parametrize("window", [0, 1, 3, 9])
    def test_window(self, window):
        positions = np.arange(5)
        distance = np.abs(positions - positions[:, None])
        bias = attention_bias(None, window=window, length=5).numpy()
        np.testing.assert_array_equal(bias[0, 0] == 0, distance <= window)
        mask = np.array([[1, 1, 0, 1, 1]])
        bias = attention_bias(tf.constant(mask), window=window, length=5).numpy()
        np.testing.assert_array_equal(bias[0, 0] == 0, (distance <= window) & (mask == 1))
        bias = attention_bias(None, window=window, causal=True, length=5).numpy()
        np.testing.assert_array_equal(bias[0, 0] == 0, np.tril(distance <= window))

    def test_nothing_to_hide(self):
        assert attention_bias(None) is None

    @pytest.mark.parametrize("shape", [(3,), (2, 1, 1, 3)])
    def test_other_ranks_are_refused(self, shape):
        with pytest.raises(ValueError, match=rf"attention_mask must be .*shape is \({shape[0]}"):
            attention_bias(tf.ones(shape))

    @pytest.mark.parametrize("shape", [(2, 1), (2, 4), (2, 3, 1)])
    def test_other_lengths_are_refused(self, shape):
        with pytest.raises(tf.errors.InvalidArgumentError, match="attention_mask must have 3"):
            attention_bias(tf.ones(shape), length=3)


def test_sizes_that_heads_cannot_share_are_refused():
    with pytest.raises(ValueError, match=r"hidden_size.*10 is not a multiple of 3"):
        MultiHeadAttention(10, 3)
    with pytest.raises(ValueError, match=r"key and value heads, but 4 is not a multiple of 3"):
        MultiHeadAttention(12, 4, num_kv_heads=3)


@pytest.mark.oracle
@pytest.mark.parametrize("length", [1, 5])
@pytest.mark.parametrize(
    ("num_kv_heads", "options"),
    [
        (4, {"use_bias": False}),
        (2, {"out_bias": False}),
        (1, {"scaling": 0.7}),
        (2, {"softcap": 1.5, "head_size": 5}),
        (4, {"softcap": 0.5, "scaling": 1.0}),
    ],
)
@pytest.mark.parametrize("normalised", [False, True])
def test_options_equal_pytorch(num_kv_heads, options, length, normalised):
    import torch

    rng = np.random.default_rng(length)
    norms = {}
    if normalised:
        size = options.get("head_size", SIZE // 4)
        norms = {name: LayerNorm(size, 1e-3) for name in ("query_norm", "key_norm")}
    layer = MultiHeadAttention(12, 4, num_kv_heads=num_kv_heads, **options, **norms)
    layer.build()
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape))
    x = rng.normal(size=(2, length, 12)).astype(np.float32)
    bias = attention_bias(None, causal=True, length=length)
    got = layer(x, bias=bias)

    def to_torch(value):
        return torch.from_numpy(tf.convert_to_tensor(value).numpy())

    def linear(dense, states):
        states = states @ to_torch(dense.kernel)
        return states + to_torch(dense.bias) if dense.use_bias else states

    def norm(layer, states):
        weights = (to_torch(layer.gamma), to_torch(layer.beta))
        return torch.nn.functional.layer_norm(states, (layer.size,), *weights, layer.epsilon)

    size = layer.head_size
    heads = linear(layer.qkv, to_torch(x)).unflatten(-1, (-1, size)).transpose(1, 2)
    query, key, value = heads.split([4, num_kv_heads, num_kv_heads], dim=1)
    if normalised:
        query, key = norm(layer.query_norm, query), norm(layer.key_norm, key)
    key, value = (part.repeat_interleave(4 // num_kv_heads, dim=1) for part in (key, value))
    scores = query @ key.transpose(2, 3) * options.get("scaling", size**-0.5)
    if "softcap" in options:
        scores = torch.tanh(scores / options["softcap"]) * options["softcap"]
    weights = torch.softmax(scores + to_torch(bias), dim=-1)
    mixed = linear(layer.out, (weights @ value).transpose(1, 2).flatten(2))
    np.testing.assert_allclose(got.weights, weights, rtol=0, atol=1e-5)
    np.testing.assert_allclose(got.mixed, mixed, rtol=1e-5, atol=1e-4)
    assert got.past_key_value.key.shape == (2, num_kv_heads, length, size)
