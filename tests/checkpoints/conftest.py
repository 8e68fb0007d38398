"""Arrays of every dtype, in NumPy and in PyTorch, compared bit by bit."""

import numpy as np
import pytest


@pytest.fixture
def random_array():
    """Random bits, so that NaNs, infinities and denormals occur too; booleans are 0 or 1."""

    def make(dtype, shape):
        dtype = np.dtype(dtype)
        if dtype.kind == "b":
            return np.asarray(np.random.rand(*shape) < 0.5)
        size = int(np.prod(shape)) * dtype.itemsize
        return np.random.randint(0, 256, size).astype(np.uint8).view(dtype).reshape(shape)

    return make


@pytest.fixture
def assert_same():
    """Same dtype, shape and bits."""

    def check(actual, expected):
        assert actual.dtype == expected.dtype
        assert actual.shape == expected.shape
        assert actual.tobytes() == expected.tobytes()

    return check


@pytest.fixture
def to_torch():
    """The same bits as a torch tensor; only for tests that are marked as oracle."""
    import torch

    def convert(array):
        tensor = torch.empty(array.shape, dtype=getattr(torch, str(array.dtype)))
        if array.size:
            raw = np.frombuffer(array.tobytes(), np.uint8)
            tensor.reshape(-1).view(torch.uint8).numpy()[:] = raw
        return tensor

    return convert
