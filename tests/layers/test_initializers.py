import keras
import numpy as np
import pytest

from tfhf.layers import Normal, loading_weights


def test_deviation():
    values = Normal(0.02)((400, 500)).numpy()
    assert values.dtype == np.float32
    assert abs(values.std() - 0.02) < 2e-4
    assert abs(values.mean()) < 2e-4


def test_only_room_while_loading():
    with loading_weights():
        values = Normal(0.02)((2, 3), "float16").numpy()
    assert values.dtype == np.float16 and values.shape == (2, 3)


def test_random_again_after_loading_failed():
    with pytest.raises(OSError, match="no such file"), loading_weights():
        raise OSError("no such file")
    assert Normal(0.02)((2, 3)).numpy().all()


def test_seed_makes_it_repeat():
    first, second = Normal(1.0, seed=3), Normal(1.0, seed=3)
    np.testing.assert_array_equal(first((4,)), second((4,)))


def test_keras_can_write_and_read_it():
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(Normal(0.3)))
    assert isinstance(again, Normal)
    assert again.stddev == 0.3
