"""States of tokens, against what Transformers 4.57.6 answers."""

import pytest
import tensorflow as tf
from golden import answer, make, parameters, same

TASK = "feature-extraction"


def as_lists(result):
    """Return lists for tensors."""
    if tf.is_tensor(result):
        assert result.dtype == tf.float32
        return result.numpy().tolist()
    return [as_lists(part) for part in result] if isinstance(result, list) else result


@pytest.mark.parametrize("case", parameters(TASK))
def test_golden(case):
    result = answer(TASK, case)
    wants_tensors = (case["options"] | case["call"]).get("return_tensors", False)
    one = result[0] if isinstance(case["inputs"], list) and case["inputs"] else result
    assert tf.is_tensor(one) == wants_tensors
    same(as_lists(result), case["result"])


def test_wrong_options():
    with pytest.raises(ValueError, match="truncation is given twice"):
        make(TASK, "bert")("Hello", truncation=True, tokenize_kwargs={"truncation": False})
    with pytest.raises(TypeError, match="pooling"):
        make(TASK, "bert")("Hello", pooling=True)
