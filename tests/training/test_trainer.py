"""Trainer: the course's code, evaluation, logs, files, and failures in plain words."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from training_data import losses, make_model, make_rows, make_trainer, pad
from transformers import T5Config

import tfhf
from tfhf import Trainer, TrainingArguments


def accuracy(eval_preds):
    logits, labels = eval_preds
    return {"accuracy": (np.argmax(logits, axis=-1) == labels).mean(dtype=np.float32)}


class Notes(keras.callbacks.Callback):
    """What a Keras callback sees of evaluations."""

    def __init__(self):
        super().__init__()
        self.tests, self.epochs = [], []

    def on_test_end(self, logs=None):
        self.tests.append(dict(logs))

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(dict(logs))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A training that uses most of what there is; with it, its folder and a Keras callback."""
    folder = tmp_path_factory.mktemp("trained")
    args = TrainingArguments(
        str(folder),
        eval_strategy="epoch",
        save_strategy="epoch",
        learning_rate=2e-2,
        per_device_train_batch_size=4,
        per_device_eval_batch_size=3,
        num_train_epochs=3,
        weight_decay=0.01,
        warmup_ratio=0.1,
        logging_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="accuracy",
        lr_scheduler_type="cosine",
        logging_dir=str(folder / "logs"),
    )
    notes = Notes()
    trainer = Trainer(
        make_model(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0),
        args,
        train_dataset=make_rows(),
        eval_dataset=make_rows(10, seed=1),
        data_collator=pad,
        compute_metrics=accuracy,
        callbacks=[notes],
    )
    trainer.notes = notes
    trainer.output = trainer.train()
    return trainer


def test_training_logs_what_transformers_logs(trained):
    history = trained.state.log_history
    steps = [logs["step"] for logs in history if "loss" in logs]
    assert steps == list(range(2, 19, 2))
    evaluations = [logs for logs in history if "eval_loss" in logs]
    assert [(logs["epoch"], logs["step"]) for logs in evaluations] == [(1, 6), (2, 12), (3, 18)]
    names = {"eval_loss", "eval_accuracy", "eval_runtime", "eval_samples_per_second"}
    assert evaluations[0].keys() == names | {"eval_steps_per_second", "epoch", "step"}
    assert history[-1]["train_loss"] == trained.output.training_loss
    metrics = trained.output.metrics
    assert metrics["epoch"] == 3
    seen = metrics["train_samples_per_second"] / metrics["train_steps_per_second"]
    assert seen == pytest.approx(22 / 6, rel=0.01)  # rows of an update
    assert trained.output.global_step == 18


def test_a_logged_loss_is_the_mean_since_the_last_one(trained):
    logged = losses(trained)
    rows = [8, 8, 6, 8, 8, 6, 8, 8, 6]  # the last batch of an epoch has 2 rows
    mean = np.average(list(logged.values()), weights=rows)
    assert trained.output.training_loss == pytest.approx(mean, rel=1e-6)


def test_the_learning_rate_is_logged(trained):
    schedule = tfhf.get_scheduler("cosine", 2e-2, 2, 18)
    for logs in trained.state.log_history:
        if "learning_rate" in logs:
            assert logs["learning_rate"] == float(schedule(logs["step"] - 1))


def test_the_norm_of_gradients_is_logged(trained):
    norms = [logs["grad_norm"] for logs in trained.state.log_history if "loss" in logs]
    assert len({*norms}) == 9 and min(norms) > 0
    assert norms[-1] == float(trained.model.optimizer.grad_norm)


def test_keras_callbacks_see_evaluations(trained):
    assert [logs["eval_accuracy"] for logs in trained.notes.tests] == [
        logs["val_accuracy"] for logs in trained.notes.epochs
    ]


def test_the_best_model_is_loaded(trained):
    state = trained.state
    scores = [logs["eval_accuracy"] for logs in trained.notes.tests]
    assert state.best_metric == max(scores)
    step = 6 * (1 + scores.index(max(scores)))
    assert Path(state.best_model_checkpoint).name == f"checkpoint-{step}"
    best = tfhf.TFBertForSequenceClassification.from_pretrained(state.best_model_checkpoint)
    for ours, theirs in zip(trained.model.get_weights(), best.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_evaluate_and_predict(trained):
    rows = make_rows(10, seed=1)
    metrics = trained.evaluate()
    output = trained.predict(rows)
    batch = pad(list(rows))
    expected = trained.model(batch)
    np.testing.assert_allclose(output.predictions, expected.logits, atol=1e-6)
    np.testing.assert_array_equal(output.label_ids, batch["labels"])
    assert output.metrics["test_loss"] == pytest.approx(float(expected.loss), rel=1e-5)
    assert metrics["eval_loss"] == pytest.approx(float(expected.loss), rel=1e-5)
    assert metrics["eval_accuracy"] == output.metrics["test_accuracy"]


def test_several_datasets(trained):
    parts = {"first": make_rows(4, seed=1), "second": make_rows(4, seed=2)}
    metrics = trained.evaluate(parts)
    assert {"eval_first_loss", "eval_second_accuracy"} <= metrics.keys()
    assert metrics["eval_first_loss"] != metrics["eval_second_loss"]


def test_what_is_kept_can_be_chosen(trained):
    trained.preprocess_logits_for_metrics = lambda logits, labels: tf.argmax(logits, axis=-1)
    try:
        predictions = trained.predict(make_rows(5)).predictions
    finally:
        trained.preprocess_logits_for_metrics = None
    assert predictions.shape == (5,)


def test_files(trained, tmp_path, capsys):
    trained.save_model(tmp_path / "model")
    loaded = tfhf.TFBertForSequenceClassification.from_pretrained(tmp_path / "model")
    np.testing.assert_array_equal(loaded.get_weights()[0], trained.model.get_weights()[0])
    assert TrainingArguments.from_file(tmp_path / "model/training_args.json") == trained.args
    folder = Path(trained.args.output_dir)
    trained.save_state()
    assert json.loads((folder / "trainer_state.json").read_text())["global_step"] == 18
    trained.save_metrics("train", {"train_loss": 0.5})
    trained.save_metrics("eval", {"eval_loss": 0.25})
    assert json.loads((folder / "train_results.json").read_text()) == {"train_loss": 0.5}
    every = json.loads((folder / "all_results.json").read_text())
    assert every == {"train_loss": 0.5, "eval_loss": 0.25}
    trained.log_metrics("eval", {"eval_loss": 0.25, "eval_samples": 10})
    shown = " ".join(capsys.readouterr().out.split())
    assert shown == "***** eval metrics ***** eval_loss = 0.2500 eval_samples = 10"


def test_tensorboard_has_the_logs(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(trained.args.logging_folder))
    events.Reload()
    assert {"train/loss", "train/learning_rate", "eval/accuracy"} <= {*events.Tags()["tensors"]}


# In plain words -------------------------------------------------------------------------------


def test_labels_that_are_no_classes_are_told_before_training(tmp_path):
    rows = make_rows()
    labels = [*rows["labels"][:-1], 7]
    rows = rows.remove_columns("labels").add_column("labels", labels)
    with pytest.raises(ValueError, match="'labels' must be 0 to 1 .* 1 are not, among them 7"):
        make_trainer(tmp_path, rows=rows).train()


def test_an_evaluation_set_without_labels_is_told_before_training(tmp_path):
    rows = make_rows()
    collate = lambda features: {k: v for k, v in pad(features).items() if k != "labels"}  # noqa: E731
    unlabelled = make_model().prepare_tf_dataset(rows, 4, shuffle=False, collate_fn=collate)
    trainer = make_trainer(tmp_path, eval_rows=unlabelled, eval_strategy="epoch")
    with pytest.raises(ValueError, match="eval_dataset has no labels"):
        trainer.train()
    with pytest.raises(ValueError, match="eval_dataset has no labels"):
        trainer.evaluate()
    assert trainer.predict(unlabelled).predictions.shape == (22, 2)
    with pytest.raises(ValueError, match="there is no eval_dataset"):
        make_trainer(tmp_path, eval_strategy="epoch").train()


def test_empty_datasets_are_told(tmp_path):
    with pytest.raises(ValueError, match="0 rows make no batch"):
        make_trainer(tmp_path, rows=make_rows().select([])).train()
    data = tf.data.Dataset.from_tensors(({"input_ids": [[1]]}, [0]))
    with pytest.raises(ValueError, match="train_dataset is empty"):
        make_trainer(tmp_path, rows=data.take(0)).train()
    with pytest.raises(ValueError, match="must know how many batches"):
        make_trainer(tmp_path, rows=data.filter(lambda x, y: True)).train()
    trainer = make_trainer(tmp_path)
    trainer.train_dataset = None
    with pytest.raises(ValueError, match="train_dataset must be given"):
        trainer.train()
    with pytest.raises(ValueError, match="too few for one update"):
        make_trainer(tmp_path, gradient_accumulation_steps=100).train()


def test_arguments_that_do_not_fit(tmp_path):
    with pytest.raises(TypeError, match="either model or model_init"):
        Trainer()
    with pytest.raises(TypeError, match="one of tfhf"):
        Trainer(keras.Sequential(), TrainingArguments(str(tmp_path)))
    with pytest.raises(ValueError, match="model_init"):
        make_trainer(tmp_path, strategy="mirrored")
    with pytest.raises(ValueError, match="layerwise_lr_decay needs"):
        make_trainer(tmp_path, optim="sgd", layerwise_lr_decay=0.5).train()
    with pytest.raises(ValueError, match="label_smoothing_factor must be 0 where"):
        make_trainer(tmp_path, make_model(num_labels=1), label_smoothing_factor=0.1)
    with pytest.raises(ValueError, match="beyond the last of 5 updates, the batch 5 of 6"):
        make_trainer(tmp_path, max_steps=5, steps_per_execution=4).train()
    stop = tfhf.EarlyStoppingCallback()
    with pytest.raises(ValueError, match="EarlyStoppingCallback needs another eval_strategy"):
        make_trainer(tmp_path, callbacks=[stop]).train()
    with pytest.raises(TypeError, match="callbacks must be Keras callbacks, but one is <class"):
        make_trainer(tmp_path, callbacks=[tfhf.EarlyStoppingCallback])


def test_a_subclass_learns_which_of_its_methods_nobody_calls():
    with pytest.raises(TypeError, match="compute_loss would never be called: .* of the model"):

        class Weighted(Trainer):
            def compute_loss(self, model, inputs, return_outputs=False):
                return 0


def test_a_metric_that_is_not_there_is_told(tmp_path):
    trainer = make_trainer(
        tmp_path,
        eval_rows=make_rows(4),
        eval_strategy="steps",
        eval_steps=1,
        metric_for_best_model="f1",
    )
    tf.config.run_functions_eagerly(True)
    try:
        with pytest.raises(ValueError, match="'eval_f1', but evaluations have"):
            trainer.train()
    finally:
        tf.config.run_functions_eagerly(False)
    assert trainer.state.global_step == 1


# Kinds of training ----------------------------------------------------------------------------


@pytest.fixture
def eagerly():
    """Steps without graphs: for few steps of tiny models, faster than tracing them."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.parametrize(
    ("dtype", "compute"), [({"bf16": True}, "bfloat16"), ({"fp16": True}, "float16")]
)
def test_mixed_precision_of_a_model_that_is_there(tmp_path, eagerly, dtype, compute):
    trainer = make_trainer(tmp_path, max_steps=2, **dtype)
    assert (trainer.model.compute_dtype, trainer.model.variable_dtype) == (compute, "float32")
    trainer.train()
    is_scaled = isinstance(trainer.model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert is_scaled is (compute == "float16")
    assert all(np.isfinite(loss) for loss in losses(trainer).values())


def test_t5_stays_precise_where_it_must(tmp_path):
    config = T5Config(
        vocab_size=20, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2,
        decoder_start_token_id=0,
    )  # fmt: skip
    args = TrainingArguments(str(tmp_path), fp16=True, report_to="none")
    model = Trainer(tfhf.TFT5ForConditionalGeneration(config), args).model
    made = tfhf.TFT5ForConditionalGeneration(config, dtype="mixed_float16")
    policies = [layer.dtype_policy.name for layer in model._flatten_layers()]
    assert policies == [layer.dtype_policy.name for layer in made._flatten_layers()]
    assert "float32" in policies


def test_training_ends_after_max_steps(tmp_path, eagerly):
    trainer = make_trainer(
        tmp_path, max_steps=8, gradient_accumulation_steps=2, save_strategy="steps", save_steps=5
    )
    output = trainer.train()
    assert (output.global_step, trainer.state.batches) == (8, 16)
    assert trainer.state.epoch == pytest.approx(16 / 6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-5", "checkpoint-8"]


def test_training_again_begins_with_a_new_schedule(tmp_path, eagerly):
    trainer = make_trainer(tmp_path, max_steps=2)
    trainer.train()
    rates = [logs.get("learning_rate") for logs in trainer.state.log_history]
    before = trainer.model.get_weights()[0]
    trainer.train()
    assert [logs.get("learning_rate") for logs in trainer.state.log_history] == rates
    assert np.abs(trainer.model.get_weights()[0] - before).max() > 1e-4

    optimizer = keras.optimizers.SGD(0.1)
    trainer = make_trainer(tmp_path, max_steps=2)
    trainer.optimizer = optimizer
    trainer.train()
    trainer.train()
    assert trainer.optimizer is optimizer and int(optimizer.iterations) == 4


def test_training_stops_early(tmp_path, eagerly):
    stop = tfhf.EarlyStoppingCallback(early_stopping_patience=2)
    trainer = make_trainer(
        tmp_path,
        eval_rows=make_rows(4),
        callbacks=[stop],
        eval_strategy="steps",
        eval_steps=2,
        learning_rate=1e-30,
    )
    trainer.train()
    assert trainer.state.global_step == 6  # the first evaluation, and two that are no better


def test_model_init_makes_the_model_with_the_seed(tmp_path):
    def weights(seed):
        args = TrainingArguments(str(tmp_path), seed=seed, report_to="none", strategy="one_device")
        return Trainer(model_init=make_model, args=args).model.get_weights()[0]

    np.testing.assert_array_equal(weights(1), weights(1))
    assert not np.array_equal(weights(1), weights(2))


@pytest.mark.slow
def test_seq2seq_evaluates_what_it_writes(tmp_path, eagerly):
    config = T5Config(
        vocab_size=20, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2,
        decoder_start_token_id=0,
    )  # fmt: skip
    seen = []
    args = tfhf.Seq2SeqTrainingArguments(
        str(tmp_path),
        predict_with_generate=True,
        generation_max_length=6,
        generation_num_beams=2,
        report_to="none",
    )
    model = tfhf.TFT5ForConditionalGeneration(config)
    data = tf.data.Dataset.from_tensors(
        ({"input_ids": [[3, 4, 1]], "decoder_input_ids": [[0, 5]]}, [[5, 1]])
    )
    trainer = tfhf.Seq2SeqTrainer(
        model, args, eval_dataset=data, compute_metrics=lambda pair: seen.append(pair) or {"n": 1}
    )
    metrics = trainer.evaluate()
    assert {"eval_loss", "eval_n"} <= metrics.keys()
    prompt = tf.constant([[3, 4, 1]])
    expected = model.generate(prompt, max_length=6, num_beams=2)
    np.testing.assert_array_equal(seen[0].predictions, expected)
    np.testing.assert_array_equal(seen[0].label_ids, [[5, 1]])
    trainer.evaluate({"short": data}, max_length=3)
    expected = model.generate(prompt, max_length=3, num_beams=2)
    np.testing.assert_array_equal(seen[1].predictions, expected)
    predictions = trainer.predict(data, max_new_tokens=1, num_beams=1).predictions
    np.testing.assert_array_equal(predictions, model.generate(prompt, max_new_tokens=1))
    args.predict_with_generate = False
    with pytest.raises(ValueError, match="max_length: this is for generate"):
        trainer.evaluate(max_length=3)


def test_push_to_hub_goes_through_its_callback(tmp_path):
    trainer = make_trainer(tmp_path, push_to_hub=True, hub_model_id="ada/moods")
    (reporter,) = trainer._reporters()
    assert isinstance(reporter, tfhf.PushToHubCallback)
    assert reporter.hub_model_id == "ada/moods"
