"""Checkpoints of a training, and going on from them as if it had not been interrupted."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import logging
import os
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from safetensors.numpy import save_file

from tfhf.adapters import WEIGHTS_FILE, read_adapter
from tfhf.checkpoints.atomic import replace_folder
from tfhf.checkpoints.checkpoint import CorruptCheckpointError
from tfhf.checkpoints.locate import find_weights
from tfhf.checkpoints.pretrained import load_weights
from tfhf.checkpoints.reader import open_checkpoint
from tfhf.checkpoints.safetensors_file import open_safetensors
from tfhf.data.position import DataPosition
from tfhf.training.state import StepCounter, TrainerState
from tfhf.training.strategy import Workers, chief_value

logger = logging.getLogger(__name__)

STRATEGIES = ("no", "steps", "epoch", "best")
STATE_FILE = "trainer_state.json"
VARIABLES_FILE = "training_variables.safetensors"


class TrainingCheckpoint(StepCounter):
    """Save a training in ``fit`` from time to time, and resume it.

    A checkpoint is a folder ``checkpoint-<updates>`` that ``from_pretrained`` loads, with the
    optimizer's variables, the random states, the counts and the best metric beside the model. It
    appears at once, whole. When ``fit`` is called again, in a new process and with a model compiled
    alike, training goes on from the newest whole checkpoint: with the dataset's ``position``, with
    the same batches, dropout and losses as without the interruption.

    Args:
        directory: where checkpoints are.
        position: that of the training dataset: ``prepare_tf_dataset(position=…)``. Without it, a
            training resumes at the epoch's beginning only, and data are shuffled differently.
        save_strategy: "epoch": after each; "steps": after every ``save_steps`` updates and the
            last; "best": when ``metric_for_best_model`` is better than ever; "no".
        save_steps: updates between checkpoints.
        save_total_limit: how many checkpoints are kept: the newest ones, and always the best.
        save_only_model: leave out what resuming needs.
        metric_for_best_model: a name in the logs of an epoch, with or without ``val_``.
        greater_is_better: whether it should be high; default: unless it ends with "loss".
        load_best_model_at_end: give the model the best checkpoint's weights when ``fit`` is done.
        resume: the checkpoint to go on from; True for the newest in ``directory``, if there is one;
            False to begin anew.
        processing_class: a tokenizer, say, to be saved along.
        state: what to count in; default: a new one.

    Raises:
        ValueError: an unknown strategy, "steps" without ``position``, "best" without a metric; in
            ``fit``, ``resume`` is a folder without a checkpoint, or one of another model or
            optimizer.
        OSError: in ``fit``, the disk is full; older checkpoints stay as they are.
        CorruptCheckpointError: in ``fit``, the checkpoint that ``resume`` names is damaged.

    Example:
        >>> import datasets, tempfile, tfhf
        >>> from transformers import BertConfig
        >>> config = BertConfig(vocab_size=9, hidden_size=4, num_hidden_layers=1,
        ...                     num_attention_heads=1, intermediate_size=4)
        >>> model = tfhf.TFBertForSequenceClassification(config)
        >>> model.compile(tfhf.AdamWeightDecay(1e-3), run_eagerly=True)
        >>> rows = datasets.Dataset.from_dict({"input_ids": [[1], [2]] * 4, "labels": [0, 1] * 4})
        >>> position = tfhf.DataPosition(seed=0)
        >>> data = model.prepare_tf_dataset(rows, batch_size=4, position=position)
        >>> folder = tempfile.mkdtemp()
        >>> _ = model.fit(data, verbose=0, callbacks=[TrainingCheckpoint(folder, position)])
        >>> os.listdir(folder)
        ['checkpoint-2']
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        position: DataPosition | None = None,
        *,
        save_strategy: str = "epoch",
        save_steps: int = 500,
        save_total_limit: int | None = None,
        save_only_model: bool = False,
        metric_for_best_model: str | None = None,
        greater_is_better: bool | None = None,
        load_best_model_at_end: bool = False,
        resume: bool | str | os.PathLike[str] = True,
        processing_class: Any = None,
        state: TrainerState | None = None,
    ) -> None:
        super().__init__(TrainerState() if state is None else state)
        if save_strategy not in STRATEGIES:
            raise ValueError(f"save_strategy must be one of {STRATEGIES}, not {save_strategy!r}")
        if save_strategy == "steps" and position is None:
            raise ValueError("save_strategy 'steps' needs the dataset's position, to resume there")
        if save_strategy == "best" and metric_for_best_model is None:
            raise ValueError("save_strategy 'best' needs metric_for_best_model")
        self.directory = Path(directory)
        self.position = position
        self.save_strategy = save_strategy
        self.save_steps = save_steps
        self.save_total_limit = save_total_limit
        self.save_only_model = save_only_model
        self.metric_for_best_model = metric_for_best_model
        self.greater_is_better = is_greater_better(metric_for_best_model, greater_is_better)
        self.load_best_model_at_end = load_best_model_at_end
        self.resume = resume
        self.processing_class = processing_class
        self._is_best = self._is_due = False
        self._metrics: dict[str, np.ndarray] = {}
        self._quiet = contextlib.ExitStack()

    @property
    def batches_per_epoch(self) -> int | None:
        """How many batches an epoch has; None where nobody knows yet."""
        known = None if self.position is None else self.position.batches
        return known or super().batches_per_epoch

    # What Keras calls --------------------------------------------------------------------------

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Go on from a checkpoint, if there is one."""
        asked = self.resume
        path = get_last_checkpoint(self.directory) if asked is True else asked
        if path:
            self.restore(path)
        self._check_start()
        self.model._initial_epoch = self.state.epochs_done

    def _check_start(self) -> None:
        state, strategy = self.state, self.model.distribute_strategy
        if isinstance(strategy, Workers):
            chief = chief_value(strategy, state.batches)
            if state.batches != chief:
                raise ValueError(
                    f"this worker would go on after {state.batches} batches, but the chief after "
                    f"{chief}: {self.directory} must be one folder that all workers see"
                )
        per_epoch = self.batches_per_epoch or 1
        epoch = state.epochs_done + state.epoch_batches / per_epoch
        if state.epoch_batches and epoch != state.epoch:
            logger.warning(
                "an epoch has %d batches now, and had others when the checkpoint was saved: rows "
                "of this epoch will be repeated or left out",
                per_epoch,
            )

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Let the dataset give this epoch, behind the batches that are done."""
        super().on_epoch_begin(epoch)
        if self.position is not None:
            self.position.move(epoch, self.state.epoch_batches)
        # Keras has set its metrics to zero; those of a resumed epoch are known up to here.
        if self.state.epoch_batches:
            _assign(self._metrics, _metric_variables(self.model))
        self._metrics = {}

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """End a resumed epoch behind its last batch: Keras counts from its own first one."""
        _, done_before = self._before
        if done_before and done_before + batch >= (self.batches_per_epoch or 0):
            self._quiet.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", message="Your input ran out of data")
            raise StopIteration

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Save, if it is time."""
        super().on_train_batch_end(batch)
        is_last = self.passed(1) and self.state.global_step == self.state.max_steps
        if self.save_strategy == "steps" and (is_last or self.passed(self.save_steps)):
            # Several batches at a time must fill what is left of the epoch, to resume within it.
            if (self.batches_per_epoch or 0) % self.model.steps_per_execution == 0:
                self.save()
            else:
                self._is_due = True

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Save, if it is time."""
        super().on_epoch_end(epoch)
        self._quiet.close()
        name = (self.metric_for_best_model or "").removeprefix("val_")
        found = {**(logs or {})}
        found.pop("loss", None)  # that of the training, which chooses no checkpoint
        value = found.get(f"val_{name}", found.get(name))
        if value is not None:
            self.observe(value)
        if self.save_strategy == "epoch" or self._is_due:
            self.save()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Load the best weights, if asked to."""
        self.model._initial_epoch = 0
        best = self.state.best_model_checkpoint
        if self.load_best_model_at_end and best is not None:
            _load_model(self.model, Path(best))

    # What is saved ------------------------------------------------------------------------------

    def observe(self, value: float) -> None:
        """Note the metric that checkpoints are compared by; the next checkpoint may be the best."""
        if self.state.observe(float(value), self.greater_is_better):
            self._is_best = True
            if self.save_strategy == "best":
                self.save()

    def save(self) -> Path:
        """Write a checkpoint now, and remove old ones.

        Returns:
            Its folder. Of several workers, the chief alone writes.
        """
        path = self.directory / f"checkpoint-{self.state.global_step}"
        if self._is_best:
            self.state.best_model_checkpoint = str(path)
        self._is_best = self._is_due = False
        # What replicas have in parts is added up by all workers together.
        arrays = {} if self.save_only_model else _read(_training_variables(self.model))
        if self.model.distribute_strategy.extended.should_checkpoint:
            try:
                with replace_folder(path, drop=["*"]) as folder:
                    self._write(folder, arrays)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise OSError(
                    error.errno,
                    f"no space left for a checkpoint after {self.state.global_step} updates; "
                    "older ones are as they were. Make room, or keep fewer (save_total_limit), and "
                    "run again to resume",
                    str(path),
                ) from error
            self._remove_old(path)
        return path

    def _write(self, folder: Path, arrays: dict[str, np.ndarray]) -> None:
        self.model.save_pretrained(folder)
        if self.processing_class is not None:
            self.processing_class.save_pretrained(folder)
        if arrays:
            save_file(arrays, folder / VARIABLES_FILE)
        files = {path.name: _digest(path) for path in sorted(folder.iterdir())}
        state = dataclasses.asdict(self.state) | {"files": files}
        (folder / STATE_FILE).write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")

    def _remove_old(self, newest: Path) -> None:
        if self.save_total_limit is None:
            return
        kept = {str(newest), self.state.best_model_checkpoint}
        others = [path for path in _checkpoints(self.directory) if str(path) not in kept]
        room = max(0, self.save_total_limit - len(kept - {None}))
        for path in others[room:]:
            shutil.rmtree(path)

    def restore(self, path: str | os.PathLike[str]) -> None:
        """Give model, optimizer, random states and counts the values of a checkpoint."""
        path, model = Path(path), self.model
        saved = _read_state(path)
        _load_model(model, path)
        with model.distribute_strategy.scope():
            if not model.optimizer.built:
                model.optimizer.build(model.trainable_variables)
        variables = _training_variables(model)
        arrays = _read_variables(path)
        self._metrics = {name: arrays.pop(name) for name in [*arrays] if "metric" in name}
        variables = {name: variables[name] for name in variables if "metric" not in name}
        shapes = {name: tuple(array.shape) for name, array in arrays.items()}
        if shapes != {name: tuple(variable.shape) for name, variable in variables.items()}:
            raise ValueError(
                f"{path} is a checkpoint of another training: its optimizer has other variables "
                f"than this {type(model.optimizer).__name__}. Train with the same arguments, into "
                "another directory, or with resume=False"
            )
        _assign(arrays, variables)
        self.state.update(saved)
        logger.info("training goes on from %s", path)


def is_greater_better(metric: str | None, greater_is_better: bool | None) -> bool:
    """Tell whether a metric should be high: as said, or else unless its name ends with "loss"."""
    return not (metric or "").endswith("loss") if greater_is_better is None else greater_is_better


def get_last_checkpoint(folder: str | os.PathLike[str]) -> str | None:
    """Return the newest checkpoint in a folder that is whole, or None.

    Damaged ones, of a disk that failed, are passed over with a warning.

    Args:
        folder: the ``output_dir`` of a training; it need not exist.

    Example:
        >>> get_last_checkpoint("a-folder-that-is-not-there") is None
        True
    """
    for path in _checkpoints(Path(folder)):
        try:
            _read_state(path)
        except (CorruptCheckpointError, ValueError, OSError) as error:
            logger.warning("the checkpoint %s is passed over: %s", path, error)
        else:
            return str(path)
    return None


def _checkpoints(directory: Path) -> list[Path]:
    """Return the checkpoints in a directory, the newest first."""
    paths = directory.glob("checkpoint-*") if directory.is_dir() else ()
    steps = {path: re.fullmatch(r"checkpoint-(\d+)", path.name) for path in paths}
    found = [(int(match[1]), path) for path, match in steps.items() if match and path.is_dir()]
    return [path for _, path in sorted(found, reverse=True)]


def _read_state(path: Path) -> dict[str, Any]:
    """Return what a checkpoint's state file holds, having checked all the others.

    Raises:
        ValueError: there is no checkpoint of a training.
        CorruptCheckpointError: a file is not as it was written.
    """
    file = path / STATE_FILE
    if not file.is_file():
        raise ValueError(f"{path} is no checkpoint of a training: it has no {STATE_FILE}")
    try:
        state = json.loads(file.read_text(encoding="utf-8"))
        files = state.pop("files")
    except (ValueError, KeyError) as error:
        raise CorruptCheckpointError(f"{file} is damaged: {error}") from error
    for name, digest in files.items():
        if not (path / name).is_file() or _digest(path / name) != digest:
            raise CorruptCheckpointError(f"{path / name} is missing or damaged")
    return state


def _read_variables(folder: Path) -> dict[str, np.ndarray]:
    if not (folder / VARIABLES_FILE).exists():
        raise ValueError(f"{folder} cannot be resumed from: it was saved with save_only_model")
    with open_safetensors(str(folder / VARIABLES_FILE)) as file:
        return {name: np.array(file[name]) for name in file}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _load_model(model: Any, folder: Path) -> None:
    if model.adapter is not None:  # the folder has the adapter alone
        read_adapter(model, folder / WEIGHTS_FILE)
        return
    with open_checkpoint(find_weights(str(folder))) as checkpoint:
        info = load_weights(model, checkpoint)
    if info.missing_keys:
        raise ValueError(f"{folder} has no weights {info.missing_keys}: it is of another model")


# Variables beside the weights ---------------------------------------------------------------------


def _training_variables(model: Any) -> dict[str, keras.Variable]:
    """Return the variables of the optimizer, of random numbers and of metrics, by name."""
    others = {id(variable) for variable in (*model.weights, *model.metrics_variables)}
    seeds = [variable for variable in model.variables if id(variable) not in others]
    named = {f"optimizer.{i}": variable for i, variable in enumerate(model.optimizer.variables)}
    named |= {f"seed.{i}": variable for i, variable in enumerate(seeds)}
    return named | _metric_variables(model)


def _metric_variables(model: Any) -> dict[str, keras.Variable]:
    return {f"metric.{i}": variable for i, variable in enumerate(model.metrics_variables)}


def _read(variables: dict[str, keras.Variable]) -> dict[str, np.ndarray]:
    arrays = {name: keras.ops.convert_to_numpy(variable) for name, variable in variables.items()}
    # NumPy files know no bfloat16; float32 holds each of its values.
    bfloat16 = tf.bfloat16.as_numpy_dtype
    return {
        name: array.astype(np.float32) if array.dtype == bfloat16 else array
        for name, array in arrays.items()
    }


def _assign(arrays: dict[str, np.ndarray], variables: dict[str, keras.Variable]) -> None:
    for name, array in arrays.items():
        if name in variables and tuple(variables[name].shape) == array.shape:
            variables[name].assign(tf.cast(array, variables[name].dtype))
