"""The optimizer that TrainingArguments choose."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfhf.training.arguments import TrainingArguments
from tfhf.training.optimizers import NO_WEIGHT_DECAY, AdamWeightDecay, layerwise_lr_decay

#: Names of the variables that Keras's optimizers do not decay: those of biases and norms.
_UNDECAYED = ["bias", "gamma", "beta"]


@keras.saving.register_keras_serializable("tfhf")
class Adafactor(keras.optimizers.Adafactor):
    """``keras.optimizers.Adafactor``, also with steps that do not grow with the weights.

    Source: Shazeer & Stern, 2018, https://arxiv.org/abs/1804.04235; equal to Transformers'
    ``Adafactor`` with ``relative_step=False``.

    Args:
        learning_rate: a number, or a Keras schedule.
        scale_parameter: multiply a step by the root mean square of the weights.
        **kwargs: those of Keras's.

    Example:
        >>> Adafactor(1e-3, scale_parameter=False).scale_parameter
        False
    """

    def __init__(
        self, learning_rate: Any = 0.001, *, scale_parameter: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(learning_rate, **kwargs)
        self.scale_parameter = scale_parameter

    def _rms(self, x: Any) -> tf.Tensor:
        is_weight = isinstance(x, tf.Variable | keras.Variable)
        if is_weight and not self.scale_parameter:
            return tf.ones((), x.dtype)
        return super()._rms(x)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments."""
        return super().get_config() | {"scale_parameter": self.scale_parameter}


def make_optimizer(
    args: TrainingArguments, learning_rate: Any, model: keras.Model
) -> keras.optimizers.Optimizer:
    """Make the optimizer that arguments choose.

    Args:
        args: ``optim`` and what belongs to it.
        learning_rate: a number or a Keras schedule of batches.
        model: what is to be trained.

    Raises:
        ValueError: ``layerwise_lr_decay`` with another optimizer than AdamW.

    Example:
        >>> args = TrainingArguments(optim="lion", weight_decay=0.1)
        >>> make_optimizer(args, 1e-4, keras.Sequential()).name
        'lion'
    """
    accumulated = args.gradient_accumulation_steps
    common: dict[str, Any] = {
        "global_clipnorm": args.max_grad_norm or None,
        "use_ema": args.use_ema,
        "ema_momentum": args.ema_momentum,
        "gradient_accumulation_steps": accumulated if accumulated > 1 else None,
    }
    betas: dict[str, Any] = {"beta_1": args.adam_beta1, "beta_2": args.adam_beta2}
    if args.optim.startswith("adamw"):
        decay = args.layerwise_lr_decay
        return AdamWeightDecay(
            learning_rate,
            epsilon=args.adam_epsilon,
            weight_decay_rate=args.weight_decay,
            exclude_from_weight_decay=NO_WEIGHT_DECAY,
            learning_rate_multipliers=None if decay is None else layerwise_lr_decay(model, decay),
            **betas,
            **common,
        )
    if args.layerwise_lr_decay is not None:
        raise ValueError(f"layerwise_lr_decay needs optim 'adamw', but it is {args.optim!r}")
    common["weight_decay"] = args.weight_decay or None
    made: dict[str, Any] = {
        "lion": lambda: keras.optimizers.Lion(learning_rate, **betas, **common),
        "sgd": lambda: keras.optimizers.SGD(learning_rate, **common),
        "adafactor": lambda: Adafactor(
            learning_rate, scale_parameter=False, relative_step=False, **common
        ),
    }
    optimizer = made[args.optim]()
    optimizer.exclude_from_weight_decay(var_names=_UNDECAYED)
    return optimizer
