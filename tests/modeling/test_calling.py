"""All the ways to call a model."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from transformers import BatchEncoding, DistilBertConfig

import tfhf
from tfhf.outputs import TFSequenceClassifierOutput


@pytest.fixture(scope="module")
def model(make_config):
    keras.utils.set_random_seed(1)
    return tfhf.TFBertForSequenceClassification(make_config(num_hidden_layers=2))


@pytest.fixture(scope="module")
def expected(model, sentences):
    """Logits by keywords; the other ways must give the same."""
    tensors = {name: tf.constant(value) for name, value in sentences.items()}
    logits = model(**tensors).logits.numpy()
    without = model(tensors["input_ids"]).logits.numpy()
    assert np.abs(logits - without).max() > 1e-3  # mask and types matter
    return logits


def as_lists(inputs):
    return {name: value.tolist() for name, value in inputs.items()}


def by_function(model, inputs):
    return tf.function(lambda **given: model(**given))(
        **{name: tf.constant(value) for name, value in inputs.items()}
    )


def by_functional_model(model, inputs):
    symbols = {name: keras.Input((None,), dtype="int32", name=name) for name in inputs}
    return keras.Model(symbols, model(symbols))(inputs)


WAYS = {
    "keywords": lambda model, x: model(**x),
    "dict": lambda model, x: model(x),
    "dict by name": lambda model, x: model(inputs=x),
    "BatchEncoding": lambda model, x: model(BatchEncoding(x)),
    "BatchEncoding as keywords": lambda model, x: model(**BatchEncoding(x)),
    "positions": lambda model, x: model(*x.values()),
    "position and keywords": lambda model, x: model(
        x["input_ids"], token_type_ids=x["token_type_ids"], attention_mask=x["attention_mask"]
    ),
    "list in order": lambda model, x: model(list(x.values())),
    "tuple in order": lambda model, x: model(tuple(x.values())),
    "list with a gap": lambda model, x: model(
        [x["input_ids"], x["attention_mask"], None], token_type_ids=x["token_type_ids"]
    ),
    "dict and keyword": lambda model, x: model(
        {"input_ids": x["input_ids"], "attention_mask": None},
        attention_mask=x["attention_mask"],
        token_type_ids=x["token_type_ids"],
    ),
    "Python lists": lambda model, x: model(**as_lists(x)),
    "Python lists in a dict": lambda model, x: model(as_lists(x)),
    "Python list by position": lambda model, x: model(
        x["input_ids"].tolist(), x["attention_mask"].tolist(), x["token_type_ids"].tolist()
    ),
    "int32": lambda model, x: model({name: value.astype("int32") for name, value in x.items()}),
    "int16": lambda model, x: model({name: value.astype("int16") for name, value in x.items()}),
    "int64 tensors": lambda model, x: model({name: tf.constant(v) for name, v in x.items()}),
    "boolean mask": lambda model, x: model(
        x | {"attention_mask": x["attention_mask"].astype(bool)}
    ),
    "float mask": lambda model, x: model(
        x | {"attention_mask": x["attention_mask"].astype("float32")}
    ),
    "vectors": lambda model, x: model(
        inputs_embeds=model.get_input_embeddings()(tf.constant(x["input_ids"])),
        attention_mask=x["attention_mask"],
        token_type_ids=x["token_type_ids"],
    ),
    "positions spelled out": lambda model, x: model(
        x, position_ids=np.arange(7)[None].repeat(12, axis=0)
    ),
    "tf.function": by_function,
    "functional model": by_functional_model,
    "no training": lambda model, x: model(x, training=False),
}


@pytest.mark.parametrize("way", WAYS)
def test_ways_to_call(model, sentences, expected, way):
    output = WAYS[way](model, sentences)
    assert type(output) is TFSequenceClassifierOutput
    assert output.logits.dtype == tf.float32
    np.testing.assert_allclose(output.logits, expected, atol=1e-6)


def test_order_of_positions(make_config, sentences):
    """The order of the TensorFlow classes of Transformers 4."""
    assert tfhf.TFBertModel.input_names[:6] == (
        "input_ids",
        "attention_mask",
        "token_type_ids",
        "position_ids",
        "head_mask",
        "inputs_embeds",
    )
    assert tfhf.TFDistilBertModel.input_names[:4] == (
        "input_ids",
        "attention_mask",
        "head_mask",
        "inputs_embeds",
    )
    decoder = tfhf.TFBertModel(make_config(is_decoder=True, add_cross_attention=True))
    states = np.random.default_rng(0).normal(size=(12, 4, 8)).astype(np.float32)
    mask = np.tile([1, 1, 0, 0], (12, 1))
    ids = sentences["input_ids"]
    by_position = decoder(ids, None, None, None, None, None, states, mask)
    by_name = decoder(ids, encoder_hidden_states=states, encoder_attention_mask=mask)
    np.testing.assert_array_equal(by_position.last_hidden_state, by_name.last_hidden_state)
    np.testing.assert_allclose(
        by_name.last_hidden_state,
        decoder(ids, encoder_hidden_states=states[:, :2]).last_hidden_state,
        atol=1e-6,
    )


def test_tuples(model, sentences, labels, expected):
    flags = {"output_attentions": True, "output_hidden_states": True, "labels": labels}
    whole = model(sentences, **flags)
    loss, logits, hidden_states, attentions = model(sentences, return_dict=False, **flags)
    np.testing.assert_array_equal(loss, whole.loss)
    np.testing.assert_allclose(logits, expected, atol=1e-6)
    assert len(hidden_states) == 3 and len(attentions) == 2
    (logits,) = model(sentences, return_dict=False)
    np.testing.assert_allclose(logits, expected, atol=1e-6)


def test_configuration_may_ask_for_tuples(make_config, sentences):
    model = tfhf.TFBertModel(make_config(return_dict=False))
    assert type(model(sentences)) is tuple
    assert model(sentences, return_dict=True).pooler_output.shape == (12, 8)


def test_unknown_keywords_are_refused(model, sentences):
    with pytest.raises(TypeError, match=r"TFBertForSequenceClassification .*'input_id'"):
        model(input_id=sentences["input_ids"])


def test_unknown_names_in_a_dict_are_named_and_left_out(model, sentences, expected, caplog):
    output = model(sentences | {"idx": np.arange(12), "special_tokens_mask": np.zeros((12, 7))})
    np.testing.assert_allclose(output.logits, expected, atol=1e-6)
    assert "['idx', 'special_tokens_mask']" in caplog.text


def test_what_was_asked_for_is_shown(model, sentences):
    def call(inputs):
        return model(inputs, output_attentions=True, output_hidden_states=True)

    mask = sentences["attention_mask"]
    for output in (call(sentences), tf.function(call)(sentences)):
        assert len(output.hidden_states) == 3 and len(output.attentions) == 2
        assert all(state.shape == (12, 7, 8) for state in output.hidden_states)
        for attention in output.attentions:
            assert attention.shape == (12, 2, 7, 7)
            np.testing.assert_allclose(np.sum(attention, -1), 1, atol=1e-5)
            hidden = np.broadcast_to(mask[:, None, None] == 0, attention.shape)
            assert not attention.numpy()[hidden].any()
    assert model(sentences).hidden_states is model(sentences).attentions is None


def test_configuration_may_ask_for_states(make_config, sentences):
    model = tfhf.TFBertModel(make_config(output_hidden_states=True, output_attentions=True))
    output = model(sentences)
    np.testing.assert_array_equal(output.hidden_states[-1], output.last_hidden_state)
    assert len(output.attentions) == 1
    assert model(sentences, output_hidden_states=False).hidden_states is None


class TestEdges:
    def test_no_sentences(self, model):
        for call in (model, tf.function(model)):
            output = call(np.zeros((0, 5), np.int64), output_hidden_states=True)
            assert output.logits.shape == (0, 3)
            assert output.hidden_states[0].shape == (0, 5, 8)

    def test_one_token(self, model):
        assert model([[3]]).logits.shape == (1, 3)

    def test_the_longest_sentence(self, model):
        assert model(np.ones((1, 16), np.int64)).logits.shape == (1, 3)

    def test_all_padding(self, model, sentences, expected):
        """Such a row is finite, and the other rows do not see it."""
        mask = sentences["attention_mask"].copy()
        mask[3] = 0
        logits = model(sentences | {"attention_mask": mask}).logits.numpy()
        assert np.isfinite(logits).all()
        others = np.arange(12) != 3
        np.testing.assert_allclose(logits[others], expected[others], atol=1e-6)

    def test_padding_does_not_matter(self, model, sentences, expected):
        for i, length in enumerate(sentences["attention_mask"].sum(-1)):
            alone = {name: value[i : i + 1, :length] for name, value in sentences.items()}
            np.testing.assert_allclose(model(alone).logits[0], expected[i], atol=1e-5)
            long = {name: np.pad(value[i : i + 1], [(0, 0), (0, 9)]) for name, value in
                    sentences.items()}  # fmt: skip
            np.testing.assert_allclose(model(long).logits[0], expected[i], atol=1e-5)


class TestAttentionMaskPerQuery:
    def test_the_same_for_all_queries(self, model, sentences, expected):
        mask = sentences["attention_mask"][:, None].repeat(7, axis=1)
        output = model(sentences | {"attention_mask": mask})
        np.testing.assert_allclose(output.logits, expected, atol=1e-6)

    def test_triangle_makes_bert_causal(self, make_config, sentences):
        encoder = tfhf.TFBertModel(make_config())
        decoder = tfhf.TFBertModel(make_config(is_decoder=True))
        decoder.set_weights(encoder.get_weights())
        ids = sentences["input_ids"]
        triangle = np.tril(np.ones((12, 7, 7), np.int64))
        state = encoder(ids, attention_mask=triangle).last_hidden_state
        np.testing.assert_allclose(state, decoder(ids).last_hidden_state, atol=1e-6)
        np.testing.assert_allclose(state[:, :3], decoder(ids[:, :3]).last_hidden_state, atol=1e-6)


@pytest.mark.parametrize("family", ["bert", "distilbert"])
class TestHeadMask:
    """Silencing a head is removing its rows of the matrix that mixes the heads."""

    @pytest.fixture
    def body(self, family, make_config):
        if family == "bert":
            return tfhf.TFBertModel(make_config(num_hidden_layers=2))
        return tfhf.TFDistilBertModel(
            DistilBertConfig(
                vocab_size=20,
                dim=8,
                n_layers=2,
                n_heads=2,
                hidden_dim=12,
                max_position_embeddings=16,
                initializer_range=0.3,
            )
        )

    def layers(self, body):
        return (body.encoder if hasattr(body, "encoder") else body.transformer).layer

    @pytest.mark.parametrize("mask", [[0, 1], [[1, 0], [1, 1]], [[0, 1], [1, 0]]])
    def test_silenced_heads(self, body, sentences, mask):
        ids, mask = sentences["input_ids"], np.array(mask, np.float32)
        silenced = body(ids, head_mask=mask).last_hidden_state.numpy()
        assert np.abs(silenced - body(ids).last_hidden_state).max() > 1e-3
        for layer, heads in zip(self.layers(body), np.broadcast_to(mask, (2, 2))):
            kernel = layer.attention.out.kernel
            kernel.assign(kernel.numpy() * np.repeat(heads, 4)[:, None])
        np.testing.assert_allclose(body(ids).last_hidden_state, silenced, atol=1e-6)

    def test_ones_change_nothing(self, body, sentences):
        ids = sentences["input_ids"]
        same = body(ids, head_mask=np.ones((2, 2), np.float32)).last_hidden_state
        np.testing.assert_array_equal(same, body(ids).last_hidden_state)


class TestInsideAFunctionalModel:
    def test_keyword_symbols(self, model, sentences, expected):
        ids, mask, types = (keras.Input((None,), dtype="int32") for _ in range(3))
        output = model(ids, attention_mask=mask, token_type_ids=types)
        whole = keras.Model([ids, mask, types], output.logits)
        got = whole(list(sentences.values()))
        np.testing.assert_allclose(got, expected, atol=1e-6)

    def test_hidden_states(self, make_config, sentences):
        model = tfhf.TFBertModel(make_config(num_hidden_layers=2))
        ids = keras.Input((None,), dtype="int32")
        states = model(ids, output_hidden_states=True).hidden_states
        whole = keras.Model(ids, keras.layers.Average()(list(states)))
        states = model(sentences["input_ids"], output_hidden_states=True).hidden_states
        expected = np.mean(states, axis=0)
        np.testing.assert_allclose(whole(sentences["input_ids"]), expected, atol=1e-6)

    def test_training_moves_the_body(self, make_config, sentences, labels):
        body = tfhf.TFBertModel(make_config(), add_pooling_layer=False)
        before = [weight.numpy() for weight in body.weights]
        ids = keras.Input((None,), dtype="int32", name="input_ids")
        mask = keras.Input((None,), dtype="int32", name="attention_mask")
        x = body({"input_ids": ids, "attention_mask": mask}).last_hidden_state
        logits = keras.layers.Dense(3)(x[:, 0])
        whole = keras.Model([ids, mask], logits)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        whole.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
        features = [sentences["input_ids"], sentences["attention_mask"]]
        history = whole.fit(features, labels, epochs=30, batch_size=12, verbose=0).history
        assert history["loss"][-1] < 0.5 * history["loss"][0]
        moved = [np.abs(w.numpy() - b).max() > 0 for w, b in zip(body.weights, before)]
        assert all(moved)
        again = whole.predict(features, verbose=0)
        np.testing.assert_allclose(again, whole(features), atol=1e-5)

    def test_output_as_a_whole(self, model, sentences, expected):
        ids = keras.Input((None,), dtype="int32", name="input_ids")
        output = keras.Model({"input_ids": ids}, model(ids)).predict(
            {"input_ids": sentences["input_ids"]}, batch_size=5, verbose=0
        )
        np.testing.assert_allclose(
            output["logits"], model(sentences["input_ids"]).logits, atol=1e-6
        )
