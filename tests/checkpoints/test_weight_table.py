import numpy as np
import pytest

from tfhf.checkpoints.weight_table import HeadByHead
from tfhf.layers import MultiHeadAttention


@pytest.mark.parametrize("use_bias", [False, True])
def test_head_by_head(use_bias):
    """A product with PyTorch's matrix, cut by heads first, is ours, cut by parts first."""
    heads, size, hidden = 3, 2, 6
    layer = MultiHeadAttention(hidden, heads, use_bias=use_bias)
    layer.build()
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(3 * hidden, hidden)), rng.normal(size=3 * hidden)][: 1 + use_bias]
    bindings = list(HeadByHead("qkv").bind(layer, lambda name: f"model.{name}"))
    names = [name for binding in bindings for name in binding.names]
    assert names == ["model.qkv.weight", "model.qkv.bias"][: len(arrays)]
    for binding, array in zip(bindings, arrays, strict=True):
        assert binding.shapes == (array.shape,)
        value = binding.join([array])
        assert value.shape == tuple(binding.variable.shape)
        np.testing.assert_array_equal(binding.split(value)[0], array)
        binding.variable.assign(value)
    x = rng.normal(size=(2, 5, hidden))
    theirs = x @ arrays[0].T + (arrays[1] if use_bias else 0)
    theirs = theirs.reshape(2, 5, heads, 3, size).transpose(3, 0, 2, 1, 4)
    ours = layer.split_heads(layer.qkv(x.astype(np.float32)), 3)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
