"""The best continuations are found among many without sorting all of them."""

import numpy as np
import pytest
import tensorflow as tf

from tfhf.generation.beam_search import PIECE, highest

#: Beams, size of the vocabulary, how many are wanted.
SIZES = [
    (3, 29, 6),
    (10, 3, 30),
    (4, PIECE, 8),
    (3, PIECE + 1, 6),
    (2, 2 * PIECE + 1, PIECE + 44),
    (4, 1000, 8),
]
NUMBERS = {
    "different": lambda rng, shape: rng.permutation(np.prod(shape)).reshape(shape),
    "equal": lambda rng, shape: np.zeros(shape),
    "mostly forbidden": lambda rng, shape: np.where(
        rng.random(shape) < 0.02, rng.normal(size=shape), -np.inf
    ),
    "the last token alone": lambda rng, shape: (
        np.where(np.arange(shape[2]) == shape[2] - 1, -np.arange(shape[1])[:, None], -np.inf)
        * np.ones((*shape[:1], 1, 1))
    ),
}


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("numbers", NUMBERS)
def test_highest(numbers, jit_compile):
    rng = np.random.default_rng(0)
    for beams, vocab_size, count in SIZES:
        scores = NUMBERS[numbers](rng, (3, beams, vocab_size)).astype(np.float32)
        # A stable sort keeps the order of equal scores.
        expected = np.argsort(-scores.reshape(3, -1), axis=1, kind="stable")[:, :count]
        found = tf.function(highest, jit_compile=jit_compile)(tf.constant(scores), count)
        np.testing.assert_array_equal(found[0], expected // vocab_size)
        np.testing.assert_array_equal(found[1], expected % vocab_size)
