import copy
import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfhf.outputs import (
    ModelOutput,
    TFBaseModelOutput,
    TFQuestionAnsweringModelOutput,
    TFSequenceClassifierOutput,
    flatten_names,
)


@pytest.fixture
def output():
    return TFSequenceClassifierOutput(
        logits=tf.constant([[1.0, 2.0]]), hidden_states=(tf.zeros((1, 2)), tf.ones((1, 2)))
    )


def test_name_item_and_position_are_the_same(output):
    assert output.logits is output["logits"] is output[0]
    assert output.hidden_states is output["hidden_states"] is output[1] is output[-1]
    assert output[:1] == (output.logits,)
    logits, hidden_states = output.to_tuple()
    assert logits is output.logits and hidden_states is output.hidden_states


def test_what_was_not_computed(output):
    assert output.loss is None and output.attentions is None
    assert list(output) == ["logits", "hidden_states"]
    assert len(output) == 2 and "loss" not in output
    assert output.get("loss") is None
    with pytest.raises(KeyError):
        output["loss"]
    with pytest.raises(IndexError):
        output[2]


def test_mappings_and_keywords(output):
    assert dict(**output) == dict(output.items())
    assert dict(zip(output.keys(), output.values())) == dict(output)


def test_setting_keeps_all_views_in_step(output):
    output.attentions = (tf.constant(3.0),)
    assert output["attentions"] is output.attentions
    output["logits"] = tf.constant([[7.0]])
    assert output.logits is output["logits"] is output[0]
    output.hidden_states = None
    assert "hidden_states" not in output and output.hidden_states is None


def test_the_loss_comes_first():
    output = TFSequenceClassifierOutput(logits=tf.constant([1.0]), loss=tf.constant(2.0))
    assert output[0] is output.loss
    assert list(output) == ["loss", "logits"]


def test_unknown_fields_are_refused():
    with pytest.raises(TypeError, match="scores"):
        TFSequenceClassifierOutput(scores=tf.constant(1.0))


@pytest.mark.parametrize(
    "clone", [copy.copy, copy.deepcopy, lambda out: pickle.loads(pickle.dumps(out))]
)
def test_copies(clone):
    output = TFBaseModelOutput(np.ones((1, 2)), attentions=(np.zeros(1),))
    again = clone(output)
    assert type(again) is TFBaseModelOutput
    assert list(again) == ["last_hidden_state", "attentions"]
    assert again.hidden_states is None
    np.testing.assert_array_equal(again.last_hidden_state, output.last_hidden_state)
    np.testing.assert_array_equal(again.attentions[0], again["attentions"][0])


@pytest.mark.parametrize("tree", [tf.nest, keras.tree], ids=["tf.nest", "keras.tree"])
def test_trees_see_the_tensors_and_give_back_the_type(output, tree):
    assert len(tree.flatten(output)) == 3
    doubled = tree.map_structure(lambda x: 2 * x, output)
    assert type(doubled) is TFSequenceClassifierOutput
    assert type(doubled.hidden_states) is tuple
    np.testing.assert_array_equal(doubled.logits, 2 * output.logits)
    np.testing.assert_array_equal(doubled[1][1], 2 * output[1][1])
    assert doubled.loss is None


def test_one_tensor_alone_survives_trees():
    """A single value must not be taken for the pairs that mappings are made of."""
    output = TFQuestionAnsweringModelOutput(end_logits=tf.ones((2, 3)))
    for tree in (tf.nest, keras.tree):
        again = tree.map_structure(tf.identity, output)
        assert list(again) == ["end_logits"] and again.start_logits is None
        assert again.end_logits.shape == (2, 3)


def test_functions_return_it():
    @tf.function
    def step(x):
        return TFBaseModelOutput(x + 1, hidden_states=(x, x))

    got = step(tf.constant([1.0]))
    assert type(got) is TFBaseModelOutput
    np.testing.assert_array_equal(got.last_hidden_state, [2.0])
    assert got.attentions is None and len(got.hidden_states) == 2


def test_functions_take_it(output):
    @tf.function
    def total(out):
        return tf.reduce_sum(out.logits) + tf.reduce_sum(out["hidden_states"][1]) + out[0][0, 0]

    assert total(output).numpy() == 3 + 2 + 1


def test_loops_carry_it():
    def body(i, out):
        return i + 1, TFBaseModelOutput(out.last_hidden_state * 2)

    _, out = tf.while_loop(lambda i, _: i < 3, body, (0, TFBaseModelOutput(tf.constant([1.0]))))
    np.testing.assert_array_equal(out.last_hidden_state, [8.0])


def test_flat_names(output):
    names = [name for name, _ in flatten_names(output)]
    assert names == ["logits", "hidden_states_0", "hidden_states_1"]
    assert dict(flatten_names(output))["hidden_states_1"] is output.hidden_states[1]


def test_every_output_type_is_one():
    """Keras knows each of them: a type that it did not know would be one leaf."""
    for cls in ModelOutput.__subclasses__():
        names = list(cls.__dataclass_fields__)
        output = cls(**{name: tf.constant(float(i)) for i, name in enumerate(names)})
        assert output.to_tuple() == tuple(output[name] for name in names)
        assert len(keras.tree.flatten(output)) == len(names), cls
