"""AdamW, and the optimizer with its schedule that the recipes train with."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfhf.training.schedules import WarmUp

#: Parts of the paths of biases and of the parameters of norms, which are usually not decayed:
#: Transformers 4's spellings, this package's and Keras's.
NO_WEIGHT_DECAY = ("bias", "LayerNorm", "layer_norm", "norm/", "normalization")


def create_optimizer(
    init_lr: float,
    num_train_steps: int,
    num_warmup_steps: int,
    min_lr_ratio: float = 0.0,
    adam_beta1: float = 0.9,
    adam_beta2: float = 0.999,
    adam_epsilon: float = 1e-8,
    adam_clipnorm: float | None = None,
    adam_global_clipnorm: float | None = None,
    weight_decay_rate: float = 0.0,
    power: float = 1.0,
    include_in_weight_decay: Sequence[str] | None = None,
) -> tuple[AdamWeightDecay, keras.optimizers.schedules.LearningRateSchedule]:
    """Make AdamW with a linear warm-up and a polynomial (linear) decay of the learning rate.

    The arguments are those of Transformers 4. Biases and norms are not decayed.

    Args:
        init_lr: the learning rate at the end of the warm-up.
        num_train_steps: how many batches ``fit`` will see: steps per epoch times epochs.
        num_warmup_steps: how many of them belong to the warm-up.
        min_lr_ratio: the last learning rate, as a share of ``init_lr``.
        adam_beta1: decay of the mean of the gradients, per update.
        adam_beta2: decay of the mean of the squared gradients, per update.
        adam_epsilon: added to the denominator.
        adam_clipnorm: clip the gradient of each variable to this norm.
        adam_global_clipnorm: clip all gradients to this common norm.
        weight_decay_rate: share of a weight, times the learning rate, taken off at each update.
        power: of the decay; 1 is linear.
        include_in_weight_decay: regular expressions; variables whose path one of them matches are
            decayed even where they are biases or belong to norms.

    Returns:
        The optimizer, and its schedule for plots and logs.

    Raises:
        ValueError: numbers of steps that do not fit together, or both kinds of clipping.

    Example:
        >>> optimizer, schedule = create_optimizer(
        ...     5e-5, num_train_steps=100, num_warmup_steps=10, weight_decay_rate=0.01)
        >>> [round(float(schedule(step)), 7) for step in (0, 5, 10, 55, 100)]
        [0.0, 2.5e-05, 5e-05, 2.5e-05, 0.0]
    """
    if not 0 <= num_warmup_steps < num_train_steps:
        raise ValueError(
            "num_warmup_steps must be at least 0 and below num_train_steps, but num_warmup_steps = "
            f"{num_warmup_steps} and num_train_steps = {num_train_steps}"
        )
    schedule: keras.optimizers.schedules.LearningRateSchedule
    schedule = keras.optimizers.schedules.PolynomialDecay(
        initial_learning_rate=init_lr,
        decay_steps=num_train_steps - num_warmup_steps,
        end_learning_rate=init_lr * min_lr_ratio,
        power=power,
    )
    if num_warmup_steps:
        schedule = WarmUp(init_lr, schedule, num_warmup_steps)
    optimizer = AdamWeightDecay(
        learning_rate=schedule,
        beta_1=adam_beta1,
        beta_2=adam_beta2,
        epsilon=adam_epsilon,
        clipnorm=adam_clipnorm,
        global_clipnorm=adam_global_clipnorm,
        weight_decay_rate=weight_decay_rate,
        include_in_weight_decay=include_in_weight_decay,
        exclude_from_weight_decay=NO_WEIGHT_DECAY,
    )
    return optimizer, schedule


class Coefficients(NamedTuple):
    """The numbers of one update that all variables share; scalars."""

    #: the learning rate with both bias corrections
    step_size: tf.Tensor
    #: epsilon with the bias correction of the denominator
    epsilon: tf.Tensor
    #: the share of a decayed weight that is kept
    kept: tf.Tensor


@keras.saving.register_keras_serializable("tfhf")
class AdamWeightDecay(keras.optimizers.Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter, 2019), as ``torch.optim.AdamW``.

    It differs from ``keras.optimizers.AdamW`` where that differs from PyTorch: epsilon is added
    after the bias correction, gradients of rows that an embedding reads twice are summed before
    they are squared, and a global norm is clipped as by ``torch.nn.utils.clip_grad_norm_``.
    TensorFlow's fused kernel reads every array once.

    Moments and accumulated gradients of bfloat16 and float16 variables are kept in float32. Such
    variables still round small updates away: prefer the ``mixed_bfloat16`` policy, whose variables
    are float32.

    Args:
        learning_rate: a number, or a Keras schedule of the number of batches seen.
        beta_1: decay of the mean of the gradients, per update.
        beta_2: decay of the mean of the squared gradients, per update.
        epsilon: added to the denominator.
        amsgrad: divide by the largest mean of squares so far (Reddi et al., 2018).
        weight_decay_rate: share of a weight, times the learning rate, taken off at each update.
        include_in_weight_decay: regular expressions; variables whose path one of them matches are
            decayed whatever ``exclude_from_weight_decay`` says.
        exclude_from_weight_decay: regular expressions; variables whose path one of them matches
            are not decayed. ``NO_WEIGHT_DECAY`` are those of biases and norms.
        learning_rate_multipliers: from regular expressions to what the learning rate of the
            variables whose path they match is multiplied by; see :func:`layerwise_lr_decay`.
        name: the Keras name.
        **kwargs: what every Keras optimizer takes: ``clipnorm``, ``global_clipnorm``,
            ``clipvalue``, ``use_ema``, ``ema_momentum``, ``ema_overwrite_frequency``,
            ``loss_scale_factor``, ``gradient_accumulation_steps``.

    Attributes:
        grad_norm: with ``global_clipnorm``, the norm of all gradients of the last update, before
            they were clipped: a variable. None without.

    Raises:
        ValueError: ``weight_decay`` is given, or an argument that Keras refuses.

    Example:
        >>> optimizer = AdamWeightDecay(
        ...     5e-5, weight_decay_rate=0.01, exclude_from_weight_decay=NO_WEIGHT_DECAY)
        >>> kernel, bias = keras.Variable([1.0], name="kernel"), keras.Variable([1.0], name="bias")
        >>> optimizer.apply([tf.constant([0.0]), tf.constant([0.0])], [kernel, bias])
        >>> float(kernel[0]) < 1.0, float(bias[0])
        (True, 1.0)
    """

    grad_norm: keras.Variable | None = None

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        weight_decay_rate: float = 0.0,
        include_in_weight_decay: Sequence[str] | None = None,
        exclude_from_weight_decay: Sequence[str] | None = None,
        learning_rate_multipliers: Mapping[str, float] | None = None,
        name: str = "AdamWeightDecay",
        **kwargs: Any,
    ) -> None:
        if "weight_decay" in kwargs:
            raise ValueError("weight_decay is called weight_decay_rate by AdamWeightDecay")
        for argument, value in (("beta_1", beta_1), ("beta_2", beta_2)):
            if not 0 <= value < 1:
                raise ValueError(f"{argument} must be at least 0 and below 1, but it is {value}")
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, name=name, **kwargs)
        self.weight_decay_rate = weight_decay_rate
        self._included = tuple(include_in_weight_decay or ())
        self._excluded = tuple(exclude_from_weight_decay or ())
        self._multipliers = dict(learning_rate_multipliers or {})

    def build(self, var_list: Sequence[keras.Variable]) -> None:
        """Create the moments of the variables, and see which of them decay."""
        if self.built:
            return
        super().build(var_list)
        self._decays = tuple(
            self.weight_decay_rate != 0 and self._use_weight_decay(variable)
            for variable in var_list
        )
        self._scales = tuple(self._multiplier(variable) for variable in var_list)
        if self.global_clipnorm:
            self.grad_norm = self.add_variable((), dtype="float32", name="grad_norm")

    def _multiplier(self, variable: keras.Variable) -> float:
        path = getattr(variable, "path", variable.name)
        matching = (m for pattern, m in self._multipliers.items() if re.search(pattern, path))
        return next(matching, 1.0)

    def _use_weight_decay(self, variable: keras.Variable) -> bool:
        path = getattr(variable, "path", variable.name)
        if any(re.search(pattern, path) for pattern in self._included):
            return True
        if any(re.search(pattern, path) for pattern in self._excluded):
            return False
        return super()._use_weight_decay(variable)

    def add_variable_from_reference(
        self,
        reference_variable: keras.Variable,
        name: str | None = None,
        initializer: Any = "zeros",
    ) -> keras.Variable:
        """Create a zero beside a model's variable, in float32 or better."""
        # Averages of weights (EMA) stay as they are: Keras copies them back without a cast.
        if _is_precise(reference_variable.dtype) or name == "average":
            return super().add_variable_from_reference(reference_variable, name, initializer)
        with self._distribution_strategy.extended.colocate_vars_with(reference_variable.value):
            return self.add_variable(
                reference_variable.shape,
                initializer,
                dtype="float32",
                name=f"{reference_variable.path.replace('/', '_')}_{name}",
            )

    def apply(self, grads: Sequence[Any], trainable_variables: Any = None) -> None:
        """Update the variables (default: those it was built with) by their gradients.

        Args:
            grads: a tensor, ``tf.IndexedSlices`` or None for each variable.
            trainable_variables: the variables.
        """
        dense = [gradient if gradient is None else _dense(gradient) for gradient in grads]
        super().apply(dense, trainable_variables)

    def _clip_gradients(self, grads: list[tf.Tensor]) -> list[tf.Tensor]:
        if self.grad_norm is None:
            return super()._clip_gradients(grads)
        squares = [2 * tf.cast(tf.nn.l2_loss(gradient), tf.float32) for gradient in grads]
        norm = tf.sqrt(tf.add_n(squares))
        self.grad_norm.assign(norm)
        # The small constant is PyTorch's.
        scale = tf.minimum(1.0, self.global_clipnorm / (norm + 1e-6))
        return [gradient * tf.cast(scale, gradient.dtype) for gradient in grads]

    def _backend_update_step(
        self, grads: list[tf.Tensor], trainable_variables: list[Any], learning_rate: Any
    ) -> None:
        # Once for all variables: a graph of a dozen scalars for each of 200 is slow to build.
        coefficients = self._coefficients(tf.convert_to_tensor(learning_rate))
        super()._backend_update_step(grads, trainable_variables, coefficients)

    def _coefficients(self, learning_rate: tf.Tensor) -> Coefficients:
        updates = tf.cast(self.iterations, tf.float32) + 1
        # 1 - beta ** updates, without losing the digits that the difference loses.
        correction_1 = -tf.math.expm1(updates * tf.math.log(self.beta_1))
        correction_2 = -tf.math.expm1(updates * tf.math.log(self.beta_2))
        return Coefficients(
            step_size=learning_rate * tf.sqrt(correction_2) / correction_1,
            epsilon=self.epsilon * tf.sqrt(correction_2),
            kept=1 - learning_rate * self.weight_decay_rate,
        )

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: Coefficients
    ) -> None:
        """Update one variable and its moments."""
        index = self._get_variable_index(variable)
        m, v = self._momentums[index].value, self._velocities[index].value
        step_size, epsilon, kept = (tf.cast(number, m.dtype) for number in learning_rate)
        if (scale := self._scales[index]) != 1:
            step_size, kept = step_size * scale, 1 - (1 - kept) * scale
        if m.dtype == variable.dtype and not self.amsgrad:
            if self._decays[index]:
                # Waiting for the gradient, so that not all decayed copies live at the same time.
                with tf.control_dependencies([gradient]):
                    variable.assign(variable * kept)
            # One pass over memory. The powers of beta are in the step size already.
            zero = tf.zeros((), m.dtype)
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=m.handle,
                v=v.handle,
                beta1_power=zero,
                beta2_power=zero,
                lr=step_size,
                beta1=tf.constant(self.beta_1, m.dtype),
                beta2=tf.constant(self.beta_2, m.dtype),
                epsilon=epsilon,
                grad=gradient,
            )
            return
        m.assign_add((gradient - m) * (1 - self.beta_1))
        v.assign_add((tf.square(gradient) - v) * (1 - self.beta_2))
        if self.amsgrad:
            largest = self._velocity_hats[index].value
            largest.assign(tf.maximum(largest, v))
            v = largest
        weight = tf.cast(variable, m.dtype) * (kept if self._decays[index] else 1)
        step = step_size * m / (tf.sqrt(v) + epsilon)
        variable.assign(tf.cast(weight - step, variable.dtype))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments."""
        config = super().get_config()
        del config["weight_decay"]
        return config | {
            "weight_decay_rate": self.weight_decay_rate,
            "include_in_weight_decay": list(self._included),
            "exclude_from_weight_decay": list(self._excluded),
            "learning_rate_multipliers": self._multipliers,
        }


def _is_precise(dtype: Any) -> bool:
    return tf.as_dtype(dtype).size >= 4


def _dense(gradient: tf.Tensor | tf.IndexedSlices) -> tf.Tensor:
    """Return the gradient as a tensor, in float32 or better; rows that were read twice are summed.

    AdamW moves every row at every step, also those without a gradient, so rows cannot be left out.
    """
    tensor = tf.convert_to_tensor(gradient)
    return tensor if _is_precise(tensor.dtype) else tf.cast(tensor, tf.float32)


def layerwise_lr_decay(model: keras.Model, decay: float) -> dict[str, float]:
    """Make multipliers that let lower layers learn more slowly (Howard & Ruder, 2018).

    The head learns at the full rate, the last layer at ``decay`` times that, the one below at
    ``decay ** 2``, and the embeddings slowest of all.

    Args:
        model: a model of tfhf.
        decay: above 0, at most 1.

    Returns:
        ``learning_rate_multipliers`` for :class:`AdamWeightDecay`.

    Example:
        >>> import tfhf
        >>> from transformers import BertConfig
        >>> model = tfhf.TFBertModel(BertConfig(num_hidden_layers=2, vocab_size=9))
        >>> factors = layerwise_lr_decay(model, 0.5)
        >>> sorted({*factors.values()})
        [0.125, 0.25, 0.5, 1.0]
    """
    paths = [variable.path for variable in model.trainable_variables]
    # "encoder/layer_3/": the stack's name, and the layer's number in it.
    found = {path: re.search(r"(\w+)/layer_(\d+)", path) for path in paths}
    layers: dict[str, int] = {}
    for match in filter(None, found.values()):
        layers[match[1]] = max(layers.get(match[1], 0), int(match[2]) + 1)
    lowest = max(layers.values(), default=0) + 1
    multipliers = {}
    for path, place in found.items():
        below_head = layers[place[1]] - int(place[2]) if place else 0
        if not place and re.search("(embeddings|shared)/", path):
            below_head = lowest
        multipliers[f"^{re.escape(path)}$"] = decay**below_head
    return multipliers
