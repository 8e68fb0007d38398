"""Trainer: a training told by its arguments, as a thin layer over ``compile`` and ``fit``."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfhf.checkpoints.atomic import write_file
from tfhf.data.position import DataPosition
from tfhf.hub import push_folder
from tfhf.training.arguments import TrainingArguments
from tfhf.training.checkpoints import TrainingCheckpoint, get_last_checkpoint
from tfhf.training.chosen_optimizer import make_optimizer
from tfhf.training.evaluation import EvalPrediction
from tfhf.training.evaluator import Dataset, Evaluator
from tfhf.training.failures import StopOnBadLoss, require_labels
from tfhf.training.precision import compute_in
from tfhf.training.progress import ProgressLine
from tfhf.training.schedules import PerUpdate, get_scheduler
from tfhf.training.sharing import push_callback, write_card
from tfhf.training.state import TrainerState
from tfhf.training.strategy import make_strategy
from tfhf.training.training_loop import TrainingLoop

logger = logging.getLogger(__name__)

#: Methods of Transformers' Trainer that Keras's ``fit`` has no use for, and what does their work.
ELSEWHERE = {
    "compute_loss": "override compute_loss of the model instead",
    "training_step": "override train_step of the model instead",
    "prediction_step": "override _evaluate, or predict with the model",
    "create_optimizer": "override create_optimizer_and_scheduler, or give optimizers=",
    "create_scheduler": "override create_optimizer_and_scheduler, or give optimizers=",
}


class TrainOutput(NamedTuple):
    """What ``Trainer.train`` returns."""

    global_step: int
    training_loss: float
    metrics: dict[str, float]


class Trainer(Evaluator):
    """Train, evaluate and ask a model, as Transformers' ``Trainer`` does.

    All of its parts stand alone, for ``model.fit``: ``prepare_tf_dataset``, ``get_scheduler``,
    ``AdamWeightDecay``, :class:`~tfhf.TrainingCheckpoint`, the callbacks.

    Gradients of ``gradient_accumulation_steps`` batches are averaged; those of an epoch's last
    batches wait for the first ones of the next.

    Args:
        model: a model of tfhf. For several devices: made within ``strategy.scope()``.
        args: how to train; default: ``TrainingArguments()``.
        data_collator: makes a batch of a list of rows; default: one that pads, with the tokenizer.
        train_dataset: tokenized rows, a ``datasets.Dataset``; or batches, a ``tf.data.Dataset``
            whose order is the same each epoch.
        eval_dataset: the same for evaluation; or a dictionary of several, by name.
        processing_class: the tokenizer; saved with the model.
        model_init: makes the model, instead of ``model``: within the strategy's scope, and with the
            seed set.
        compute_metrics: called with an :class:`~tfhf.EvalPrediction`; returns names and numbers.
        callbacks: Keras callbacks. After each evaluation, ``on_test_end`` gets its results.
        optimizers: a Keras optimizer and its schedule, instead of what ``args`` say; without the
            optimizer, the schedule is that of the one which they say.
        preprocess_logits_for_metrics: called with the predictions and labels of a batch; what it
            returns is kept for ``compute_metrics``: a way to save memory.
        tokenizer: another name of ``processing_class``.

    Attributes:
        state: how far training is, with ``log_history``.

    Raises:
        TypeError: there is no model, or it is none of tfhf.
        ValueError: arguments that do not fit the model or the data.

    Example:
        >>> import datasets, tempfile, tfhf
        >>> from transformers import BertConfig
        >>> config = BertConfig(vocab_size=9, hidden_size=4, num_hidden_layers=1,
        ...                     num_attention_heads=1, intermediate_size=4)
        >>> rows = datasets.Dataset.from_dict({"input_ids": [[1], [2]] * 4, "labels": [0, 1] * 4})
        >>> args = TrainingArguments(tempfile.mkdtemp(), max_steps=2, report_to="none",
        ...                          disable_tqdm=True)
        >>> trainer = Trainer(tfhf.TFBertForSequenceClassification(config), args,
        ...                   train_dataset=rows, eval_dataset=rows)
        >>> _ = trainer.train()  # doctest: +SKIP
        >>> sorted(trainer.evaluate())[:2]
        ['epoch', 'eval_loss']
    """

    def __init__(
        self,
        model: Any = None,
        args: TrainingArguments | None = None,
        data_collator: Callable | None = None,
        train_dataset: Dataset | None = None,
        eval_dataset: Dataset | Mapping[str, Dataset] | None = None,
        processing_class: Any = None,
        model_init: Callable[[], Any] | None = None,
        compute_metrics: Callable[[EvalPrediction], Mapping[str, float]] | None = None,
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
        preprocess_logits_for_metrics: Callable[[Any, Any], Any] | None = None,
        tokenizer: Any = None,
    ) -> None:
        args = TrainingArguments() if args is None else args
        super().__init__(
            _make_model(model, model_init, args),
            args,
            data_collator,
            eval_dataset,
            tokenizer if processing_class is None else processing_class,
            compute_metrics,
            preprocess_logits_for_metrics,
        )
        self.train_dataset = train_dataset
        self.callbacks = list(callbacks or ())
        for callback in self.callbacks:
            if not isinstance(callback, keras.callbacks.Callback):
                raise TypeError(f"callbacks must be Keras callbacks, but one is {callback!r}")
        self.optimizer, self.lr_scheduler = optimizers
        self._made: tuple[Any, Any] = (None, None)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse methods that nobody would call.

        Raises:
            TypeError: a subclass has one of ``ELSEWHERE``.
        """
        super().__init_subclass__(**kwargs)
        for name in ELSEWHERE.keys() & vars(cls).keys():
            raise TypeError(f"{cls.__name__}.{name} would never be called: {ELSEWHERE[name]}")

    # Data -----------------------------------------------------------------------------------------

    def get_train_dataloader(self, position: DataPosition | None = None) -> tf.data.Dataset:
        """Return the training batches.

        Raises:
            ValueError: there is no training dataset, it is empty, or its length is unknown.
        """
        args, data = self.args, self.train_dataset
        position = position or self._position()
        if data is None:
            raise ValueError("train_dataset must be given to train")
        if not isinstance(data, tf.data.Dataset):
            return self._batches(
                data,
                self._batch_size(args.per_device_train_batch_size),
                shuffle=True,
                drop_remainder=args.dataloader_drop_last,
                group_by_length=args.group_by_length,
                position=position,
            )
        size = int(data.cardinality())
        if size == tf.data.INFINITE_CARDINALITY and args.max_steps > 0:
            size = args.max_steps * args.gradient_accumulation_steps
            data = data.take(size)
        if size <= 0:
            raise ValueError(
                "train_dataset is empty"
                if size == 0
                else "train_dataset must know how many batches it has: apply "
                "tf.data.experimental.assert_cardinality, or set max_steps where it has no end"
            )
        position.batches = size
        return position.skip(data).apply(tf.data.experimental.assert_cardinality(size))

    def _position(self) -> DataPosition:
        seed = self.args.data_seed
        return DataPosition(self.args.seed if seed is None else seed)

    # Training -------------------------------------------------------------------------------------

    def create_optimizer_and_scheduler(self, num_training_steps: int) -> None:
        """Make the optimizer and its schedule, anew for each training, unless they were given."""
        args = self.args
        made_optimizer, made_scheduler = self._made
        if self.optimizer is not made_optimizer:
            return
        if self.lr_scheduler is made_scheduler:
            self.lr_scheduler = made_scheduler = get_scheduler(
                args.lr_scheduler_type,
                args.learning_rate,
                args.get_warmup_steps(num_training_steps),
                num_training_steps,
                args.lr_scheduler_kwargs,
            )
        schedule = self.lr_scheduler
        if args.gradient_accumulation_steps > 1:
            schedule = PerUpdate(schedule, args.gradient_accumulation_steps)
        with self.model.distribute_strategy.scope():
            self.optimizer = make_optimizer(args, schedule, self.model)
        self._made = self.optimizer, made_scheduler

    def train(self, resume_from_checkpoint: str | bool | None = None) -> TrainOutput:
        """Train as the arguments say; checkpoints, logs and evaluations come by the way.

        Args:
            resume_from_checkpoint: a checkpoint to go on from, True for the newest in
                ``output_dir``; default: what ``args.resume_from_checkpoint`` says.

        Raises:
            ValueError: no training data, too few for one update, no such checkpoint, or an
                evaluation dataset without labels.
            FloatingPointError: the loss is no number any more, or grows out of all bounds.
        """
        args = self.args
        state = self.state = TrainerState()
        resume = self._checkpoint_to_resume(resume_from_checkpoint)
        position = self._position()
        data = self.get_train_dataloader(position)
        require_labels(self.model, data, "train_dataset")
        if args.eval_strategy != "no":
            self._check_eval_dataset()
        assert position.batches is not None
        self._plan(position.batches)
        self.create_optimizer_and_scheduler(state.max_steps)
        with self.model.distribute_strategy.scope():  # for the sums behind the loss
            self.model.compile(
                self.optimizer,
                loss=self._loss or "auto",
                jit_compile=args.jit_compile,
                steps_per_execution=args.steps_per_execution,
            )
        checkpoint = TrainingCheckpoint(
            args.output_dir,
            position,
            save_strategy=args.save_strategy,
            save_steps=args.save_steps,
            save_total_limit=args.save_total_limit,
            save_only_model=args.save_only_model,
            metric_for_best_model=args.metric_for_best_model,
            greater_is_better=args.greater_is_better,
            load_best_model_at_end=args.load_best_model_at_end,
            resume=resume,
            processing_class=self.processing_class,
            state=state,
        )
        loop = TrainingLoop(self, checkpoint)
        started = time.perf_counter()
        self.model.fit(
            data,
            epochs=state.num_train_epochs,
            verbose=0,
            callbacks=[StopOnBadLoss(), loop, *self.callbacks, checkpoint, *self._reporters()],
        )
        seconds = time.perf_counter() - started
        updates = loop.batches / args.gradient_accumulation_steps
        metrics = {
            "train_runtime": round(seconds, 4),
            "train_samples_per_second": round(loop.rows / seconds, 3),
            "train_steps_per_second": round(updates / seconds, 3),
            "train_loss": loop.mean_loss,
        }
        self.log(metrics)
        return TrainOutput(state.global_step, loop.mean_loss, metrics | {"epoch": state.epoch})

    def _checkpoint_to_resume(self, asked: str | bool | None) -> str | bool:
        args = self.args
        if asked is None:
            asked = args.resume_from_checkpoint
        if int(os.environ.get("TFHF_RESTARTS", 0)):
            asked = "last"  # `tfhf launch` has started all workers again
        newest = get_last_checkpoint(args.output_dir)
        if asked is True and newest is None:
            raise ValueError(f"resume_from_checkpoint: {args.output_dir} has no whole checkpoint")
        if asked is True or asked == "last":
            return newest or False
        if not asked and newest is not None and args.save_strategy != "no":
            if args.overwrite_output_dir:
                for folder in Path(args.output_dir).glob("checkpoint-*") if self.is_chief else ():
                    shutil.rmtree(folder)
            else:
                logger.warning(
                    "%s has checkpoints of an earlier training, which will be mixed with the new "
                    "ones: choose another output_dir, overwrite_output_dir=True, or "
                    "resume_from_checkpoint=True",
                    args.output_dir,
                )
        return asked or False

    def _plan(self, batches_per_epoch: int) -> None:
        """Note how many updates and epochs training shall have."""
        args, state = self.args, self.state
        accumulated = args.gradient_accumulation_steps
        batches = math.ceil(batches_per_epoch * args.num_train_epochs)
        if args.max_steps > 0:
            batches = args.max_steps * accumulated
        state.max_steps = batches // accumulated
        state.num_train_epochs = math.ceil(batches / batches_per_epoch)
        if state.max_steps == 0:
            raise ValueError(
                f"train_dataset has {batches_per_epoch} batches, too few for one update of "
                f"gradient_accumulation_steps = {accumulated}"
            )
        at_once = args.steps_per_execution
        last = (state.max_steps * accumulated - 1) % batches_per_epoch + 1  # of the last epoch
        seen = min(math.ceil(last / at_once) * at_once, batches_per_epoch)
        if seen - last >= accumulated:
            raise ValueError(
                f"steps_per_execution = {at_once} would go beyond the last of {state.max_steps} "
                f"updates, the batch {last} of {batches_per_epoch} of an epoch"
            )

    def _reporters(self) -> list[keras.callbacks.Callback]:
        args = self.args
        reporters: list[keras.callbacks.Callback] = []
        if self.is_chief and not args.disable_tqdm:
            reporters.append(ProgressLine(self.state))
        if self.is_chief and args.push_to_hub:
            reporters.append(push_callback(args, self.processing_class))
        return reporters

    # What is kept ---------------------------------------------------------------------------------

    def save_model(self, output_dir: str | None = None) -> None:
        """Write model, tokenizer and arguments to a folder; default: ``args.output_dir``."""
        if not self.is_chief:
            return
        folder = Path(output_dir or self.args.output_dir)
        self.model.save_pretrained(folder)
        if self.processing_class is not None:
            self.processing_class.save_pretrained(folder)
        self.args.to_file(folder / "training_args.json")

    def save_state(self) -> None:
        """Write ``trainer_state.json``, with the history of logs, to ``args.output_dir``."""
        if not self.is_chief:
            return
        text = json.dumps(dataclasses.asdict(self.state), indent=2)
        Path(self.args.output_dir).mkdir(parents=True, exist_ok=True)
        write_file(Path(self.args.output_dir, "trainer_state.json"), text + "\n")

    def create_model_card(self, **model_card_args: Any) -> None:
        """Write the model's card, ``README.md``, to ``args.output_dir``.

        Args:
            **model_card_args: those of :func:`tfhf.create_model_card`, beside what training knows.
        """
        if self.is_chief:
            write_card(self, **model_card_args)

    def push_to_hub(
        self, commit_message: str = "End of training", **model_card_args: Any
    ) -> str | None:
        """Save and upload the model to the main branch, with a card.

        Args:
            commit_message: what the commit says.
            **model_card_args: those of :meth:`create_model_card`.

        Returns:
            The address of the commit; None in workers that are not the chief.
        """
        if not self.is_chief:
            return None
        args = self.args
        self.save_model()
        self.create_model_card(**model_card_args)
        return push_folder(
            args.output_dir,
            repo_id=args.hub_model_id,
            commit_message=commit_message,
            private=args.hub_private_repo,
            token=args.hub_token,
        )


def _make_model(model: Any, model_init: Callable[[], Any] | None, args: TrainingArguments) -> Any:
    if (model is None) == (model_init is None):
        raise TypeError("Trainer needs either model or model_init")
    keras.utils.set_random_seed(args.seed)
    if model_init is not None:
        with make_strategy(args.strategy).scope():
            model = model_init()
    elif args.strategy not in ("auto", "one_device") and model._distribute_strategy is None:
        raise ValueError(
            f"strategy is {args.strategy!r}, but model was made for one device: give Trainer "
            "model_init, a function that makes it, instead of model"
        )
    if not hasattr(model, "label_outputs"):
        raise TypeError(f"model must be one of tfhf, but it is a {type(model).__name__}")
    if args.bf16 or args.fp16:
        compute_in(model, "mixed_bfloat16" if args.bf16 else "mixed_float16")
    return model
