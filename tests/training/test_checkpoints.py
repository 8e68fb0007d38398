"""Checkpoints: training that was interrupted goes on as if it had not been."""

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from training_data import losses, make_model, make_rows, make_trainer, pad

import tfhf
from tfhf.training import checkpoints

STEPWISE = {"save_strategy": "steps", "save_steps": 4}


class Interrupt(keras.callbacks.Callback):
    """Stop the process's training as a signal would, after some batches."""

    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def on_train_batch_end(self, batch, logs=None):
        self.batches -= 1
        if self.batches == 0:
            raise KeyboardInterrupt


def names(folder):
    return sorted(path.name for path in Path(folder).glob("checkpoint-*"))


def assert_same_weights(one, other):
    for ours, theirs in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training of 3 epochs of 6 batches, with dropout, that nobody interrupts."""
    keras.utils.set_random_seed(5)
    trainer = make_trainer(tmp_path_factory.mktemp("whole"), **STEPWISE)
    trainer.train()
    return trainer


def copy_checkpoints(whole, folder, *steps):
    """Leave what a training would that was killed after the last of these updates."""
    for step in steps:
        name = f"checkpoint-{step}"
        shutil.copytree(Path(whole.args.output_dir, name), folder / name)


def compiled(optimizer=None):
    model = make_model()
    model.compile(optimizer or tfhf.AdamWeightDecay(1e-3), run_eagerly=True)
    model.optimizer.build(model.trainable_variables)
    return model


def checkpoint_of(model, folder, **kwargs):
    checkpoint = tfhf.TrainingCheckpoint(folder, **kwargs)
    checkpoint.set_model(model)
    return checkpoint


@pytest.mark.parametrize(
    "step", [8, *(pytest.param(step, marks=pytest.mark.slow) for step in (4, 12, 16))]
)
def test_a_resumed_training_is_that_without_interruption(whole, tmp_path, step):
    # Another model: nothing of its weights and random states may matter.
    copy_checkpoints(whole, tmp_path, step)
    resumed = make_trainer(tmp_path, **STEPWISE)
    resumed.train(resume_from_checkpoint=True)
    assert losses(resumed) == losses(whole)
    assert_same_weights(resumed.model, whole.model)
    assert (resumed.state.epoch, resumed.state.global_step) == (3, 18)


def test_resuming_a_finished_training_trains_no_more(whole, tmp_path):
    copy_checkpoints(whole, tmp_path, 18)
    again = make_trainer(tmp_path, **STEPWISE)
    assert again.train(resume_from_checkpoint=True).global_step == 18
    assert_same_weights(again.model, whole.model)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "batches"),
    [
        ({"gradient_accumulation_steps": 2, "save_steps": 3}, 9),
        ({"steps_per_execution": 3, "save_steps": 3}, 3),
        ({"steps_per_execution": 4, "save_steps": 3}, 3),
        ({"group_by_length": True, "use_ema": True, "optim": "lion"}, 5),
        ({"jit_compile": True}, 13),
    ],
)
def test_kinds_of_training_that_are_resumed(tmp_path, args, batches):
    args = STEPWISE | args
    trainers = []
    for output, callbacks in ((tmp_path / "whole", []), (tmp_path, [Interrupt(batches)])):
        keras.utils.set_random_seed(5)
        trainers.append(make_trainer(output, callbacks=callbacks, **args))
        with contextlib.suppress(KeyboardInterrupt):
            trainers[-1].train()
    resumed = make_trainer(tmp_path, **args)
    resumed.train(resume_from_checkpoint=True)
    assert trainers[1].state.global_step < resumed.state.global_step
    assert losses(resumed) == losses(trainers[0])
    assert_same_weights(resumed.model, trainers[0].model)


def test_a_plain_fit_is_resumed_by_the_callback_alone(tmp_path):
    def fit(folder):
        model = compiled()
        position = tfhf.DataPosition(seed=3)
        data = model.prepare_tf_dataset(make_rows(), 4, collate_fn=pad, position=position)
        saving = tfhf.TrainingCheckpoint(folder, position, save_strategy="steps", save_steps=4)
        return model.fit(data, epochs=3, verbose=0, callbacks=[saving]), model

    history, model = fit(tmp_path / "whole")
    shutil.copytree(tmp_path / "whole/checkpoint-8", tmp_path / "broken/checkpoint-8")
    rest, resumed = fit(tmp_path / "broken")
    assert rest.epoch == [1, 2]
    assert rest.history["loss"] == history.history["loss"][1:]
    assert_same_weights(resumed, model)


def test_a_checkpoint_is_a_model(whole):
    folder = Path(whole.args.output_dir, "checkpoint-18")
    model = tfhf.TFBertForSequenceClassification.from_pretrained(folder)
    assert_same_weights(model, whole.model)


def damage(folder, how):
    file = folder / "training_variables.safetensors"
    content = bytearray(file.read_bytes())
    if how == "cut":
        file.write_bytes(content[:-10])
    elif how == "bit":
        content[-1] ^= 1
        file.write_bytes(content)
    elif how == "gone":
        (folder / "model.safetensors").unlink()
    else:
        (folder / "trainer_state.json").write_text('{"epoch": 1')


@pytest.mark.parametrize("how", ["cut", "bit", "gone", "state"])
def test_a_damaged_newest_checkpoint_is_passed_over(whole, tmp_path, caplog, how):
    copy_checkpoints(whole, tmp_path, 8, 12)  # 12 is the newest by number, not by name
    assert tfhf.get_last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-12")
    damage(tmp_path / "checkpoint-12", how)
    assert tfhf.get_last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-8")
    assert "checkpoint-12 is passed over" in caplog.text
    with pytest.raises(tfhf.CorruptCheckpointError, match="checkpoint-12"):
        checkpoint_of(compiled(), tmp_path).restore(tmp_path / "checkpoint-12")


def test_a_full_disk_is_told_and_harms_no_checkpoint(whole, tmp_path, monkeypatch):
    copy_checkpoints(whole, tmp_path, 4)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    checkpoint = checkpoint_of(compiled(), tmp_path, save_total_limit=1)
    checkpoint.state.global_step = 8

    def no_space(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="no space left for a checkpoint after 8 updates"):
        checkpoint.save()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert os.listdir(tmp_path) == ["checkpoint-4"]


def test_old_checkpoints_are_removed_but_not_the_best(tmp_path):
    model = compiled()
    checkpoint = checkpoint_of(
        model,
        tmp_path,
        save_total_limit=2,
        metric_for_best_model="score",
        load_best_model_at_end=True,
    )
    checkpoint.set_params({"steps": 2})
    kernel = model.trainable_variables[0]
    for epoch, score in enumerate([0.1, 0.9, 0.3, 0.2, 0.4]):
        checkpoint.on_epoch_begin(epoch)
        kernel.assign_add(tf.ones(kernel.shape))
        checkpoint.on_train_batch_end(0)
        checkpoint.on_train_batch_end(1)
        if epoch == 1:
            best = kernel.numpy()
        checkpoint.on_epoch_end(epoch, {"loss": 5.0, "val_score": score})
    assert names(tmp_path) == ["checkpoint-10", "checkpoint-4"]
    assert checkpoint.state.best_metric == 0.9
    checkpoint.on_train_end()
    np.testing.assert_array_equal(kernel.numpy(), best)


def test_only_better_models_are_saved(tmp_path):
    checkpoint = checkpoint_of(
        compiled(), tmp_path, save_strategy="best", metric_for_best_model="val_loss"
    )
    checkpoint.set_params({"steps": 1})
    for epoch, loss in enumerate([0.5, 0.6, 0.4, 0.4]):
        checkpoint.on_epoch_begin(epoch)
        checkpoint.on_train_batch_end(0)
        checkpoint.on_epoch_end(epoch, {"loss": 0.1, "val_loss": loss})
    assert names(tmp_path) == ["checkpoint-1", "checkpoint-3"]


@pytest.mark.slow
def test_the_adapter_alone_is_kept_and_restored(tmp_path):
    def adapted():
        model = make_model()
        model.add_adapter(tfhf.LoraConfig(r=2))
        model.compile(tfhf.AdamWeightDecay(1e-3))
        model.optimizer.build(model.trainable_variables)
        return model

    model, other = adapted(), adapted()
    for variable in model.trainable_variables:
        variable.assign(tf.random.normal(variable.shape))
    path = checkpoint_of(model, tmp_path).save()
    assert "adapter_model.safetensors" in os.listdir(path)
    assert "model.safetensors" not in os.listdir(path)
    checkpoint_of(other, tmp_path).restore(path)
    for ours, theirs in zip(other.trainable_variables, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    best = adapted()
    path = checkpoint_of(model, tmp_path / "best", save_only_model=True).save()
    callback = checkpoint_of(best, tmp_path / "best", load_best_model_at_end=True)
    callback.state.best_model_checkpoint = str(path)
    callback.on_train_end()
    np.testing.assert_array_equal(best.trainable_variables[0], model.trainable_variables[0])


def test_workers_must_go_on_from_the_same_checkpoint(tmp_path, monkeypatch):
    """A stand-in for a worker that does not see the chief's folder."""
    model = compiled()
    monkeypatch.setattr(checkpoints, "Workers", type(model.distribute_strategy))
    monkeypatch.setattr(checkpoints, "chief_value", lambda strategy, batches: 8)
    with pytest.raises(ValueError, match="after 0 batches, but the chief after 8: .* one folder"):
        checkpoint_of(model, tmp_path).on_train_begin()


def test_other_batches_than_before_are_told(whole, tmp_path, caplog):
    copy_checkpoints(whole, tmp_path, 8)
    weights = whole.model.get_weights()
    callback = checkpoint_of(whole.model, tmp_path, position=tfhf.DataPosition(0))
    callback.position.batches = 6  # as before
    callback.on_train_begin()
    assert not caplog.records
    callback.position.batches = 3
    callback.on_train_begin()
    assert "an epoch has 3 batches now" in caplog.text
    whole.model.set_weights(weights)


def test_what_cannot_be_resumed_is_told(whole, tmp_path):
    copy_checkpoints(whole, tmp_path, 8)
    with pytest.raises(ValueError, match="optimizer has other variables than this SGD"):
        checkpoint_of(compiled(keras.optimizers.SGD()), tmp_path).restore(tmp_path / "checkpoint-8")
    with pytest.raises(ValueError, match="has no whole checkpoint"):
        make_trainer(tmp_path / "new").train(resume_from_checkpoint=True)
    with pytest.raises(ValueError, match=r"no trainer_state\.json"):
        checkpoint_of(compiled(), tmp_path).restore(tmp_path)
    only_model = checkpoint_of(compiled(), tmp_path, save_only_model=True).save()
    with pytest.raises(ValueError, match="save_only_model"):
        checkpoint_of(compiled(), tmp_path).restore(only_model)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"save_strategy": "steps"}, "position"),
        ({"save_strategy": "sometimes"}, "sometimes"),
        ({"save_strategy": "best"}, "metric_for_best_model"),
    ],
)
def test_arguments_that_do_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        tfhf.TrainingCheckpoint("x", **arguments)


@pytest.mark.parametrize("overwrite", [True, False])
def test_old_checkpoints_are_told_or_overwritten(whole, tmp_path, caplog, overwrite):
    copy_checkpoints(whole, tmp_path, 4)
    trainer = make_trainer(tmp_path, overwrite_output_dir=overwrite, **STEPWISE)
    assert trainer._checkpoint_to_resume(None) is False
    assert names(tmp_path) == ([] if overwrite else ["checkpoint-4"])
    assert ("has checkpoints of an earlier training" in caplog.text) is not overwrite


SCRIPT = """
import sys
import keras
keras.utils.set_random_seed(5)
from training_data import losses, make_model, make_trainer
trainer = make_trainer(
    sys.argv[1], make_model(), num_train_epochs=4, save_strategy="steps", save_steps=3,
    resume_from_checkpoint="last", save_total_limit=2)
class Say(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        print(trainer.state.global_step, flush=True)
trainer.callbacks.append(Say())
trainer.train()
trainer.save_model()
trainer.save_state()
"""


@pytest.mark.slow
def test_kill_9_at_any_step_changes_nothing(tmp_path):
    """A process that is killed again and again ends as one that never was."""
    folder = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": f"{folder}:{folder.parents[1]}"}

    def run(output, kill_at=None):
        command = [sys.executable, "-c", SCRIPT, str(output)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as run:
            for line in run.stdout:
                if line.strip() == str(kill_at):
                    run.send_signal(signal.SIGKILL)
        return run.returncode

    assert run(tmp_path / "whole") == 0
    for kill_at in np.random.default_rng().permutation(np.arange(2, 23))[:3]:
        run(tmp_path / "killed", kill_at)
    assert run(tmp_path / "killed") == 0
    histories = [
        {
            logs["step"]: logs["loss"]
            for logs in json.loads(path.read_text())["log_history"]
            if "loss" in logs
        }
        for path in (tmp_path / "whole/trainer_state.json", tmp_path / "killed/trainer_state.json")
    ]
    assert histories[0] == histories[1]
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "killed")]
    assert weights[0] == weights[1]
