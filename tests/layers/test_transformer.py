import numpy as np
import pytest
import tensorflow as tf

from tfhf.layers import (
    FeedForward,
    GatedFeedForward,
    LayerNorm,
    MultiHeadAttention,
    PreNormLayer,
    TransformerLayer,
    TransformerStack,
    attention_bias,
)

SIZE, HEADS = 8, 2


def make_layer(name="layer", **options):
    options = {"epsilon": 1e-5, "dropout": 0.0, "attention_dropout": 0.0, "stddev": 0.4} | options
    return TransformerLayer(SIZE, HEADS, 12, tf.nn.relu, name=name, **options)


@pytest.fixture(scope="module")
def stack():
    stack = TransformerStack([make_layer(f"layer_{i}") for i in range(3)])
    stack.build()
    return stack


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(size=(2, 5, SIZE)).astype(np.float32)


def test_feed_forward(x):
    layer = FeedForward(SIZE, 12, tf.nn.relu, stddev=0.5)
    layer.build()
    inner, out = layer.intermediate, layer.out
    expected = np.maximum(x @ inner.kernel.numpy() + inner.bias.numpy(), 0)
    expected = expected @ out.kernel.numpy() + out.bias.numpy()
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)


def make_pre_norm_layer(name="layer", *, normalised=False):
    return PreNormLayer(
        MultiHeadAttention(SIZE, HEADS, stddev=0.4, name="attention"),
        GatedFeedForward(SIZE, 12, tf.nn.relu, stddev=0.4, name="feed_forward"),
        attention_norm=None if normalised else LayerNorm(SIZE, 1e-5),
        feed_forward_norm=LayerNorm(SIZE, 1e-5),
        dropout=0.5,
        name=name,
    )


@pytest.mark.parametrize("use_bias", [True, False])
def test_gated_feed_forward(x, use_bias):
    layer = GatedFeedForward(SIZE, 12, tf.nn.relu, stddev=0.5, use_bias=use_bias, dropout=0.5)
    layer.build()
    assert len(layer.weights) == (4 if use_bias else 2)
    for weight in layer.weights:
        weight.assign(np.random.default_rng(1).normal(size=weight.shape))
    inner, out = layer.intermediate, layer.out
    both = x @ inner.kernel.numpy() + (inner.bias.numpy() if use_bias else 0)
    expected = np.maximum(both[..., :12], 0) * both[..., 12:] @ out.kernel.numpy()
    expected += out.bias.numpy() if use_bias else 0
    np.testing.assert_allclose(layer(x), expected, atol=1e-4)
    assert np.abs(layer(x, training=True) - layer(x)).max() > 1e-2


@pytest.mark.parametrize("normalised", [True, False])
def test_pre_norm_layer_normalises_then_adds(x, normalised):
    layer = make_pre_norm_layer(normalised=normalised)
    layer.build()
    mixed, weights, _ = layer.attention(x if normalised else layer.attention_norm(x))
    middle = x + mixed
    expected = middle + layer.feed_forward(layer.feed_forward_norm(middle))
    got, got_weights, cross_weights, _ = layer(x)
    np.testing.assert_allclose(got, expected, atol=1e-6)
    np.testing.assert_array_equal(got_weights, weights)
    assert cross_weights is None
    assert np.abs(layer(x, training=True)[0] - got).max() > 1e-3


def test_the_final_norm_is_in_the_last_states(x):
    layers = [make_pre_norm_layer(f"layer_{i}") for i in range(2)]
    stack = TransformerStack(layers, final_norm=LayerNorm(SIZE, 1e-5))
    stack.build()
    out = stack(x, output_hidden_states=True)
    states = layers[1](layers[0](x)[0])[0]
    np.testing.assert_allclose(out.last_hidden_state, stack.final_norm(states), atol=1e-6)
    np.testing.assert_array_equal(out.hidden_states[-1], out.last_hidden_state)
    np.testing.assert_allclose(out.hidden_states[1], layers[0](x)[0], atol=1e-6)
    assert len(out.hidden_states) == 3


def test_layer_adds_then_normalises(x):
    layer = make_layer()
    layer.build()
    mixed, weights, _ = layer.attention(x)
    middle = layer.attention_norm(x + mixed)
    expected = layer.output_norm(middle + layer.feed_forward(middle))
    got, got_weights, cross_weights, _ = layer(x)
    np.testing.assert_allclose(got, expected, atol=1e-6)
    np.testing.assert_array_equal(got_weights, weights)
    assert cross_weights is None
    # Normalised with gamma 1 and beta 0.
    np.testing.assert_allclose(got.numpy().mean(-1), 0, atol=1e-5)
    np.testing.assert_allclose(got.numpy().std(-1), 1, atol=1e-3)


def test_stack_keeps_what_was_asked_for(stack, x):
    out = stack(x)
    assert out.hidden_states is out.attentions is out.cross_attentions is None
    out = stack(x, output_attentions=True, output_hidden_states=True)
    assert len(out.hidden_states) == 4 and len(out.attentions) == 3
    np.testing.assert_array_equal(out.hidden_states[0], x)
    np.testing.assert_array_equal(out.hidden_states[-1], out.last_hidden_state)
    state = x
    for i, layer in enumerate(stack.layer):
        state, weights, *_ = layer(state)
        np.testing.assert_allclose(out.hidden_states[i + 1], state, atol=1e-6)
        np.testing.assert_allclose(out.attentions[i], weights, atol=1e-6)


@pytest.mark.parametrize("mask", [[[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]], "causal", "none"])
def test_states_that_nobody_needs_are_not_made(stack, x, mask):
    bias = None
    if mask == "causal":
        bias = attention_bias(None, causal=True, length=5)
    elif mask != "none":
        bias = attention_bias(tf.constant(mask))
    head_mask = tf.constant([[1.0, 0.0], [1.0, 1.0], [0.5, 2.0]])
    whole = stack(x, bias=bias, head_mask=head_mask, use_cache=True)
    for num_states in (1, 2):
        few = stack(x, bias=bias, head_mask=head_mask, use_cache=True, num_states=num_states)
        assert few.last_hidden_state.shape == (2, num_states, SIZE)
        np.testing.assert_allclose(
            few.last_hidden_state, whole.last_hidden_state[:, :num_states], atol=1e-6
        )
        np.testing.assert_array_equal(
            few.past_key_values[2][0].key, whole.past_key_values[2][0].key
        )
    shown = stack(x, bias=bias, num_states=1, output_attentions=True, output_hidden_states=True)
    assert shown.last_hidden_state.shape == (2, 5, SIZE)
    assert shown.attentions[2].shape == (2, HEADS, 5, 5)


def test_head_masks_go_to_their_layers(stack, x):
    masks = np.array([[1, 0], [1, 1], [0, 1]], np.float32)
    out = stack(x, head_mask=tf.constant(masks), output_attentions=True)
    silent = [
        [not layer[:, head].numpy().any() for head in range(HEADS)] for layer in out.attentions
    ]
    np.testing.assert_array_equal(silent, masks == 0)
    same = stack(x, head_mask=tf.constant(masks[0]), output_attentions=True)
    assert not any(layer[:, 1].numpy().any() for layer in same.attentions)


def test_cross_attention_sees_the_encoder(x):
    stack = TransformerStack([make_layer(cross_attention=True)])
    stack.build()
    states = np.random.default_rng(1).normal(size=(2, 7, SIZE)).astype(np.float32)
    mask = np.array([[1] * 7, [1, 0, 1, 0, 0, 0, 0]])
    given = {"encoder_hidden_states": states, "encoder_bias": attention_bias(tf.constant(mask))}
    out = stack(x, **given, output_attentions=True)
    assert out.cross_attentions[0].shape == (2, HEADS, 5, 7)
    assert not out.cross_attentions[0].numpy()[1][..., mask[1] == 0].any()
    changed = np.where(mask[..., None] == 1, states, states + 9)
    again = stack(x, **given | {"encoder_hidden_states": changed})
    np.testing.assert_allclose(out.last_hidden_state, again.last_hidden_state, atol=1e-6)
    changed[0, 0] += 1
    other = stack(x, **given | {"encoder_hidden_states": changed})
    assert np.abs(out.last_hidden_state[0] - other.last_hidden_state[0]).max() > 1e-3
