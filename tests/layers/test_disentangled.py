"""Disentangled attention against the sums of its definition, one pair of tokens at a time."""

import numpy as np
import pytest
import tensorflow as tf

from tfhf.layers import (
    DisentangledAttention,
    DisentangledContext,
    RelativePositionTable,
    attention_bias,
)
from tfhf.layers.disentangled import relative_shift

BATCH, LENGTH, HEADS, SIZE, SPAN = 2, 5, 2, 3, 3


@pytest.mark.parametrize("length", [1, 2, 5])
def test_relative_shift(length):
    scores = np.random.default_rng(0).normal(size=(2, 3, length, 2 * length))
    expected = np.empty((2, 3, length, length))
    for row in range(length):
        for key in range(length):
            expected[..., row, key] = scores[..., row, key - row + length]
    np.testing.assert_array_equal(relative_shift(scores), expected)
    signature = [tf.TensorSpec((None, None, None, None), tf.float64)]
    graph = tf.function(relative_shift, input_signature=signature)
    np.testing.assert_array_equal(graph(tf.constant(scores)), expected)
    compiled = tf.function(relative_shift, jit_compile=True)
    np.testing.assert_array_equal(compiled(tf.constant(scores)), expected)


def make_attention(**options):
    """Return a built attention with random weights."""
    attention = DisentangledAttention(
        HEADS * SIZE, HEADS, relative=True, position_dropout=0.0, **options
    )
    attention.build()
    rng = np.random.default_rng(1)
    for weight in attention.weights:
        weight.assign(rng.normal(size=weight.shape))
    return attention


def make_context(mask=None):
    """Return random vectors for offsets that are cut at ±SPAN, and a mask."""
    table = RelativePositionTable(HEADS * SIZE, max_distance=SPAN, stddev=1.0)
    table.build()
    positions = table(tf.constant(LENGTH))
    if mask is None:
        return DisentangledContext(None, None, positions)
    seen = tf.cast(mask, tf.bool)
    return DisentangledContext(seen, attention_bias(seen[:, :, None] & seen[:, None, :]), positions)


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("terms", [("c2p", "p2c"), ("c2p",), ("p2c",), ()])
def test_weights_by_pairs(terms, share):
    attention = make_attention(terms=terms, share_projections=share)
    context = make_context()
    states = np.random.default_rng(3).normal(size=(BATCH, LENGTH, HEADS * SIZE))
    states = states.astype(np.float32)

    def heads(layer, x, part):
        projected = layer(x).numpy()[..., part * HEADS * SIZE : (part + 1) * HEADS * SIZE]
        return projected.reshape(*projected.shape[:-1], HEADS, SIZE)

    query, key = heads(attention.qkv, states, 0), heads(attention.qkv, states, 1)
    vectors = context.positions.vectors
    if share:
        position_query, position_key = (heads(attention.qkv, vectors, part) for part in (0, 1))
    else:
        if "p2c" in terms:
            position_query = heads(attention.position_query, vectors, 0)
        if "c2p" in terms:
            position_key = heads(attention.position_key, vectors, 0)
    scores = np.empty((BATCH, HEADS, LENGTH, LENGTH))
    for b, h, q, k in np.ndindex(scores.shape):
        row = np.clip(q - k + SPAN, 0, 2 * SPAN - 1)
        total = query[b, q, h] @ key[b, k, h]
        if "c2p" in terms:
            total += query[b, q, h] @ position_key[row, h]
        if "p2c" in terms:
            total += key[b, k, h] @ position_query[row, h]
        scores[b, h, q, k] = total / np.sqrt(SIZE * (1 + len(terms)))
    expected = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    weights = attention(states, bias=context).weights
    np.testing.assert_allclose(weights, expected, atol=1e-5)


def test_padding_sees_all_alike_and_has_no_gradient():
    attention = make_attention(terms=("c2p", "p2c"), share_projections=False)
    context = make_context([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    states = tf.constant(np.random.default_rng(3).normal(size=(BATCH, LENGTH, 6)), tf.float32)
    watched = [states, context.positions.vectors]
    with tf.GradientTape() as tape:
        tape.watch(watched)
        weights = attention(states, bias=context).weights
        loss = tf.reduce_sum(weights[0, :, 3:] * tf.range(5.0))
    np.testing.assert_allclose(weights[0, :, 3:], 1 / LENGTH, rtol=1e-6)
    np.testing.assert_array_equal(weights[0, :, :3, 3:], 0)
    for gradient in tape.gradient(loss, watched):
        np.testing.assert_array_equal(gradient, 0)
