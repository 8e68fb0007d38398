"""Losses against NumPy, always, and against PyTorch's functions where it is there."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tfhf.losses import (
    causal_lm_loss,
    cross_entropy,
    question_answering_loss,
    replaced_token_loss,
    sequence_classification_loss,
)

Invalid = tf.errors.InvalidArgumentError


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def mean_cross_entropy(labels, logits, ignored=-100):
    """The mean over what is not ignored; 0 where everything is."""
    labels, logits = labels.reshape(-1), logits.reshape(-1, logits.shape[-1]).astype(float)
    rows = np.flatnonzero(labels != ignored)
    return -log_softmax(logits)[rows, labels[rows]].mean() if len(rows) else 0.0


def close(got, expected):
    assert got.dtype == tf.float32 and got.shape == ()
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


def random_labels(rng, shape, classes, ignored=0.4):
    labels = rng.integers(0, classes, shape)
    return np.where(rng.random(shape) < ignored, -100, labels)


SHAPES = [(1,), (6,), (2, 5), (3, 1), (2, 3, 4)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("classes", [1, 2, 7])
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_cross_entropy(shape, classes, dtype):
    rng = np.random.default_rng(classes)
    logits = rng.normal(0, 5, (*shape, classes)).astype(np.float32)
    labels = random_labels(rng, shape, classes).astype(dtype)
    got = cross_entropy(tf.constant(labels), tf.constant(logits))
    close(got, mean_cross_entropy(labels, logits))


@pytest.mark.oracle
@pytest.mark.parametrize("shape", SHAPES)
def test_cross_entropy_equals_pytorch(shape):
    import torch

    rng = np.random.default_rng(0)
    logits = rng.normal(0, 5, (*shape, 5)).astype(np.float32)
    labels = random_labels(rng, shape, 5)
    labels.flat[0] = 4  # PyTorch gives NaN where all is ignored
    expected = torch.nn.functional.cross_entropy(
        torch.from_numpy(logits).reshape(-1, 5), torch.from_numpy(labels).reshape(-1)
    )
    close(cross_entropy(tf.constant(labels), tf.constant(logits)), expected.numpy())


def test_all_ignored_is_0_and_has_no_gradient():
    logits = tf.Variable(np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32))
    with tf.GradientTape() as tape:
        loss = cross_entropy(tf.fill((2, 3), -100), logits)
    assert loss.numpy() == 0
    np.testing.assert_array_equal(tape.gradient(loss, logits), np.zeros((2, 3, 4)))


def test_no_rows_at_all():
    assert cross_entropy(tf.zeros((0,), tf.int32), tf.zeros((0, 3))).numpy() == 0


def test_ignored_rows_have_no_gradient_and_may_hold_anything():
    logits = tf.Variable([[1.0, 2.0], [np.float32(3e38), -3e38], [0.5, 0.0]])
    with tf.GradientTape() as tape:
        loss = cross_entropy(tf.constant([0, -100, 1]), logits)
    rows = logits.numpy()[[0, 2]]
    close(loss, mean_cross_entropy(np.array([0, 1]), rows))
    gradient = tape.gradient(loss, logits).numpy()
    assert not gradient[1].any() and gradient[0].all() and gradient[2].all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_logits_are_summed_in_float32(dtype):
    """4,096 equal logits: the loss is log 4096; float16 would lose the sum."""
    logits = tf.cast(tf.fill((3, 4096), 20.0), dtype)
    close(cross_entropy(tf.constant([0, 1, 4095]), logits), np.log(4096))


def test_column_of_labels():
    logits = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    labels = np.array([3, 0, 1])
    column = cross_entropy(tf.constant(labels[:, None]), tf.constant(logits))
    close(column, mean_cross_entropy(labels, logits))


@pytest.mark.parametrize("labels", [[0, 3], [-1, 0], [-99, 0], [2**31 - 1, 0]])
@pytest.mark.parametrize("compiled", [False, True])
def test_labels_out_of_range(labels, compiled):
    function = tf.function(cross_entropy) if compiled else cross_entropy
    with pytest.raises(Invalid, match=r"next_sentence_label must be 0 to\]? \[?2\]? .*reach from"):
        function(tf.constant(labels), tf.zeros((2, 3)), argument="next_sentence_label")


@pytest.mark.parametrize("shape", [(3,), (2, 2), (0,), ()])
def test_number_of_labels(shape):
    with pytest.raises(ValueError, match=r"labels must be of shape \(2,\), .*shape is \("):
        cross_entropy(tf.zeros(shape, tf.int32), tf.zeros((2, 3)))
    signature = [tf.TensorSpec(None, tf.int32), tf.TensorSpec((None, None))]
    graph = tf.function(cross_entropy, input_signature=signature)
    with pytest.raises(Invalid, match=r"logits shape \[2,3\] and labels shape"):
        graph(tf.zeros(shape, tf.int32), tf.zeros((2, 3)))


def test_causal_lm():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 6, 5)).astype(np.float32)
    labels = random_labels(rng, (2, 6), 5)
    expected = mean_cross_entropy(labels[:, 1:], logits[:, :-1])
    close(causal_lm_loss(tf.constant(labels), tf.constant(logits)), expected)


def test_causal_lm_of_one_token_has_nothing_to_predict():
    assert causal_lm_loss(tf.constant([[1]]), tf.zeros((1, 1, 5))).numpy() == 0


@pytest.mark.oracle
def test_causal_lm_equals_transformers():
    import torch
    from transformers.loss.loss_utils import ForCausalLMLoss

    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 6, 5)).astype(np.float32)
    labels = random_labels(rng, (2, 6), 5)
    expected = ForCausalLMLoss(torch.from_numpy(logits), torch.from_numpy(labels), vocab_size=5)
    close(causal_lm_loss(tf.constant(labels), tf.constant(logits)), expected.numpy())


def config(num_labels, problem_type=None):
    return SimpleNamespace(num_labels=num_labels, problem_type=problem_type)


class TestSequenceClassification:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (6, 3)).astype(np.float32)
    classes = rng.integers(0, 3, 6)
    several = rng.integers(0, 2, (6, 3)).astype(np.float32)
    numbers = rng.normal(0, 2, (6, 3)).astype(np.float32)

    @pytest.mark.parametrize("problem_type", [None, "single_label_classification"])
    def test_classes(self, problem_type):
        got = sequence_classification_loss(
            tf.constant(self.classes), tf.constant(self.logits), config(3, problem_type)
        )
        close(got, mean_cross_entropy(self.classes, self.logits))

    @pytest.mark.parametrize("problem_type", [None, "multi_label_classification"])
    def test_several_labels(self, problem_type):
        got = sequence_classification_loss(
            tf.constant(self.several), tf.constant(self.logits), config(3, problem_type)
        )
        p = 1 / (1 + np.exp(-self.logits.astype(float)))
        expected = -np.mean(self.several * np.log(p) + (1 - self.several) * np.log(1 - p))
        close(got, expected)

    def test_several_labels_may_be_integers(self):
        got = sequence_classification_loss(
            tf.cast(self.several, tf.int64),
            tf.constant(self.logits),
            config(3, "multi_label_classification"),
        )
        same = sequence_classification_loss(
            tf.constant(self.several), tf.constant(self.logits), config(3)
        )
        close(got, same.numpy())

    @pytest.mark.parametrize("problem_type", [None, "regression"])
    @pytest.mark.parametrize("column", [False, True])
    def test_one_number(self, problem_type, column):
        """[batch] and [batch, 1] must not be spread against each other."""
        labels = self.numbers[:, :1] if column else self.numbers[:, 0]
        got = sequence_classification_loss(
            tf.constant(labels), tf.constant(self.logits[:, :1]), config(1, problem_type)
        )
        close(got, np.mean((self.logits[:, 0] - self.numbers[:, 0]) ** 2))

    def test_several_numbers(self):
        got = sequence_classification_loss(
            tf.constant(self.numbers), tf.constant(self.logits), config(3, "regression")
        )
        close(got, np.mean((self.logits - self.numbers) ** 2))

    def test_numbers_are_not_rounded(self):
        """16,777,215 needs every bit of a float32."""
        labels = tf.constant([16777215], tf.int32)
        got = sequence_classification_loss(labels, tf.constant([[16777213.0]]), config(1))
        assert got.numpy() == 4

    @pytest.mark.parametrize(
        "labels, labels_config, message",
        [
            (several[:, :2], config(3), r"\[batch, num_labels\] = \(6, 3\).*shape is \(6, 2\)"),
            (numbers[:, 0], config(3), r"multi_label_classification.*\(6,\).*must be integers"),
            (numbers[:, 0], config(3, "regression"), r"of a regression must be.*\(6, 3\)"),
            (several, config(3, "tagging"), "config.problem_type must be .*'tagging'"),
        ],
    )
    def test_bad_labels(self, labels, labels_config, message):
        with pytest.raises(ValueError, match=message):
            sequence_classification_loss(
                tf.constant(labels), tf.constant(self.logits), labels_config
            )

    @pytest.mark.oracle
    @pytest.mark.parametrize("kind", ["classes", "several", "one number", "numbers"])
    def test_equals_transformers(self, kind):
        import torch
        from transformers.loss.loss_utils import ForSequenceClassificationLoss

        labels, settings = {
            "classes": (self.classes, config(3)),
            "several": (self.several, config(3)),
            "one number": (self.numbers[:, 0], config(1)),
            "numbers": (self.numbers, config(3, "regression")),
        }[kind]
        logits = self.logits[:, : settings.num_labels]
        got = sequence_classification_loss(tf.constant(labels), tf.constant(logits), settings)
        theirs = SimpleNamespace(**vars(settings))
        expected = ForSequenceClassificationLoss(
            torch.from_numpy(labels), torch.from_numpy(logits), theirs
        )
        close(got, expected.numpy())


class TestQuestionAnswering:
    rng = np.random.default_rng(0)
    start_logits = rng.normal(0, 2, (4, 7)).astype(np.float32)
    end_logits = rng.normal(0, 2, (4, 7)).astype(np.float32)

    def loss(self, start, end):
        return question_answering_loss(
            tf.constant(start),
            tf.constant(end),
            tf.constant(self.start_logits),
            tf.constant(self.end_logits),
        )

    @pytest.mark.parametrize("shape", [(4,), (4, 1)])
    def test_mean_of_both(self, shape):
        start, end = np.array([0, 6, 3, 2]), np.array([1, 6, 5, 2])
        expected = mean_cross_entropy(start, self.start_logits)
        expected = (expected + mean_cross_entropy(end, self.end_logits)) / 2
        close(self.loss(start.reshape(shape), end.reshape(shape)), expected)

    @pytest.mark.parametrize("beyond", [7, 8, 500])
    def test_answers_that_were_cut_off_do_not_count(self, beyond):
        start, end = np.array([0, beyond, 3, 2]), np.array([1, beyond, 5, beyond])
        expected = mean_cross_entropy(start, self.start_logits, ignored=beyond)
        expected = (expected + mean_cross_entropy(end, self.end_logits, ignored=beyond)) / 2
        close(self.loss(start, end), expected)

    def test_all_cut_off(self):
        assert self.loss(np.full(4, 9), np.full(4, 9)).numpy() == 0

    def test_number_of_positions(self):
        with pytest.raises(ValueError, match=r"end_positions must be of shape \(4,\), .*\(3,\)"):
            self.loss(np.zeros(4, int), np.zeros(3, int))

    @pytest.mark.oracle
    def test_equals_transformers(self):
        import torch
        from transformers.loss.loss_utils import ForQuestionAnsweringLoss

        start, end = np.array([0, 7, 3, 200]), np.array([1, 2, 9, 6])
        expected = ForQuestionAnsweringLoss(
            torch.from_numpy(self.start_logits),
            torch.from_numpy(self.end_logits),
            torch.from_numpy(start),
            torch.from_numpy(end),
        )
        close(self.loss(start, end), expected.numpy())


@pytest.mark.parametrize("masked", [False, True])
def test_replaced_tokens(masked):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 5, (3, 4)).astype(np.float32)
    labels = rng.integers(0, 2, (3, 4))
    mask = np.array([[1, 1, 1, 1], [1, 0, 0, 0], [0, 1, 1, 0]])
    probability = 1 / (1 + np.exp(-logits.astype(float)))
    losses = -np.log(np.where(labels == 1, probability, 1 - probability))
    got = replaced_token_loss(
        tf.constant(labels), tf.constant(logits), tf.constant(mask) if masked else None
    )
    close(got, losses[mask == 1].mean() if masked else losses.mean())


def test_replaced_tokens_all_hidden():
    hidden = tf.zeros((2, 3), tf.int32)
    assert replaced_token_loss(hidden, tf.ones((2, 3)), hidden).numpy() == 0


@pytest.mark.parametrize("label", [2, -1, -100])
def test_replaced_tokens_are_0_or_1(label):
    with pytest.raises(Invalid, match="labels must be 0 to 1"):
        replaced_token_loss(tf.constant([[0, label]]), tf.zeros((1, 2)), None)


def test_replaced_tokens_shapes():
    ids, logits = tf.zeros((1, 3), tf.int32), tf.zeros((2, 3))
    with pytest.raises(ValueError, match=r"labels must be \[batch, length\] = \(2, 3\)"):
        replaced_token_loss(ids, logits, None)
    with pytest.raises(ValueError, match=r"attention_mask must be \[batch, length\] = \(2, 3\)"):
        replaced_token_loss(tf.zeros((2, 3), tf.int32), logits, ids)
