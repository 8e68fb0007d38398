"""Rotary positions."""

import numpy as np
import pytest
import tensorflow as tf

from tfhf.layers import MultiHeadAttention, rotary_angles, rotate

DEFAULT = {"rope_type": "default", "rope_theta": 160000.0}


def test_pairs_turn_as_complex_numbers_do():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 5, 8))
    positions = rng.integers(0, 50, (2, 5))
    angles = positions[:, None, :, None] * 160000.0 ** (-np.arange(4) / 4)
    turned = (x[..., :4] + 1j * x[..., 4:]) * np.exp(1j * angles)
    expected = np.concatenate([turned.real, turned.imag], axis=-1)
    got = rotate(tf.constant(x, tf.float32), rotary_angles(tf.constant(positions), 8, DEFAULT, 64))
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


def test_neighbours_turn_as_complex_numbers_do():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 5, 10))
    positions = rng.integers(0, 50, (2, 5))
    angles = positions[:, None, :, None] * 160000.0 ** (-np.arange(4) / 4)
    turned = (x[..., :8:2] + 1j * x[..., 1:8:2]) * np.exp(1j * angles)
    expected = np.stack([turned.real, turned.imag], axis=-1).reshape(2, 3, 5, 8)
    expected = np.concatenate([expected, x[..., 8:]], axis=-1)
    rotation = rotary_angles(tf.constant(positions), 8, DEFAULT, 50, interleaved=True)
    got = rotate(tf.constant(x, tf.float32), rotation)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


@pytest.mark.oracle
@pytest.mark.parametrize(("head_size", "theta"), [(64, 10000.0), (128, 500000.0), (6, 7.0)])
def test_angles_are_those_of_pytorch(head_size, theta):
    import torch
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    rope = {"rope_type": "default", "rope_theta": theta}
    config = LlamaConfig(hidden_size=head_size, num_attention_heads=1, rope_parameters=rope)
    positions = np.array([[0, 1, 2, 100, 8191], [5, 4, 3, 2, 1]])
    module = LlamaRotaryEmbedding(config)
    cos, sin = module(torch.zeros(1), torch.from_numpy(positions))
    rotation = rotary_angles(tf.constant(positions), head_size, rope, 8192)
    # One unit in the last place of a frequency is 5e-4 at position 8191.
    np.testing.assert_allclose(rotation.cos[:, 0], cos, rtol=0, atol=2e-6)
    np.testing.assert_allclose(rotation.sin[:, 0], sin, rtol=0, atol=2e-6)


ORIGINAL = {"original_max_position_embeddings": 16}
SCALED = {
    "linear": {"factor": 2.5},
    "dynamic": {"factor": 3.0},
    "llama3": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0} | ORIGINAL,
    "yarn": {"factor": 4.0} | ORIGINAL,
    "yarn, untruncated": {"factor": 4.0, "truncate": False, "beta_fast": 2.0, "beta_slow": 0.2}
    | ORIGINAL,
    "yarn, scales": {"factor": 4.0, "mscale": 0.7, "mscale_all_dim": 1.1} | ORIGINAL,
    "yarn, a ratio": {"factor": None, "attention_factor": 0.9} | ORIGINAL,
    "longrope": {
        "short_factor": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5],
        "long_factor": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
    }
    | ORIGINAL,
}


@pytest.mark.oracle
@pytest.mark.parametrize("length", [1, 16, 17, 64, 65, 150])
@pytest.mark.parametrize("name", SCALED)
def test_stretched_angles_are_those_of_pytorch(name, length):
    """Also in a graph, where the length is not known before."""
    import torch
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    rope = {"rope_type": name.split(",")[0], "rope_theta": 500.0} | SCALED[name]
    config = LlamaConfig(
        hidden_size=12, num_attention_heads=1, max_position_embeddings=64, rope_parameters=rope
    )
    positions = np.arange(length)[None]
    cos, sin = LlamaRotaryEmbedding(config)(torch.zeros(1), torch.from_numpy(positions))
    turn = tf.function(
        lambda x: rotary_angles(x, 12, config.rope_parameters, 64),
        input_signature=[tf.TensorSpec((None, None), tf.int64)],
    )
    for rotation in (turn(positions), rotary_angles(tf.constant(positions), 12, rope, 64)):
        np.testing.assert_allclose(rotation.cos[:, 0], cos, rtol=0, atol=2e-5)
        np.testing.assert_allclose(rotation.sin[:, 0], sin, rtol=0, atol=2e-5)


@pytest.mark.oracle
@pytest.mark.parametrize("factor", [0.5, 0.4])
def test_part_of_a_vector_is_turned_as_phi3_does(factor):
    import torch
    from transformers import Phi3Config
    from transformers.models.phi3.modeling_phi3 import Phi3RotaryEmbedding, apply_rotary_pos_emb

    config = Phi3Config(hidden_size=12, num_attention_heads=1, partial_rotary_factor=factor)
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 12)).astype(np.float32)
    positions = np.arange(5)[None]
    cos, sin = Phi3RotaryEmbedding(config)(torch.zeros(1), torch.from_numpy(positions))
    expected, _ = apply_rotary_pos_emb(*[torch.from_numpy(x)] * 2, cos, sin)
    rotation = rotary_angles(tf.constant(positions), 12, config.rope_parameters, 64)
    np.testing.assert_allclose(rotate(x, rotation), expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(rotate(x, rotation)[..., 6:], x[..., 6:])


def test_attention_depends_on_distances_only():
    layer = MultiHeadAttention(12, 3, stddev=0.5)
    layer.build()
    x = np.random.default_rng(0).normal(size=(1, 6, 12)).astype(np.float32)
    rotations = [rotary_angles(tf.range(n, n + 6)[None], 4, DEFAULT, 64) for n in (0, 40)]
    first, second = (layer(x, rotation=rotation)[1] for rotation in rotations)
    np.testing.assert_allclose(first, second, rtol=0, atol=1e-5)
    assert np.abs(first - layer(x)[1]).max() > 1e-3


def test_half_precision_is_turned_in_float32():
    x = tf.cast(np.random.default_rng(0).normal(size=(1, 1, 3, 4)), tf.bfloat16)
    rotation = rotary_angles(tf.constant([[7, 8, 9]]), 4, DEFAULT, 64)
    got = rotate(x, rotation)
    assert got.dtype == tf.bfloat16
    exact = rotate(tf.cast(x, tf.float32), rotation)
    np.testing.assert_array_equal(got, tf.cast(exact, tf.bfloat16))


def test_what_is_not_supported_is_refused():
    with pytest.raises(ValueError, match="rope_type must be one of .'default', .*, not 'axial'"):
        rotary_angles(tf.constant([[0]]), 4, DEFAULT | {"rope_type": "axial"}, 64)
    with pytest.raises(ValueError, match="head_size must be even for rotary positions, not 3"):
        rotary_angles(tf.constant([[0]]), 3, DEFAULT, 64)
