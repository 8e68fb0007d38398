"""What a Trainer tells the Hub: its uploads while it trains, and the card of its model."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhf.hub import PushToHubCallback, create_model_card, save_model_card
from tfhf.hub.model_card import by_name
from tfhf.training.arguments import TrainingArguments

if TYPE_CHECKING:
    from tfhf.training.trainer import Trainer

#: What every card says of a training, be it as its default is.
ALWAYS = (
    "learning_rate",
    "per_device_train_batch_size",
    "per_device_eval_batch_size",
    "num_train_epochs",
    "max_steps",
    "seed",
    "optim",
    "lr_scheduler_type",
)
#: Where results go, which makes no model another one, and names folders of whoever trains.
NEVER = (
    "output_dir",
    "overwrite_output_dir",
    "run_name",
    "resume_from_checkpoint",
    "logging_dir",
    "report_to",
    "disable_tqdm",
    "push_to_hub",
    "hub_model_id",
    "hub_token",
    "hub_private_repo",
)


def hyperparameters(args: TrainingArguments) -> dict[str, Any]:
    """Return what a card says of a training: what differs from the defaults, and `ALWAYS`.

    Example:
        >>> args = TrainingArguments("runs/moods", max_steps=9, warmup_steps=0, weight_decay=0.1)
        >>> told = hyperparameters(args)
        >>> told["max_steps"], told["weight_decay"], told["seed"], "num_train_epochs" in told
        (9, 0.1, 42, False)
    """
    defaults = type(args)().to_dict()
    told = {
        name: value
        for name, value in args.to_dict().items()
        if name in ALWAYS or (name not in NEVER and value != defaults[name])
    }
    del told["num_train_epochs" if args.max_steps > 0 else "max_steps"]
    return told


def epoch_history(trainer: Trainer) -> dict[str, list[float | None]]:
    """Return the loss and the last evaluation of each epoch, as Keras names them."""
    epochs: dict[int, dict[str, float]] = defaultdict(dict)
    fitted = getattr(trainer.model, "history", None)  # Keras's, of the last fit
    if fitted is not None and fitted.history:
        for epoch, loss in zip(fitted.epoch, fitted.history["loss"]):
            epochs[epoch]["loss"] = loss
    for logs in trainer.state.log_history:
        if logs["epoch"] > 0:
            epochs[math.ceil(logs["epoch"]) - 1] |= {
                f"val_{name.removeprefix('eval_')}": value
                for name, value in logs.items()
                if name.startswith("eval_")
            }
    return by_name([epochs[epoch] for epoch in range(max(epochs, default=-1) + 1)])


def write_card(trainer: Trainer, **model_card_args: Any) -> None:
    """Write the card of a Trainer's model to its ``output_dir``."""
    args = trainer.args
    card_args = {
        "model_name": args.hub_model_id or Path(args.output_dir).resolve().name,
        "history": epoch_history(trainer),
        "hyperparameters": hyperparameters(args),
    } | model_card_args
    card = create_model_card(trainer.model, **card_args)
    save_model_card(card, args.output_dir, card_args["history"])


def push_callback(args: TrainingArguments, processing_class: Any) -> PushToHubCallback:
    """Return what uploads while training, as the arguments say."""
    return PushToHubCallback(
        args.output_dir,
        args.save_strategy if args.save_strategy != "best" else "no",
        save_steps=args.save_steps * args.gradient_accumulation_steps,
        tokenizer=processing_class,
        hub_model_id=args.hub_model_id,
        hub_token=args.hub_token,
        hub_private_repo=args.hub_private_repo,
        hyperparameters=hyperparameters(args),
    )
