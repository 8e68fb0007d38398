"""Adaptive softmax against torch.nn.AdaptiveLogSoftmaxWithLoss, embeddings against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from tfhf.layers.adaptive import AdaptiveEmbedding, AdaptiveLogSoftmax, cluster_ranges


def test_ranges():
    assert cluster_ranges(5, []) == [(0, 5)]
    for cutoffs in ([0], [5], [3, 3], [4, 2]):
        with pytest.raises(ValueError, match=r"cutoffs must grow from above 0 to below"):
            cluster_ranges(5, cutoffs)


@pytest.mark.parametrize(
    ("cutoffs", "div_val", "size"), [([3, 7], 2, 8), ([3, 7], 1, 8), ([3], 1, 6), ([], 3, 6)]
)
def test_embedding(cutoffs, div_val, size):
    """Every token's vector is its row of its table, projected where there is a projection."""
    layer = AdaptiveEmbedding(11, 8, size, cutoffs, div_val=div_val, stddev=1.0)
    layer.build()
    rows = []
    for table, projection in zip(layer.tables, layer.projections, strict=True):
        vectors = table.embeddings.numpy()
        rows.append(vectors if projection is None else vectors @ projection.matrix.numpy().T)
    assert (layer.projections == [None]) == (div_val == 1 and size == 8)
    expected = np.concatenate(rows) * size**0.5
    ids = np.random.default_rng(0).permutation(11)[None]
    np.testing.assert_allclose(layer(tf.constant(ids)), expected[ids], rtol=0, atol=1e-6)
    assert layer(tf.zeros((2, 0), tf.int32)).shape == (2, 0, size)
    with pytest.raises(tf.errors.InvalidArgumentError, match="input_ids must be 0 to 10"):
        layer(tf.constant([[11]]))


@pytest.mark.oracle
@pytest.mark.parametrize("jit_compile", [False, True])
def test_softmax(jit_compile):
    """PyTorch's own layer has no biases in the tails, and its tails come after the head."""
    import torch

    cutoffs, size = [4, 7, 12], 16
    theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(size, 15, cutoffs, div_value=2, head_bias=True)
    embedding = AdaptiveEmbedding(15, size, size, cutoffs, div_val=2)
    ours = AdaptiveLogSoftmax(
        15, size, size, cutoffs, div_val=2, tied=False, tied_projections=[False] * 4
    )
    embedding.build()
    ours.build()
    head, bias = theirs.head.weight.detach().numpy(), theirs.head.bias.detach().numpy()
    ours.projections[0].matrix.assign(np.eye(size))
    ours.scores[0].table.embeddings.assign(head[:4])
    ours.scores[0].bias.assign(bias[:4])
    ours.cluster_weight.assign(head[4:])
    ours.cluster_bias.assign(bias[4:])
    for i, (down, up) in enumerate(theirs.tail, start=1):
        ours.projections[i].matrix.assign(down.weight.detach().numpy().T)
        ours.scores[i].table.embeddings.assign(up.weight.detach().numpy())
    rng = np.random.default_rng(0)
    states = rng.normal(size=(2, 9, size)).astype(np.float32)
    for labels in (rng.integers(0, 15, (2, 9)), np.full((2, 9), 5)):
        flat = torch.from_numpy(states.reshape(18, size)), torch.from_numpy(labels.reshape(18))

        @tf.function(jit_compile=jit_compile)
        def run(states, labels):
            losses = ours.label_losses(states, labels, embedding)
            return ours(states, embeddings=embedding), losses

        scores, losses = run(tf.constant(states), tf.constant(labels))
        expected = theirs.log_prob(flat[0]).detach().numpy().reshape(2, 9, 15)
        np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5)
        expected = -theirs(*flat).output.detach().numpy().reshape(2, 9)
        np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-5)


def test_labels_outside_the_vocabulary():
    embedding = AdaptiveEmbedding(9, 4, 4, [3])
    softmax = AdaptiveLogSoftmax(9, 4, 4, [3], tied=True, tied_projections=[False, False])
    states = embedding(tf.constant([[1, 8]]))
    softmax(states, embeddings=embedding)
    with pytest.raises(tf.errors.InvalidArgumentError, match="labels must be 0 to 8"):
        softmax.label_losses(states, tf.constant([[9, 1]]), embedding)
