"""Input that cannot be right: an error that names what is wrong, wherever the model runs."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from transformers import BertConfig, DistilBertConfig

import tfhf

Invalid = tf.errors.InvalidArgumentError
IDS = np.array([[3, 4, 5], [6, 7, 0]])


@pytest.fixture(scope="module")
def model(make_config):
    model = tfhf.TFBertForSequenceClassification(make_config())
    model.compile(keras.optimizers.SGD(0.1))
    return model


@pytest.fixture(scope="module")
def graph(model):
    """The model with shapes unknown when it is traced, as in a SavedModel."""
    signature = [tf.TensorSpec((None, None), tf.int32), tf.TensorSpec(None, tf.int32)]
    return tf.function(
        lambda ids, labels: model(input_ids=ids, labels=labels), input_signature=signature
    )


@pytest.fixture(scope="module")
def runs(model, graph):
    """{where the model runs: how}"""

    def eager(ids, labels):
        model(input_ids=ids, labels=labels)

    def function(ids, labels):
        graph(tf.constant(ids, tf.int32), tf.constant(labels, tf.int32))

    def fit(ids, labels):
        # As batches: Keras's arrays must be of one length.
        data = tf.data.Dataset.from_tensors(({"input_ids": ids}, labels))
        data = data.map(lambda x, y: (x, tf.ensure_shape(y, [None] * labels.ndim)))
        before = model.get_weights()
        try:
            model.fit(data, verbose=0)
        finally:
            for old, new in zip(before, model.get_weights()):
                np.testing.assert_array_equal(old, new)

    return {"eager": eager, "tf.function": function, "fit": fit}


@pytest.mark.parametrize("where", ["eager", "tf.function", "fit"])
class TestValues:
    @pytest.mark.parametrize("bad", [-1, 20, 2**31 - 1])
    def test_ids_outside_the_vocabulary(self, runs, where, bad):
        ids = IDS.copy()
        ids[1, 2] = bad
        reach = rf"{min(bad, 3)}\]? \[?to\]? \[?{max(bad, 7)}"
        with pytest.raises(Invalid, match=rf"input_ids must be 0 to\]? \[?19\]? .*{reach}"):
            runs[where](ids, np.array([0, 1]))

    @pytest.mark.parametrize("bad", [-1, 3, 99])
    def test_labels_out_of_range(self, runs, where, bad):
        with pytest.raises(Invalid, match=r"labels must be 0 to\]? \[?2\]? .*reach from"):
            runs[where](IDS, np.array([0, bad]))

    def test_too_few_labels(self, runs, where):
        message = (
            r"labels must be of shape \(2,\), .*\(1,\)|logits shape \[2,3\] and labels shape \[1\]"
        )
        with pytest.raises((ValueError, Invalid), match=message):
            runs[where](IDS, np.array([1]))

    def test_too_long(self, runs, where):
        with pytest.raises((ValueError, Invalid), match=r"input_ids .*_position_embeddings = 16"):
            runs[where](np.ones((2, 17), np.int64), np.array([0, 1]))


class TestRank:
    def test_eager(self, model):
        with pytest.raises(
            ValueError, match=r"input_ids must be \[batch, length\].*shape is \(3,\)"
        ):
            model(IDS[0])

    def test_function(self, model):
        with pytest.raises(ValueError, match=r"input_ids must be \[batch, length\].*\(None,\)"):
            tf.function(model, input_signature=[tf.TensorSpec((None,), tf.int32)])(IDS[0])

    def test_function_of_unknown_rank(self, model):
        graph = tf.function(model, input_signature=[tf.TensorSpec(None, tf.int32)])
        assert graph(tf.constant(IDS, tf.int32)).logits.shape == (2, 3)
        with pytest.raises(Invalid, match=r"input_ids must be \[batch, length\].*\[3\]"):
            graph(tf.constant(IDS[0], tf.int32))

    def test_fit(self, make_config):
        model = tfhf.TFBertForSequenceClassification(make_config())
        model.compile("sgd")
        with pytest.raises(ValueError, match=r"input_ids must be \[batch, length\].*\(None,\)"):
            model.fit({"input_ids": IDS[0], "labels": IDS[0] % 3}, verbose=0)
        # Keras traces for any rank once it has seen two.
        model.fit({"input_ids": IDS, "labels": IDS[:, 0] % 3}, verbose=0)
        with pytest.raises((ValueError, Invalid), match=r"input_ids must be \[batch, length\]"):
            model.fit({"input_ids": IDS[0], "labels": IDS[0] % 3}, verbose=0)


@pytest.mark.parametrize("where", ["eager", "tf.function", "fit"])
def test_labels_of_another_rank(make_config, where):
    model = tfhf.TFBertForSequenceClassification(make_config())
    model.compile("sgd")
    run = {
        "eager": lambda x, y: model(x, labels=y),
        "tf.function": tf.function(lambda x, y: model(x, labels=y)),
        "fit": lambda x, y: model.fit(x, y, verbose=0),
    }[where]
    with pytest.raises(ValueError, match=r"labels must be of shape .*shape is \(\w+, 3\)"):
        run(IDS, IDS % 3)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    "inputs, message",
    [
        ({}, "exactly one of input_ids and inputs_embeds, not neither"),
        ({"attention_mask": IDS * 0 + 1}, "exactly one of input_ids and inputs_embeds"),
        (
            {"input_ids": IDS, "inputs_embeds": np.zeros((2, 3, 8))},
            "exactly one of input_ids and inputs_embeds, not both",
        ),
        ({"inputs_embeds": np.zeros((2, 3, 7))}, r"inputs_embeds must be .*, 8\].*\(2, 3, 7\)"),
        ({"inputs_embeds": np.zeros((2, 3))}, r"inputs_embeds must be .*, 8\].*\(2, 3\)"),
        ({"input_ids": IDS.astype(float)}, "input_ids must be integers, .*float64"),
        ({"input_ids": [["a", "film"]]}, "input_ids must be integers, .*string"),
        ({"input_ids": IDS, "attention_mask": np.ones((2,))}, r"attention_mask must be .*\(2,\)"),
        (
            {"input_ids": IDS, "attention_mask": np.ones((2, 1))},
            r"attention_mask must have\]? \[?3.*\[2 1\]",
        ),
        (
            {"input_ids": IDS, "attention_mask": np.ones((2, 4))},
            r"attention_mask must have 3 .*\[2 4\]|Dimensions must be equal, but are 3 and 4",
        ),
        ({"input_ids": IDS, "token_type_ids": IDS}, r"token_type_ids must be 0 to\]? \[?1"),
        ({"input_ids": IDS, "position_ids": IDS + 10}, r"position_ids must be 0 to\]? \[?15"),
        (
            {"input_ids": IDS, "encoder_hidden_states": np.zeros((2, 4, 8))},
            "encoder_hidden_states needs config.add_cross_attention",
        ),
        ({"input_ids": IDS, "labels": [0.0, 1.0]}, r"labels .*\(2, 3\).*must be integers"),
    ],
)
def test_inputs(model, inputs, message, compiled):
    inputs = {name: tf.constant(value) for name, value in inputs.items()}
    function = tf.function(lambda **given: model(**given)) if compiled else model
    with pytest.raises((ValueError, Invalid), match=message):
        function(**inputs)


class TestCalls:
    def test_given_twice(self, model):
        with pytest.raises(TypeError, match="got 'input_ids' twice"):
            model(IDS, input_ids=IDS)
        with pytest.raises(TypeError, match="got 'attention_mask' twice"):
            model({"input_ids": IDS, "attention_mask": IDS}, attention_mask=IDS)

    @pytest.mark.parametrize(
        "arguments",
        [(IDS, *[None] * 7, IDS), ([IDS, *[None] * 7, IDS],), ({"input_ids": IDS}, IDS),
         ([IDS, IDS], IDS)],
        ids=["positions", "list", "dict and position", "list and position"],
    )  # fmt: skip
    def test_too_many_positions(self, model, arguments):
        with pytest.raises(TypeError, match="at most 8 inputs by position"):
            model(*arguments)

    def test_choices_need_an_axis(self, make_config):
        model = tfhf.TFBertForMultipleChoice(make_config())
        with pytest.raises(
            ValueError, match=r"input_ids .*\[batch, num_choices, length\].*\(2, 3\)"
        ):
            model(IDS)


class TestConfigurations:
    @pytest.mark.parametrize("config", [DistilBertConfig(), {"hidden_size": 8}, None, "bert"])
    def test_of_another_architecture(self, config):
        name = type(config).__name__
        with pytest.raises(TypeError, match=f"TFBertModel must be a BertConfig, .* a {name}"):
            tfhf.TFBertModel(config)

    def test_heads_that_do_not_share_the_size(self, make_config):
        with pytest.raises(ValueError, match=r"hidden_size .*10 is not a multiple of 4"):
            tfhf.TFBertModel(make_config(hidden_size=10, num_attention_heads=4))

    def test_unknown_activation(self, make_config):
        with pytest.raises(KeyError, match="no activation named 'gleu'"):
            tfhf.TFBertModel(make_config(hidden_act="gleu"))

    def test_cross_attention_without_decoder(self, make_config):
        with pytest.raises(ValueError, match=r"add_cross_attention needs config\.is_decoder"):
            tfhf.TFBertModel(make_config(add_cross_attention=True))


class TestFromPretrained:
    @pytest.fixture
    def folder(self, make_config, tmp_path):
        make_config().save_pretrained(tmp_path)
        return tmp_path

    def test_configuration_without_weights(self, folder):
        for cls in (tfhf.TFBertModel, tfhf.TFAutoModel):
            with pytest.raises(OSError, match=r"no weights.*model\.safetensors.*config\.json"):
                cls.from_pretrained(folder)
        assert [path.name for path in folder.iterdir()] == ["config.json"]

    def test_folder_without_configuration(self, tmp_path):
        with pytest.raises(OSError, match=r"has no config\.json"):
            tfhf.TFBertModel.from_pretrained(tmp_path)

    def test_no_such_folder(self, tmp_path):
        with pytest.raises(OSError, match="neither a folder nor the id of a model"):
            tfhf.TFBertModel.from_pretrained(tmp_path / "nothing")

    def test_unknown_argument(self, folder):
        with pytest.raises(TypeError, match=r"unknown argument 'num_classes'.*BertConfig"):
            tfhf.TFBertModel.from_pretrained(folder, num_classes=3)

    def test_positional_argument(self, folder):
        with pytest.raises(ValueError, match="keyword arguments only"):
            tfhf.TFBertModel.from_pretrained(folder, BertConfig())

    def test_remote_code(self, folder):
        with pytest.raises(ValueError, match="trust_remote_code=True: tfhf never runs code"):
            tfhf.TFBertModel.from_pretrained(folder, trust_remote_code=True)

    def test_configuration_of_another_architecture(self, make_config, tmp_path):
        tfhf.TFBertModel(make_config()).save_pretrained(tmp_path)
        with pytest.raises(TypeError, match=r"must be a BertConfig, .* DistilBertConfig"):
            tfhf.TFBertModel.from_pretrained(tmp_path, config=DistilBertConfig())


class TestSavePretrained:
    @pytest.mark.parametrize(
        ("argument", "error", "message"),
        [
            ({"max_shard_sise": 9}, TypeError, "has no argument 'max_shard_sise'"),
            ({"saved_model": True}, TypeError, r"no argument 'saved_model': use model\.export"),
            ({"safe_serialization": False}, ValueError, "safe_serialization must be True"),
        ],
    )
    def test_unknown_argument(self, argument, error, message, model, tmp_path):
        with pytest.raises(error, match=message):
            model.save_pretrained(tmp_path, **argument)
        assert not list(tmp_path.iterdir())
