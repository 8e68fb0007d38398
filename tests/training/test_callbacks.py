"""KerasMetricCallback: what it predicts, what it hands to the metric, where the results arrive."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from transformers import BartConfig

import tfhf
from tfhf.training import KerasMetricCallback

X, Y = np.arange(14.0).reshape(7, 2).astype(np.float32), np.arange(7) % 2


class Doubler(keras.Model):
    """Returns its input and its double; knows which output is no prediction, as a HF model."""

    def __init__(self, outputs=("logits", "hidden_states")):
        super().__init__()
        self.scale = self.add_weight(name="scale", shape=(), initializer="ones")
        self.outputs_wanted = outputs

    def call(self, inputs):
        x = inputs["x"] if isinstance(inputs, dict) else inputs
        outputs = {"loss": self.scale, "logits": 2 * x, "hidden_states": x + 0 * self.scale}
        return {name: outputs[name] for name in self.outputs_wanted}


def run(callback, model):
    """Call the callback as ``fit`` does, and return what it put into the logs."""
    callback.set_model(model)
    logs = {"loss": 1.0}
    callback.on_epoch_end(0, logs)
    return logs


def capture(dataset, model, **kwargs):
    """Return the pair that the metric function was called with."""
    pairs = []
    callback = KerasMetricCallback(lambda pair: pairs.append(pair) or {"m": 1.5}, dataset, **kwargs)
    assert run(callback, model) == {"loss": 1.0, "m": 1.5}
    return pairs[0]


@pytest.mark.parametrize("batched", [True, False])
def test_inputs_and_labels_beside_them(batched):
    arguments = {"dataset": (X, Y), "batch_size": 3}
    if batched:
        arguments = {"dataset": tf.data.Dataset.from_tensor_slices((X, Y)).batch(3)}
    predictions, labels = capture(model=Doubler(["logits"]), **arguments)
    np.testing.assert_array_equal(predictions, 2 * X)
    np.testing.assert_array_equal(labels, Y)
    assert isinstance(predictions, np.ndarray)
    assert isinstance(labels, np.ndarray)


def test_several_outputs_and_a_choice_of_them():
    predictions, _ = capture((X, Y), Doubler(["loss", "logits", "hidden_states"]), batch_size=7)
    assert list(predictions) == ["logits", "hidden_states"]
    model = Doubler()
    predictions, _ = capture((X, Y), model, batch_size=2, output_cols=["hidden_states"])
    np.testing.assert_array_equal(predictions, X)
    model.config = type("Config", (), {"keys_to_ignore_at_inference": ["hidden_states"]})
    predictions, _ = capture((X, Y), model, batch_size=2)
    np.testing.assert_array_equal(predictions, 2 * X)


@pytest.mark.parametrize(
    ("names", "label_cols"),
    [
        (["labels"], None),
        (["start_positions", "end_positions"], None),
        (["tags"], ["tags"]),
        (["labels", "tags"], ["tags", "labels"]),
    ],
)
def test_labels_among_the_inputs(names, label_cols):
    columns = {name: Y + i for i, name in enumerate(names)}
    _, labels = capture({"x": X, **columns}, Doubler(), batch_size=4, label_cols=label_cols)
    if len(names) == 1:
        labels = {names[0]: labels}
    assert set(labels) == set(names)
    for name in names:
        np.testing.assert_array_equal(labels[name], columns[name])


def test_batches_of_several_lengths_are_filled_up():
    lengths = [(2, 3), (1, 5), (3, 1)]

    def batches():
        for rows, length in lengths:
            yield np.ones((rows, length, 2), np.float32), np.full((rows, length), 4)

    spec = (tf.TensorSpec((None, None, 2)), tf.TensorSpec((None, None), tf.int64))
    dataset = tf.data.Dataset.from_generator(batches, output_signature=spec)
    predictions, labels = capture(dataset, Doubler(["logits"]))
    expected = np.full((6, 5, 2), -100.0)
    expected[:2, :3] = expected[2:3, :5] = expected[3:, :1] = 2
    np.testing.assert_array_equal(predictions, expected)
    np.testing.assert_array_equal(labels, np.where(expected[..., 0] == 2, 4, -100))


def test_results_reach_history_callbacks_and_tensorboard(tmp_path):
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(2)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    values = iter([0.25, 0.5])
    seen = []
    history = model.fit(
        X,
        Y,
        epochs=2,
        verbose=0,
        callbacks=[
            KerasMetricCallback(lambda pair: {"bleu": next(values)}, (X, Y), batch_size=4),
            keras.callbacks.TensorBoard(tmp_path),
            keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(logs)),
        ],
    ).history
    assert history["bleu"] == [0.25, 0.5]
    assert [logs["bleu"] for logs in seen] == [0.25, 0.5]
    events = b"".join(path.read_bytes() for path in tmp_path.rglob("*tfevents*"))
    assert b"epoch_bleu" in events


def bart():
    """Return a model with random weights, which says 8 sooner or later."""
    config = BartConfig(
        vocab_size=11,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_position_embeddings=32,
        init_std=1.0,
        pad_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
        forced_eos_token_id=None,
    )
    return tfhf.TFBartForConditionalGeneration(config)


def sentences(*shapes):
    """Return batches of the shapes: sources padded at the right, labels, and a decoder's inputs."""
    random = np.random.default_rng(0)

    def batches():
        for rows, length in shapes:
            mask = np.arange(length) < random.integers(1, length + 1, rows)[:, None]
            ids = np.where(mask, random.integers(3, 11, (rows, length)), 1)
            labels = random.integers(3, 11, (rows, 4))
            yield (
                {"input_ids": ids, "attention_mask": mask * 1, "decoder_input_ids": labels},
                labels,
            )

    ids = tf.TensorSpec((None, None), tf.int64)
    names = ("input_ids", "attention_mask", "decoder_input_ids")
    dataset = tf.data.Dataset.from_generator(
        batches, output_signature=(dict.fromkeys(names, ids), ids)
    )
    return dataset.apply(tf.data.experimental.assert_cardinality(len(shapes))).cache()


class Traces(tfhf.TFLogitsProcessor):
    """Changes nothing, and counts how often it is built into a graph."""

    count = 0

    def __call__(self, input_ids, scores, cur_len):
        self.count += 1
        return scores


@pytest.mark.oracle
@pytest.mark.parametrize("num_beams", [1, 3])
def test_predictions_are_generated(num_beams, tmp_path):
    import torch
    from transformers import BartForConditionalGeneration

    model, data = bart(), sentences((3, 5), (2, 7), (1, 1))
    settings = {"max_new_tokens": 9, "num_beams": num_beams, "eos_token_id": 8}
    predictions, labels = capture(data, model, predict_with_generate=True, generate_kwargs=settings)
    model.save_pretrained(tmp_path)
    theirs = BartForConditionalGeneration.from_pretrained(tmp_path)
    expected = []
    for inputs, _ in data.as_numpy_iterator():
        source = {k: torch.tensor(inputs[k]) for k in ("input_ids", "attention_mask")}
        expected += theirs.generate(**source, **settings, do_sample=False).tolist()
    longest = max(map(len, expected))
    assert len(expected[-1]) < longest  # the last batch was shorter than others
    assert predictions.tolist() == [row + [1] * (longest - len(row)) for row in expected]
    np.testing.assert_array_equal(labels, np.concatenate([y for _, y in data]))


def test_generation_within_fit_is_compiled_once():
    model, data, traces, seen = bart(), sentences((3, 5), (2, 7), (1, 1)), Traces(), []

    def judge(pair):
        seen.append(traces.count)
        return {"longest": pair[0].shape[1]}

    settings = {"max_new_tokens": 6, "logits_processor": tfhf.TFLogitsProcessorList([traces])}
    capture(data.take(1), model, predict_with_generate=True, generate_kwargs=settings)
    expected = traces.count
    assert expected > 0
    callback = KerasMetricCallback(
        judge, data, predict_with_generate=True, generate_kwargs=settings
    )
    model.compile("adam")
    history = model.fit(data, epochs=2, verbose=0, callbacks=[callback]).history
    assert history["longest"] == [7, 7]
    assert seen == [expected, expected]


def test_generation_with_xla():
    model, data, traces = bart(), sentences((2, 5), (2, 7)), Traces()
    settings = {"max_new_tokens": 6, "eos_token_id": 8}
    expected, _ = capture(data, model, predict_with_generate=True, generate_kwargs=settings)
    settings["logits_processor"] = tfhf.TFLogitsProcessorList([traces])
    xla = {"predict_with_generate": True, "use_xla_generation": True, "generate_kwargs": settings}
    capture(data.take(1), model, **xla)
    count = traces.count
    found, _ = capture(data, model, **xla)
    assert traces.count == count > 0
    width = expected.shape[1]  # XLA's answers keep the length they may have
    np.testing.assert_array_equal(found[:, :width], expected)
    assert (found[:, width:] == 1).all()


def test_only_models_that_generate_can_predict_so():
    model = tfhf.TFBartModel(bart().config)
    callback = KerasMetricCallback(lambda pair: {}, sentences((1, 2)), predict_with_generate=True)
    with pytest.raises(TypeError, match="TFBartModel cannot generate"):
        run(callback, model)


def test_metric_function_must_return_a_dictionary():
    callback = KerasMetricCallback(lambda pair: 0.5, (X, Y), batch_size=4)
    with pytest.raises(TypeError, match=r"metric_fn .* 0\.5"):
        run(callback, Doubler())


@pytest.mark.parametrize(
    ("dataset", "kwargs", "message"),
    [
        ((X, Y), {}, "batch_size"),
        ({"x": X}, {"batch_size": 2}, r"label_cols .* \['x'\]"),
        (X, {"batch_size": 2}, "label_cols"),
        ({"x": X, "labels": Y}, {"batch_size": 2, "label_cols": ["tags"]}, "'tags'.*'labels'"),
    ],
)
def test_arguments_that_cannot_be_right(dataset, kwargs, message):
    with pytest.raises(ValueError, match=message):
        KerasMetricCallback(lambda pair: {}, dataset, **kwargs)
