"""TFKerasModel: how a model is called, trained, evaluated and asked, with or without a Keras loss.

Inputs and labels go by name, wherever a caller or a dataset has them.
"""

from __future__ import annotations

import logging
from collections import UserDict
from collections.abc import Mapping
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf
from transformers import PretrainedConfig

from tfhf.layers.cache import as_key_values
from tfhf.layers.checks import require
from tfhf.outputs import ModelOutput

logger = logging.getLogger(__name__)

INTERNAL_LOSSES = (None, "auto", "auto_with_warning", "passthrough")
FLAGS = ("output_attentions", "output_hidden_states", "training")
#: What a loss that is no number says beside itself.
LOST = (
    "and training cannot go on. Usual reasons: a learning rate that is too high, no warm-up, "
    "gradients that explode because nothing clips them (global_clipnorm of an optimizer, "
    "max_grad_norm of TrainingArguments), or inputs that are no numbers"
)
#: Arguments that are no tensors, and stay as they are.
NON_TENSORS = (*FLAGS, "encoder_outputs", "num_states", "use_cache")


class TFKerasModel(keras.Model):
    """The part of :class:`~tfhf.modeling.TFPreTrainedModel` that Keras's own methods make."""

    config: PretrainedConfig
    main_input_name: ClassVar[str] = "input_ids"
    #: Tensors that ``call`` takes, in the order of positional arguments.
    input_names: ClassVar[tuple[str, ...]]
    #: Labels that ``call`` takes, each with the output that is compared with it.
    label_outputs: ClassVar[dict[str, str]] = {}
    #: What ``call`` takes beside, by name alone.
    flag_names: ClassVar[tuple[str, ...]] = FLAGS
    _internal_loss = True

    # Calling ------------------------------------------------------------------------------------

    def __call__(
        self, inputs: Any = None, *args: Any, return_dict: bool | None = None, **kwargs: Any
    ) -> Any:
        """Run the model on tensors, arrays or lists.

        ``model(input_ids, attention_mask)``, ``model({"input_ids": …})``,
        ``model([input_ids, …])``, ``model(tokens)`` and ``model(**tokens)`` all work; so do Keras's
        symbolic tensors.

        Returns:
            A :class:`~tfhf.outputs.ModelOutput`, or a tuple with ``return_dict=False``.
        """
        outputs = super().__call__(**self._named_arguments(inputs, args, kwargs))
        if return_dict is None:
            return_dict = getattr(self.config, "return_dict", True)
        return outputs if return_dict else outputs.to_tuple()

    def _named_arguments(
        self, inputs: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        accepted = (*self.input_names, *self.label_outputs, *self.flag_names)
        unknown = [name for name in kwargs if name not in accepted]
        if unknown:
            raise TypeError(f"{type(self).__name__} takes no argument {unknown[0]!r}")
        if isinstance(inputs, Mapping | UserDict):
            ignored = [name for name in inputs if name not in accepted]
            if ignored:
                logger.warning("%s ignores the inputs %s", type(self).__name__, ignored)
            named = {name: inputs[name] for name in inputs if name in accepted}
            positional = args
        elif isinstance(inputs, list | tuple) and any(_is_tensor(item) for item in inputs):
            named = dict(zip(self.input_names, inputs))
            positional = (*inputs[len(self.input_names) :], *args)
        else:
            named = dict(zip(self.input_names, (inputs, *args)))
            positional = args[len(self.input_names) - 1 :]
        if positional:
            raise TypeError(
                f"{type(self).__name__} takes at most {len(self.input_names)} inputs by position, "
                "in a list, or by name in one dict"
            )
        twice = [name for name in kwargs if name not in FLAGS and named.get(name) is not None]
        if twice:
            raise TypeError(f"{type(self).__name__} got {twice[0]!r} twice")
        named |= kwargs
        return {name: _argument(name, value) for name, value in named.items() if value is not None}

    # Training -----------------------------------------------------------------------------------

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = "auto",
        *,
        jit_compile: Any = False,
        **kwargs: Any,
    ) -> None:
        """Configure training, as ``keras.Model.compile``.

        Args:
            optimizer: a Keras optimizer, or its name.
            loss: a Keras loss; left out, the model's own loss is trained, from labels in the
                features or beside them.
            jit_compile: compile steps with XLA. Keras's "auto" compiles anew for every padded
                length; docs/performance.md has the figures behind ``False``. XLA leaves out the
                checks of ids and labels.
            **kwargs: the other arguments of ``keras.Model.compile``. A list of ``metrics`` is for
                each of several outputs.
        """
        from tfhf.training.strategy import repair_keras

        repair_keras()
        several_outputs = len(set(self.label_outputs.values())) > 1
        if several_outputs and isinstance(kwargs.get("metrics"), list | tuple):
            metrics = list(kwargs["metrics"])
            kwargs["metrics"] = {name: metrics for name in self.label_outputs}
        self._internal_loss = loss is None or (isinstance(loss, str) and loss in INTERNAL_LOSSES)
        with self.distribute_strategy.scope():  # where metrics add up what all workers saw
            super().compile(
                optimizer=optimizer,
                loss=None if self._internal_loss else loss,
                jit_compile=jit_compile,
                **kwargs,
            )

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile again as before ``model.save``; ``load_model`` calls it."""
        import tfhf.training  # noqa: F401, registers the optimizers that a file may name

        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None:
            self.optimizer.build(self.trainable_variables)

    def fit(self, x: Any = None, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Train as ``keras.Model.fit``; a ``BatchEncoding`` is taken as a dictionary.

        Raises:
            ValueError: ``x`` or ``validation_data`` is empty or has no labels.
            FloatingPointError: a loss that is no number; the weights are as before it.
            tf.errors.InvalidArgumentError: a batch that cannot be right. XLA leaves out both.
        """
        from tfhf.training.failures import plain_errors, require_labels

        if self._internal_loss:
            require_labels(self, x if not args else None, "x")
            require_labels(self, kwargs.get("validation_data"), "validation_data")
        if isinstance(x, tf.data.Dataset):
            kwargs.setdefault("shuffle", False)  # a dataset shuffles itself; Keras warns of True
        with plain_errors():
            return super().fit(_as_dict(x), *args, **kwargs)

    def evaluate(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Evaluate as ``keras.Model.evaluate``."""
        return super().evaluate(_as_dict(x), *args, **kwargs)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Predict as ``keras.Model.predict``; the output type holds NumPy arrays."""
        return super().predict(_as_dict(x), *args, **kwargs)

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step of ``fit``."""
        # Keras learns that data has ended by asking for more, within this graph: what does not
        # depend on a batch (the step count, the decay of weights) must wait for there to be one.
        # XLA waits for all its inputs anyway, and could not lift the first step's variables.
        if self.jit_compile:
            return super().train_step(self._arrange(data))
        tensors = tf.nest.flatten(data, expand_composites=True)
        with tf.control_dependencies([tensor for tensor in tensors if tensor is not None]):
            return super().train_step(self._arrange(data))

    def _symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Create metrics and optimizer under a strategy, before its replicas run."""
        if data_batch is not None:
            data_batch = self._arrange(data_batch)
        super()._symbolic_build(iterator, data_batch)

    def test_step(self, data: Any) -> dict[str, Any]:
        """One step of ``evaluate``."""
        return super().test_step(self._arrange(data))

    def predict_step(self, data: Any) -> ModelOutput:
        """One step of ``predict``; labels are left out, and so is what only more tokens need."""
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return self(self._features(x)[0] | self.final_inputs, training=False)

    def named_batch(self, data: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the inputs and the labels of one batch by name, wherever a dataset has them."""
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        features, labels = self._features(x)
        if isinstance(y, Mapping):
            labels |= {name: y[name] for name in y if name in self.label_outputs}
        elif y is not None:
            labels[next(iter(self.label_outputs), "labels")] = y
        return features, labels

    def _features(self, x: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the inputs and the labels of one batch of features, by name."""
        named = self._named_arguments(x, (), {})
        labels = {name: named.pop(name) for name in self.label_outputs if name in named}
        return named, labels

    def _arrange(self, data: Any) -> tuple[Any, Any, Any]:
        """Put labels where the loss looks for them, wherever the dataset has them."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        features, labels = self._features(x)
        if isinstance(y, Mapping):
            labels |= {name: y[name] for name in y if name in self.label_outputs}
        elif y is not None and self._internal_loss:
            labels[next(iter(self.label_outputs), "")] = y
        if self._internal_loss:
            if not self.label_outputs:
                raise ValueError(f"{type(self).__name__} has no loss of its own: compile(loss=…)")
            if not labels:
                raise ValueError(
                    f"Could not find label column(s) in the input: {type(self).__name__} needs "
                    f"{list(self.label_outputs)} among {sorted(features)} or as y"
                )
            if sample_weight is not None:
                raise ValueError(
                    "sample_weight and class_weight need a Keras loss: compile(loss="
                    "keras.losses.SparseCategoricalCrossentropy(from_logits=True))"
                )
            features |= labels
        if y is None or isinstance(y, Mapping):
            y = next(iter(labels.values())) if len(labels) == 1 else labels or y
        return features, y, sample_weight

    def _compared(self, y: Any, y_pred: Any) -> Any:
        """Return that part of the outputs which losses and metrics compare with ``y``."""
        if not isinstance(y_pred, ModelOutput):
            return y_pred
        if isinstance(y, Mapping):
            return {name: y_pred[self.label_outputs.get(name, str(name))] for name in y}
        return y_pred[next(iter(self.label_outputs.values()), 0)]

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> tf.Tensor:
        """Return the model's own loss, or that of ``compile(loss=…)``."""
        if self._internal_loss:
            if y_pred.loss is None:
                raise ValueError(f"{type(self).__name__} needs all of {list(self.label_outputs)}")
            loss = y_pred.loss
        else:
            loss = super().compute_loss(x, y, self._compared(y, y_pred), sample_weight, training)
        if not training or self.jit_compile:
            return loss
        return _finite(loss)

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """Update the metrics of ``compile(metrics=…)`` with the output that fits the labels."""
        return super().compute_metrics(x, y, self._compared(y, y_pred), sample_weight)

    @property
    def final_inputs(self) -> dict[str, bool]:
        """What says that no tokens follow: keys and values need not be returned."""
        return {"use_cache": False} if "use_cache" in self.input_names else {}


@tf.custom_gradient
def _finite(loss: tf.Tensor) -> tuple[tf.Tensor, Any]:
    """Return a loss that is a number; gradients wait for the check, so no weight follows others."""
    loss = require(tf.math.is_finite(loss), ["the loss is", loss, LOST], loss)

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        with tf.control_dependencies([loss]):
            return tf.identity(upstream)

    return loss, gradient


def _is_tensor(value: Any) -> bool:
    return isinstance(value, tf.Tensor | tf.Variable | np.ndarray | keras.KerasTensor)


def _argument(name: str, value: Any) -> Any:
    """Return an argument of ``call`` as the models take it."""
    if name == "past_key_values":
        return as_key_values(value)
    return value if name in NON_TENSORS or _is_tensor(value) else tf.convert_to_tensor(value)


def _as_dict(x: Any) -> Any:
    return dict(x) if isinstance(x, UserDict) else x
