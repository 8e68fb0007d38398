"""Positions as waves, and relative positions."""

import numpy as np
import pytest
import tensorflow as tf

from tfhf.layers import (
    SinusoidalPositions,
    relative_position_buckets,
    signed_position_buckets,
    sinusoidal_positions,
)


def offsets(length):
    """Return key - query for all pairs, [query, key]."""
    return tf.range(length)[None] - tf.range(length)[:, None]


def test_buckets_by_hand():
    buckets = relative_position_buckets(offsets(200), num_buckets=32, max_distance=128).numpy()
    back = [0, 1, 7, 8, 11, 12, 15, 16, 22, 23, 31, 32, 63, 64, 90, 91, 127, 128, 199]
    expected = [0, 1, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 13, 14, 14, 15, 15, 15, 15]
    assert buckets[back, 0].tolist() == expected
    assert buckets[0, back[1:]].tolist() == [bucket + 16 for bucket in expected[1:]]
    np.testing.assert_array_equal(buckets[1:, 1:], buckets[:-1, :-1])


@pytest.mark.oracle
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(
    ("num_buckets", "max_distance"), [(32, 128), (16, 20), (8, 64), (40, 77), (32, 17), (7, 9)]
)
def test_buckets_are_those_of_pytorch(num_buckets, max_distance, bidirectional):
    import torch
    from transformers.models.t5.modeling_t5 import T5Attention

    options = {
        "num_buckets": num_buckets,
        "max_distance": max_distance,
        "bidirectional": bidirectional,
    }
    expected = T5Attention._relative_position_bucket(
        torch.from_numpy(offsets(300).numpy()), **options
    )
    compiled = tf.function(relative_position_buckets, jit_compile=True)
    np.testing.assert_array_equal(relative_position_buckets(offsets(300), **options), expected)
    np.testing.assert_array_equal(compiled(offsets(300), **options), expected)


@pytest.mark.parametrize("length", [0, 1])
def test_short(length):
    buckets = relative_position_buckets(offsets(length), num_buckets=32, max_distance=128)
    assert buckets.numpy().tolist() == [[0]] * length


@pytest.mark.parametrize(
    ("num_buckets", "max_distance", "bidirectional"),
    [(3, 9, True), (1, 9, False), (32, 16, False), (32, 8, True)],
)
def test_too_few_buckets_or_distances_are_refused(num_buckets, max_distance, bidirectional):
    with pytest.raises(ValueError, match=f"{num_buckets} and {max_distance}"):
        relative_position_buckets(
            offsets(3),
            num_buckets=num_buckets,
            max_distance=max_distance,
            bidirectional=bidirectional,
        )


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("num_buckets", "max_distance"), [(256, 512), (4, 11), (5, 7), (33, 500), (64, 34)]
)
def test_signed_buckets_are_those_of_pytorch(num_buckets, max_distance):
    import torch
    from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

    offsets = np.arange(-1300, 1301)
    expected = make_log_bucket_position(torch.from_numpy(offsets), num_buckets, max_distance)
    expected = expected.long().clip(-num_buckets, num_buckets)
    options = {"num_buckets": num_buckets, "max_distance": max_distance}
    compiled = tf.function(signed_position_buckets, jit_compile=True)
    np.testing.assert_array_equal(signed_position_buckets(offsets, **options), expected)
    np.testing.assert_array_equal(compiled(tf.constant(offsets), **options), expected)


@pytest.mark.parametrize(("num_buckets", "max_distance"), [(3, 100), (8, 5), (0, 10)])
def test_too_few_signed_buckets_are_refused(num_buckets, max_distance):
    with pytest.raises(ValueError, match=f"they are {num_buckets} and {max_distance}"):
        signed_position_buckets(tf.range(3), num_buckets=num_buckets, max_distance=max_distance)


@pytest.mark.parametrize("size", [1, 6, 9])
def test_waves(size):
    positions = np.array([[0, 1, 50], [7, 3, 2]])
    angles = positions[..., None] / 10000.0 ** (np.arange(0, size, 2) / size)
    expected = np.concatenate([np.sin(angles), np.cos(angles)[..., : size // 2]], axis=-1)
    got = sinusoidal_positions(tf.constant(positions), size)
    assert got.shape == (2, 3, size)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [8, 7, 1])
def test_tables_of_waves(size):
    """Two layouts of the same."""
    table = SinusoidalPositions()((40, size))
    waves = sinusoidal_positions(tf.range(40)[None], size)[0]
    np.testing.assert_allclose(table, waves, rtol=0, atol=1e-5)
    interleaved = SinusoidalPositions(interleaved=True)((40, size)).numpy()
    columns = np.concatenate([interleaved[:, 0::2], interleaved[:, 1::2]], axis=1)
    np.testing.assert_array_equal(table, columns)
