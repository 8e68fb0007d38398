"""compile, fit, evaluate and predict."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from transformers import BatchEncoding

import tfhf

QUIET = {"verbose": 0, "shuffle": False}


def sparse_cross_entropy(**options):
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, **options)


def cross_entropies(logits, labels):
    """Each row's cross-entropy, in NumPy."""
    logits = logits.astype(float)
    return np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(labels)), labels]


def batches(features, labels=None, size=6):
    data = features if labels is None else (features, labels)
    return tf.data.Dataset.from_tensor_slices(data).batch(size)


LABEL_PLACES = {
    "among arrays": lambda x, y: ((x | {"labels": y},), {}),
    "beside arrays": lambda x, y: ((x, y), {}),
    "beside arrays by name": lambda x, y: ((x, {"labels": y}), {}),
    "by keyword": lambda x, y: ((), {"x": x, "y": y}),
    "beside a BatchEncoding": lambda x, y: ((BatchEncoding(x), y), {}),
    "in a BatchEncoding": lambda x, y: ((BatchEncoding(x | {"labels": y}),), {}),
    "in a dataset": lambda x, y: ((batches(x | {"labels": y}),), {}),
    "beside a dataset": lambda x, y: ((batches(x, y),), {}),
    "beside a dataset by name": lambda x, y: ((batches(x, {"labels": y}),), {}),
}


@pytest.fixture(scope="module")
def reference(make_config, sentences, labels):
    """Logits and losses of plain TensorFlow: SGD on the mean of each batch of 6."""
    model = tfhf.TFBertForSequenceClassification(make_config())
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.normal(0, 0.3, weight.shape))
    untrained = model(sentences).logits.numpy()
    total = 0
    for start in range(0, 12, 6):
        rows = slice(start, start + 6)
        with tf.GradientTape() as tape:
            logits = model({name: value[rows] for name, value in sentences.items()}).logits
            loss = tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(labels[rows], logits)
            )
        total += float(loss)
        for weight, g in zip(model.weights, tape.gradient(loss, [w.value for w in model.weights])):
            if g is not None:
                weight.assign_sub(0.1 * tf.convert_to_tensor(g))
    return untrained, total / 2, model(sentences).logits.numpy()


class TestLabels:
    """However labels come, and whichever loss there is: the same steps."""

    @pytest.mark.parametrize(
        "place, loss",
        [(place, "own") for place in LABEL_PLACES]
        + [
            (place, "Keras")
            for place in ("among arrays", "beside arrays", "beside a dataset by name")
        ],
    )
    def test_places(self, make_classifier, sentences, labels, reference, place, loss):
        model = make_classifier()
        own = {} if loss == "own" else {"loss": sparse_cross_entropy()}
        model.compile(keras.optimizers.SGD(0.1), metrics=["accuracy"], **own)
        arguments, named = LABEL_PLACES[place](sentences, labels)
        size = {} if "dataset" in place else {"batch_size": 6}
        untrained, trained_loss, trained = reference

        results = model.evaluate(*arguments, **named, **size, verbose=0, return_dict=True)
        accuracy = np.mean(untrained.argmax(-1) == labels)
        np.testing.assert_allclose(results["loss"], cross_entropies(untrained, labels).mean(), 1e-5)
        np.testing.assert_allclose(results["accuracy"], accuracy, 1e-6)
        history = model.fit(*arguments, **named, **size, **QUIET).history
        np.testing.assert_allclose(history["loss"], trained_loss, rtol=1e-5)
        np.testing.assert_allclose(model(sentences).logits, trained, atol=1e-5)

    @pytest.mark.parametrize("spelling", ["passthrough", None])
    def test_spellings_of_no_loss(self, make_classifier, sentences, labels, reference, spelling):
        model = make_classifier()
        model.compile(keras.optimizers.SGD(0.1), loss=spelling)
        loss = model.evaluate(sentences, labels, verbose=0)
        expected = cross_entropies(reference[0], labels).mean()
        np.testing.assert_allclose(loss, expected, rtol=1e-5)

    @pytest.mark.parametrize("data", ["arrays", "dataset"])
    def test_none(self, make_classifier, sentences, data):
        model = make_classifier()
        model.compile("sgd")
        x = sentences if data == "arrays" else batches(sentences)
        with pytest.raises(
            ValueError, match=r"(Could not find label column|has no labels).*\['labels'\]"
        ):
            model.fit(x, verbose=0)

    def test_body_alone(self, make_config, sentences):
        """A body has no loss: it takes one from Keras, for its first output."""
        body = tfhf.TFBertModel(make_config(), add_pooling_layer=False)
        targets = np.random.default_rng(0).normal(size=(12, 7, 8)).astype(np.float32)
        body.compile("sgd")
        with pytest.raises(ValueError, match=r"TFBertModel has no loss of its own: compile\(loss="):
            body.fit(sentences, targets, verbose=0)
        body.compile(keras.optimizers.SGD(0.1), "mse")
        expected = np.mean((body(sentences).last_hidden_state - targets) ** 2)
        history = body.fit(sentences, targets, epochs=2, batch_size=12, verbose=0).history
        np.testing.assert_allclose(history["loss"][0], expected, rtol=1e-5)
        assert history["loss"][1] < history["loss"][0]


HEADS = {
    "TFBertForMaskedLM": lambda ids: {"labels": np.where(ids % 3 == 0, ids, -100)},
    "TFBertLMHeadModel": lambda ids: {"labels": np.where(ids == 0, -100, ids)},
    "TFBertForPreTraining": lambda ids: {
        "labels": np.where(ids % 3 == 0, ids, -100),
        "next_sentence_label": ids[:, 0] % 2,
    },
    "TFBertForNextSentencePrediction": lambda ids: {"next_sentence_label": ids[:, 0] % 2},
    "TFBertForTokenClassification": lambda ids: {"labels": np.where(ids == 0, -100, ids % 3)},
    "TFBertForQuestionAnswering": lambda ids: {
        "start_positions": ids.argmax(-1),
        "end_positions": np.where(ids[:, 0] > 15, 99, ids.argmax(-1)),
    },
    "TFBertForMultipleChoice": lambda ids: {"labels": ids[:6, 0] % 2},
}


@pytest.mark.parametrize("head", HEADS)
def test_every_head_learns(make_config, sentences, head):
    """The loss that fit shows is that of a call, and training lowers it."""
    num_labels = 2 if head == "TFBertForQuestionAnswering" else 3
    model = getattr(tfhf, head)(
        make_config(num_labels=num_labels, is_decoder=head == "TFBertLMHeadModel")
    )
    given = HEADS[head](sentences["input_ids"])
    x = sentences
    if head == "TFBertForMultipleChoice":
        x = {name: value.reshape(6, 2, 7) for name, value in x.items()}
    model.compile(keras.optimizers.SGD(0.1))
    expected = float(model(x, **given).loss)
    history = model.fit(x, given, batch_size=12, epochs=30, verbose=0).history
    np.testing.assert_allclose(history["loss"][0], expected, rtol=1e-5)
    assert float(model(x, **given).loss) < 0.9 * expected


class TestTwoLabels:
    @pytest.fixture
    def model(self, make_config):
        return tfhf.TFBertForQuestionAnswering(make_config(num_labels=2))

    @pytest.fixture
    def positions(self, sentences):
        ids = sentences["input_ids"]
        return {"start_positions": ids.argmax(-1), "end_positions": ids.argmin(-1)}

    @pytest.mark.parametrize("loss", ["own", "one of Keras", "one of Keras for each"])
    def test_metrics_of_each(self, model, sentences, positions, loss):
        losses = {
            "own": None,
            "one of Keras": sparse_cross_entropy(),
            "one of Keras for each": {name: sparse_cross_entropy() for name in positions},
        }[loss]
        model.compile("sgd", loss=losses, metrics=["accuracy"])
        output = model(sentences)
        starts = cross_entropies(output.start_logits.numpy(), positions["start_positions"]).mean()
        ends = cross_entropies(output.end_logits.numpy(), positions["end_positions"]).mean()
        # PyTorch's class takes the mean of both, Keras the sum.
        expected = (starts + ends) / (2 if loss == "own" else 1)
        for arguments in ((sentences, positions), (sentences | positions,)):
            results = model.evaluate(*arguments, verbose=0, return_dict=True)
            np.testing.assert_allclose(results["loss"], expected, rtol=1e-5)
            for name, values in positions.items():
                logits = output[name.replace("positions", "logits")].numpy()
                accuracy = np.mean(logits.argmax(-1) == values)
                np.testing.assert_allclose(results[f"{name}_accuracy"], accuracy, rtol=1e-6)

    def test_one_is_not_enough(self, model, sentences, positions):
        model.compile("sgd")
        with pytest.raises(
            ValueError, match=r"needs all of \['start_positions', 'end_positions'\]"
        ):
            model.fit(sentences, {"end_positions": positions["end_positions"]}, verbose=0)


class TestPredict:
    @pytest.mark.parametrize("way", ["arrays", "labels too", "dataset", "dataset with labels"])
    def test_arrays_in_the_output_type(self, make_classifier, sentences, labels, way):
        model = make_classifier()
        x = {
            "arrays": sentences,
            "labels too": BatchEncoding(sentences | {"labels": labels}),
            "dataset": batches(sentences),
            "dataset with labels": batches(sentences, labels),
        }[way]
        size = {} if "dataset" in way else {"batch_size": 5}
        output = model.predict(x, **size, verbose=0)
        assert type(output) is tfhf.outputs.TFSequenceClassifierOutput
        assert type(output.logits) is np.ndarray and output.loss is None
        np.testing.assert_allclose(output.logits, model(sentences).logits, atol=1e-5)

    def test_ids_alone(self, make_classifier, sentences):
        model = make_classifier()
        ids = sentences["input_ids"]
        np.testing.assert_allclose(
            model.predict(ids, verbose=0).logits, model(ids).logits, atol=1e-5
        )

    def test_states_are_joined_over_batches(self, make_classifier, sentences):
        model = make_classifier(output_hidden_states=True, output_attentions=True)
        output = model.predict(sentences, batch_size=5, verbose=0)
        expected = model(sentences)
        assert type(output.hidden_states) is tuple and len(output.hidden_states) == 2
        for name in ("hidden_states", "attentions"):
            for got, whole in zip(output[name], expected[name], strict=True):
                np.testing.assert_allclose(got, whole, atol=1e-5)

    def test_one_batch(self, make_classifier, sentences, labels):
        model = make_classifier()
        model.compile(keras.optimizers.SGD(0.1), metrics=["accuracy"])
        output = model.predict_on_batch(sentences)
        assert type(output.logits) is np.ndarray
        loss = cross_entropies(output.logits, labels).mean()
        accuracy = np.mean(output.logits.argmax(-1) == labels)
        got = model.test_on_batch(sentences, labels)
        np.testing.assert_allclose(got, [loss, accuracy], rtol=1e-5)
        got = model.train_on_batch(sentences | {"labels": labels})
        np.testing.assert_allclose(got, [loss, accuracy], rtol=1e-5)
        assert model.test_on_batch(sentences, labels)[0] < loss


class TestWeights:
    """class_weight and sample_weight are Keras's, and work with a Keras loss."""

    class_weight = {0: 1.0, 1: 3.0, 2: 0.5}

    def test_own_loss_refuses_them(self, make_classifier, sentences, labels):
        model = make_classifier()
        model.compile("sgd")
        message = r"need a Keras loss: compile\(loss=keras"
        with pytest.raises(ValueError, match=message):
            model.fit(sentences, labels, class_weight=self.class_weight, verbose=0)
        with pytest.raises(ValueError, match=message):
            model.fit(sentences, labels, sample_weight=np.ones(12), verbose=0)

    def test_keras_loss(self, make_classifier, sentences, labels):
        model = make_classifier()
        model.compile(keras.optimizers.SGD(0.0), sparse_cross_entropy())
        losses = cross_entropies(model(sentences).logits.numpy(), labels)
        weights = np.linspace(0, 2, 12)
        got = model.evaluate(sentences, labels, sample_weight=weights, batch_size=12, verbose=0)
        np.testing.assert_allclose(got, np.mean(weights * losses), rtol=1e-5)
        history = model.fit(
            sentences, labels, class_weight=self.class_weight, batch_size=12, verbose=0
        ).history
        weights = [self.class_weight[label] for label in labels]
        np.testing.assert_allclose(history["loss"], np.mean(weights * losses), rtol=1e-5)


@pytest.mark.parametrize(
    "options", [{"run_eagerly": True}, {"jit_compile": True}, {"steps_per_execution": 2}]
)
def test_ways_to_run(make_classifier, sentences, labels, reference, options):
    model = make_classifier()
    model.compile(keras.optimizers.SGD(0.1), **options)
    history = model.fit(sentences, labels, batch_size=6, **QUIET).history
    np.testing.assert_allclose(history["loss"], reference[1], rtol=1e-5)
    np.testing.assert_allclose(model(sentences).logits, reference[2], atol=1e-5)


def test_compiled_by_xla_only_when_asked(make_classifier):
    model = make_classifier()
    model.compile("sgd")
    assert not model.jit_compile
    model.compile("sgd", jit_compile=True)
    assert model.jit_compile


def test_the_end_of_the_data_is_no_step(make_classifier, sentences, labels):
    """Where Keras does not know how long the data is, it asks for one batch more."""
    model = make_classifier()
    model.compile(keras.optimizers.SGD(0.1, weight_decay=0.5))
    data = batches(sentences, labels)
    model.fit(data.filter(lambda x, y: True), epochs=2, verbose=0)
    assert model.optimizer.iterations == 4
    sized = make_classifier()
    sized.compile(keras.optimizers.SGD(0.1, weight_decay=0.5))
    sized.fit(data, epochs=2, verbose=0)
    for weight, expected in zip(model.weights, sized.weights):
        np.testing.assert_allclose(weight, expected, atol=1e-6)


def test_validation(make_classifier, sentences, labels):
    model = make_classifier()
    model.compile(keras.optimizers.SGD(0.0), metrics=["accuracy"])
    losses = cross_entropies(model(sentences).logits.numpy(), labels)
    whole = sentences | {"labels": labels}
    history = model.fit(whole, validation_split=0.25, **QUIET).history
    np.testing.assert_allclose(history["loss"][0], losses[:9].mean(), rtol=1e-5)
    np.testing.assert_allclose(history["val_loss"][0], losses[9:].mean(), rtol=1e-5)
    for data in (whole, (sentences, labels), batches(whole)):
        history = model.fit(whole, validation_data=data, **QUIET).history
        np.testing.assert_allclose(history["val_loss"][0], losses.mean(), rtol=1e-5)
        assert "val_accuracy" in history


class TestProblemTypes:
    def test_regression(self, make_classifier, sentences):
        model = make_classifier(num_labels=1)
        model.compile(keras.optimizers.Adam(0.02), metrics=["mae"])
        targets = np.linspace(-2, 2, 12).astype(np.float32)
        logits = model(sentences).logits.numpy()[:, 0]
        history = model.fit(sentences, targets, epochs=20, batch_size=12, verbose=0).history
        np.testing.assert_allclose(history["loss"][0], np.mean((logits - targets) ** 2), rtol=1e-5)
        assert history["loss"][-1] < 0.5 * history["loss"][0]

    def test_several_labels(self, make_classifier, sentences):
        model = make_classifier(problem_type="multi_label_classification")
        model.compile("adam", metrics=[keras.metrics.BinaryAccuracy(threshold=0.0)])
        targets = (sentences["input_ids"][:, :3] % 2).astype(np.float32)
        logits = model(sentences).logits.numpy()
        expected = np.mean(np.logaddexp(0, logits) - targets * logits)
        results = model.evaluate(sentences | {"labels": targets}, verbose=0, return_dict=True)
        np.testing.assert_allclose(results["loss"], expected, rtol=1e-5)
        accuracy = np.mean((logits > 0) == targets)
        np.testing.assert_allclose(results["binary_accuracy"], accuracy, rtol=1e-6)


class TestFreezing:
    def test_only_the_head_moves(self, make_classifier, sentences, labels):
        model = make_classifier()
        model.base_model.trainable = False
        assert len(model.trainable_weights) == 2
        assert model.num_parameters(only_trainable=True) == 8 * 3 + 3
        model.compile(keras.optimizers.SGD(0.1))
        body = [weight.numpy() for weight in model.base_model.weights]
        head = [weight.numpy() for weight in model.classifier.weights]
        model.fit(sentences, labels, verbose=0)
        for before, weight in zip(body, model.base_model.weights):
            np.testing.assert_array_equal(before, weight)
        for before, weight in zip(head, model.classifier.weights):
            assert np.abs(before - weight).max() > 0
        model.base_model.trainable = True
        model.compile(keras.optimizers.SGD(0.1))
        model.fit(sentences, labels, verbose=0)
        assert all(
            np.abs(before - weight).max() > 0
            for before, weight in zip(body, model.base_model.weights)
        )

    def test_one_layer(self, make_classifier, sentences, labels):
        model = make_classifier()
        model.base_model.embeddings.trainable = False
        model.compile(keras.optimizers.SGD(0.1))
        table = model.get_input_embeddings().embeddings
        before, kernel = table.numpy(), model.base_model.pooler.kernel.numpy()
        model.fit(sentences, labels, verbose=0)
        np.testing.assert_array_equal(table, before)
        assert np.abs(model.base_model.pooler.kernel - kernel).max() > 0


def test_part_of_a_model_of_ones_own(make_config, sentences, labels):
    class Classifier(keras.Model):
        def __init__(self, body):
            super().__init__()
            self.body = body
            self.head = keras.layers.Dense(3)

        def call(self, inputs, training=False):
            return self.head(self.body(inputs, training=training).last_hidden_state[:, 0])

    model = Classifier(tfhf.TFBertModel(make_config(), add_pooling_layer=False))
    model.compile(keras.optimizers.SGD(0.3), sparse_cross_entropy())
    history = model.fit(sentences, labels, batch_size=12, epochs=60, verbose=0).history
    assert history["loss"][-1] < 0.5 * history["loss"][0]


class TestDropout:
    def test_only_while_training(self, make_classifier, sentences, labels):
        model = make_classifier(hidden_dropout_prob=0.5)
        np.testing.assert_array_equal(model(sentences).logits, model(sentences).logits)
        dropped = model(sentences, training=True).logits
        assert np.abs(dropped - model(sentences, training=True).logits).max() > 1e-3
        model.compile(keras.optimizers.SGD(0.0))
        losses = [model.fit(sentences, labels, verbose=0).history["loss"][0] for _ in range(2)]
        assert losses[0] != losses[1]
        evaluated = [model.evaluate(sentences, labels, verbose=0) for _ in range(2)]
        expected = cross_entropies(model(sentences).logits.numpy(), labels).mean()
        np.testing.assert_allclose(evaluated, expected, rtol=1e-5)

    def test_seed_makes_runs_identical(self, make_config, sentences, labels):
        def run(seed):
            keras.utils.set_random_seed(seed)
            config = make_config(hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.2)
            model = tfhf.TFBertForSequenceClassification(config)
            model.compile(keras.optimizers.SGD(0.1))
            data = batches(sentences, labels).shuffle(12)
            return model.fit(data, epochs=2, verbose=0).history["loss"], model.get_weights()

        losses, weights = run(7)
        again_losses, again_weights = run(7)
        assert losses == again_losses
        for a, b in zip(weights, again_weights, strict=True):
            np.testing.assert_array_equal(a, b)
        assert run(8)[0] != losses
