"""Sliding windows against full attention with a mask: every length, window and set of tokens."""

import numpy as np
import pytest
import tensorflow as tf

from tfhf.layers import SlidingWindowAttention, window_layout, window_mask

SIZE, HEADS = 12, 3


def affine(layer, parts):
    kernel, bias = layer.kernel.numpy().astype(float), layer.bias.numpy().astype(float)

    def apply(x):
        x = (x @ kernel + bias).reshape(*x.shape[:2], parts, HEADS, SIZE // HEADS)
        return x.transpose(2, 0, 3, 1, 4)

    return apply


def attend(query, key, value, seen):
    scores = query @ key.swapaxes(2, 3) / np.sqrt(query.shape[-1])
    weights = np.exp(scores - scores.max(-1, keepdims=True)) * seen[:, None]
    weights /= np.maximum(weights.sum(-1, keepdims=True), 1e-30)
    return (weights @ value).transpose(0, 2, 1, 3).reshape(len(query), -1, SIZE), weights


def reference(layer, x, mask, marked, window):
    """The formula on [length, length], in float64."""
    mask, marked = mask.astype(bool), (marked * mask).astype(bool)
    at = np.arange(x.shape[1])
    near = np.abs(at[:, None] - at) <= window // 2
    seen = (near | marked[:, None]) & mask[:, None] & (mask & ~marked)[:, :, None]
    mixed, weights = attend(*affine(layer.qkv, 3)(x), seen)
    (query,), (key, value) = affine(layer.global_query, 1)(x), affine(layer.global_key_value, 2)(x)
    from_all, to_all = attend(query, key, value, mask[:, None] & marked[:, :, None])
    mixed = mixed + from_all
    out = mixed @ layer.out.kernel.numpy().astype(float) + layer.out.bias.numpy()
    return out, weights, to_all


def make(window, **kwargs):
    layer = SlidingWindowAttention(SIZE, HEADS, window=window, **kwargs)
    layer.build()
    rng = np.random.default_rng(window)
    for weight in layer.weights:
        weight.assign(0.5 * rng.normal(size=weight.shape))
    return layer


def run(layer, x, mask, marked, **kwargs):
    """Attend as a model does: the length is filled up, and cut."""
    length = tf.shape(x)[1]
    missing = -length % (2 * layer.half)
    masks = window_mask(mask, marked, tf.shape(x)[:2], missing)
    mixed, weights, _ = layer(tf.pad(x, [[0, 0], [0, missing], [0, 0]]), masks, **kwargs)
    return mixed[:, :length], *window_layout(weights, masks, length)


def case(length, tokens, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, length, SIZE)).astype(np.float32)
    mask = np.ones((2, length), int)
    mask[1, length // 2 :] = 0
    mask[1, 0] = 1
    marked = np.zeros_like(mask)
    marked[:, rng.permutation(length)[:tokens]] = 1
    return x, mask, marked


@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 23, 40])
@pytest.mark.parametrize("window", [2, 4, 10])
@pytest.mark.parametrize("tokens", [0, 1, 5])
def test_equals_full_attention(length, window, tokens):
    layer = make(window)
    x, mask, marked = case(length, tokens, seed=length * window)
    mixed, rows, to_all = run(layer, x, tf.constant(mask), tf.constant(marked))
    expected, weights, all_weights = reference(layer, x, mask, marked, window)
    np.testing.assert_allclose(mixed, expected, rtol=0, atol=2e-5)
    marked, half = marked * mask, window // 2
    x_size = marked.sum(1).max()
    assert rows.shape == (2, HEADS, length, x_size + window + 1)
    for row in range(2):
        positions = np.flatnonzero(marked[row])
        for k, position in enumerate(positions):
            np.testing.assert_allclose(rows[row, :, :, k], weights[row, :, :, position], atol=1e-5)
            np.testing.assert_allclose(
                to_all[row, :, :length, k], all_weights[row, :, position], atol=1e-5
            )
        for i in range(length):
            for j in range(max(i - half, 0), min(i + half + 1, length)):
                expected = 0 if j in positions else weights[row, :, i, j]
                np.testing.assert_allclose(rows[row, :, i, x_size + half + j - i], expected,
                                           atol=1e-5)  # fmt: skip


def test_no_global_mask_is_no_global_token():
    layer = make(4)
    x, mask, marked = case(11, tokens=0, seed=0)
    with_mask, rows, none_wide = run(layer, x, tf.constant(mask), tf.constant(marked))
    without, same_rows, nothing = run(layer, x, tf.constant(mask), None)
    np.testing.assert_allclose(with_mask, without, atol=1e-6)
    np.testing.assert_allclose(rows, same_rows, atol=1e-6)
    assert nothing is None and none_wide.shape[-1] == 0


def test_head_mask_silences_heads():
    layer = make(4)
    x, mask, marked = case(9, tokens=2, seed=1)
    head_mask = tf.constant([1.0, 0.0, 0.5])[None, :, None, None]
    _, rows, to_all = run(layer, x, tf.constant(mask), tf.constant(marked))
    _, masked_rows, masked_all = run(
        layer, x, tf.constant(mask), tf.constant(marked), head_mask=head_mask
    )
    np.testing.assert_allclose(masked_rows, rows * head_mask, atol=1e-6)
    np.testing.assert_allclose(masked_all, to_all * head_mask, atol=1e-6)


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
def test_unknown_length_and_xla(jit_compile):
    layer = make(4)
    spec = [tf.TensorSpec([None, None, SIZE])] + [tf.TensorSpec([None, None], tf.int64)] * 2
    compiled = tf.function(
        lambda *args: run(layer, *args), input_signature=spec, jit_compile=jit_compile
    )
    for length in (3, 8, 13):
        x, mask, marked = case(length, tokens=2, seed=length)
        got = compiled(tf.constant(x), tf.constant(mask), tf.constant(marked))
        expected = run(layer, x, tf.constant(mask), tf.constant(marked))
        for a, b in zip(got, expected):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


def test_dropout_only_in_training():
    layer = make(4, dropout=0.875)
    x, mask, marked = case(20, tokens=1, seed=3)
    args = x, tf.constant(mask), tf.constant(marked)
    plain = run(layer, *args)[1]
    rows = run(layer, *args, training=True)[1].numpy()
    kept = rows > 0
    assert 0 < kept.sum() < 0.3 * (plain.numpy() > 0).sum()
    np.testing.assert_allclose(rows[kept], 8 * plain.numpy()[kept], rtol=1e-5)


@pytest.mark.parametrize("window", [0, 3, -2])
def test_odd_windows_are_refused(window):
    with pytest.raises(ValueError, match=f"window must be even and positive, not {window}"):
        SlidingWindowAttention(SIZE, HEADS, window=window)


def test_masks_of_other_shapes_are_refused():
    good = tf.ones([2, 5], tf.int32)
    with pytest.raises(tf.errors.InvalidArgumentError, match="global_attention_mask must be"):
        window_mask(good, tf.ones([2, 4]), tf.constant([2, 5]))
    with pytest.raises(ValueError, match="attention_mask must be .batch, length"):
        window_mask(tf.ones([2, 5, 5]), None, tf.constant([2, 5]))
