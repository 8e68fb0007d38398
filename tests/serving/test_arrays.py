"""What users give to signatures, and what they get."""

import numpy as np
import pytest
import tensorflow as tf

from tfhf.serving.arrays import checked_inputs, concatenated, decoded


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([[1]], "the signature takes attention_mask, input_ids, token_type_ids: expected a dict"),
        ({"input_ids": [[1, 2], [3]]}, "input_ids: expected rows of int32, of equal lengths"),
        ({"input_ids": [[1.5]]}, "input_ids: expected rows of int32.*fractions"),
        ({"input_ids": [["one"]]}, "input_ids: expected rows of int32"),
        ({"input_ids": [[2**40]]}, "input_ids: expected rows of int32"),
        ({"input_ids": np.array([[5, 2**32 + 1]])}, "int32.* numbers from 5 to 4294967297"),
        ({"input_ids": np.array([[2**31]], np.uint32)}, "int32.* numbers from 2147483648 to"),
        ({"input_ids": [[1], [2]]}, "expected as many rows in each, but input_ids 2, attention_ma"),
    ],
)
def test_ids_that_do_not_fit(inputs, message):
    specs = dict.fromkeys(
        ("input_ids", "attention_mask", "token_type_ids"), tf.TensorSpec([None, None], tf.int32)
    )
    if isinstance(inputs, dict):
        inputs = {"attention_mask": [[1]], "token_type_ids": [[0]]} | inputs
    with pytest.raises(ValueError, match=message):
        checked_inputs(inputs, specs)


def test_answers_of_different_lengths_are_filled_up():
    spec = tf.TensorSpec([None, None], tf.int64)
    joined = concatenated([np.array([[1, 2]]), np.array([[3], [4]])], spec)
    assert joined.tolist() == [[1, 2], [3, 0], [4, 0]]
    words = [np.array([[b"a\0", b"\xff"]], object), np.zeros((1, 0), object)]
    spec = tf.TensorSpec([None, None], tf.string)
    joined = concatenated(words, spec)
    assert decoded("words", joined).tolist() == [["a\0", b"\xff"], ["", ""]]
    assert decoded("words_bytes", joined)[0].tolist() == [b"a\0", b"\xff"]
    spec = tf.TensorSpec(None, tf.float32)
    joined = concatenated([np.zeros((2, 0)), np.ones((1, 2, 3))], spec)
    assert joined.shape == (3, 2, 3) and joined.sum() == joined[2].sum() == 6
