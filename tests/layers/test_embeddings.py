import numpy as np
import pytest
import tensorflow as tf

from tfhf.layers import Dense, InputEmbeddings, LayerNorm, SinusoidalPositions

VOCAB, SIZE, HIDDEN = 7, 4, 6


def normalised(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


@pytest.mark.parametrize("project_first", [False, True])
@pytest.mark.parametrize("max_positions", [0, 5])
@pytest.mark.parametrize("token_types", [0, 3])
def test_sum_of_tables(project_first, max_positions, token_types):
    layer = InputEmbeddings(
        VOCAB,
        SIZE,
        norm=LayerNorm(HIDDEN if project_first else SIZE, 1e-5),
        dropout=0.5,
        stddev=1.0,
        max_positions=max_positions,
        token_types=token_types,
        projection=Dense(SIZE, HIDDEN, stddev=1.0),
        project_first=project_first,
    )
    layer.build()
    ids, positions = np.array([[3, 6, 0], [1, 1, 2]]), np.array([[4, 0, 2], [1, 1, 3]])
    types, seen = np.array([[0, 2, 1], [1, 0, 0]]), np.array([[1, 1, 0], [1, 0, 0]], bool)
    expected = layer.token.embeddings.numpy()[ids]
    if max_positions:
        expected = expected + layer.position.embeddings.numpy()[positions]
    if token_types:
        expected = expected + layer.token_type.embeddings.numpy()[types]
    kernel = layer.projection.kernel.numpy()
    if project_first:
        expected = normalised(expected @ kernel) * seen[..., None]
    else:
        expected = (normalised(expected) * seen[..., None]) @ kernel
    got = layer(layer.token(ids), positions, types if token_types else None, tf.constant(seen))
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_type_0_is_the_default():
    layer = InputEmbeddings(
        VOCAB, SIZE, norm=LayerNorm(SIZE, 1e-5), dropout=0.0, stddev=1.0, token_types=2
    )
    layer.build()
    vectors, positions = layer.token(np.array([[1, 2]])), tf.constant([[0, 1]])
    given = layer(vectors, positions, tf.zeros((1, 2), tf.int32))
    np.testing.assert_array_equal(layer(vectors, positions), given)
    assert np.abs(given - layer(vectors, positions, tf.ones((1, 2), tf.int32))).max() > 0.01


def test_fixed_positions_stay_fixed():
    waves = SinusoidalPositions()
    options = {"dropout": 0.0, "stddev": 1.0, "max_positions": 5, "fixed_positions": waves}
    layer = InputEmbeddings(0, SIZE, **options)
    layer.build()
    got = layer(tf.zeros((1, 2, SIZE)), tf.constant([[4, 0]]))
    np.testing.assert_array_equal(got[0], waves((5, SIZE)).numpy()[[4, 0]])
    for trainable in (False, True):
        layer.trainable = trainable
        assert not layer.trainable_weights and not layer.position.embeddings.value.trainable
