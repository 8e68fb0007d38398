"""Training on several devices: the strategies, and what Keras 3 gets wrong under them.

Keras 3 trains under ``tf.distribute`` with a number of faults, of which several only show in wrong
weights. They are met here and nowhere else: :func:`repair_keras` puts better versions of a few
methods into Keras's own classes, so that every model and every optimizer has them.
``tests/training/test_keras_faults.py`` has one test for each fault that fails when Keras no longer
has it.

The rule behind all of them: gradients are summed over the replicas first; then every replica does
the same to its own copy of each variable, alone. A replica's loss is its share of the mean over the
global batch, so that the sum of the gradients is the gradient of that mean.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.optimizers.base_optimizer import BaseOptimizer
from keras.src.utils.rng_utils import get_random_seed

from tfhf.layers.replicas import known_sums, recorded_sums, replica_sum
from tfhf.training.tpu import require_tpu_ready

STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker", "tpu")
SUM = tf.distribute.ReduceOp.SUM


def make_strategy(
    name: str | None = None, *, mixed_precision: str | None = None
) -> tf.distribute.Strategy:
    """Choose the devices that train; create model and optimizer within its ``scope()``.

    Call it before anything else that uses TensorFlow. The batch size of a dataset is that of the
    global batch, which is shared out among the replicas: training is the same on one device and on
    many.

    Args:
        name: ``"one_device"``, ``"mirrored"`` (all GPUs of this host), ``"multi_worker"`` (all
            processes that ``tfhf launch`` starts), ``"tpu"``, or ``"auto"``, the default: what
            ``tfhf launch`` was told, else what ``TF_CONFIG`` and the devices of this host suggest.
        mixed_precision: the Keras dtype policy of models made from now on, such as
            ``"mixed_bfloat16"``. ``None``: what ``tfhf launch`` was told, or no change.

    Raises:
        ValueError: an unknown name, or no ``TF_CONFIG`` for "multi_worker".
        RuntimeError: no TPU answers, or TensorFlow has been used before.

    Example:
        >>> with make_strategy("one_device").scope():
        ...     optimizer = tfhf.AdamWeightDecay(5e-5)
    """
    if name is None or name == "auto":
        name = os.environ.get("TFHF_STRATEGY", "auto")
    mixed_precision = mixed_precision or os.environ.get("TFHF_MIXED_PRECISION")
    if name not in STRATEGIES:
        raise ValueError(f"name must be one of {', '.join(STRATEGIES)}, but it is {name!r}")
    repair_keras()
    if mixed_precision:
        keras.config.set_dtype_policy(mixed_precision)
    return {
        "one_device": _one_device,
        "mirrored": tf.distribute.MirroredStrategy,
        "multi_worker": _multi_worker,
        "tpu": _tpu,
    }[_suggested() if name == "auto" else name]()


def _suggested() -> str:
    if len(_workers()) > 1:
        return "multi_worker"
    if "TPU_NAME" in os.environ or tf.config.list_physical_devices("TPU"):
        return "tpu"
    return "mirrored" if len(tf.config.list_physical_devices("GPU")) > 1 else "one_device"


def _workers() -> list[str]:
    """Return the addresses of all workers that ``TF_CONFIG`` names."""
    cluster = json.loads(os.environ.get("TF_CONFIG", "{}")).get("cluster", {})
    return [*cluster.get("chief", []), *cluster.get("worker", [])]


def _one_device() -> tf.distribute.Strategy:
    gpu = tf.config.list_physical_devices("GPU")
    return tf.distribute.OneDeviceStrategy("GPU:0" if gpu else "CPU:0")


class Workers(tf.distribute.MultiWorkerMirroredStrategy):
    """``MultiWorkerMirroredStrategy`` that shares out the rows of every batch."""

    def experimental_distribute_dataset(self, dataset: Any, options: Any = None) -> Any:
        """Give each worker its part of every batch, whatever files the dataset reads.

        All workers read the whole dataset in the same order.
        """
        chosen = tf.data.Options()
        chosen.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
        return super().experimental_distribute_dataset(dataset.with_options(chosen), options)


def _multi_worker() -> tf.distribute.Strategy:
    if not _workers():
        raise ValueError(
            'strategy "multi_worker" needs the environment variable TF_CONFIG: start the script '
            "with `tfhf launch`"
        )
    strategy = Workers()
    if threading.current_thread() is threading.main_thread():
        # TensorFlow now catches SIGTERM, for a preemption that nobody asks it about: a worker that
        # is told to end would go on. What Python knows of is put back.
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
    # Datasets shuffle by the global seed, and a worker that shuffles differently loses rows.
    seed = get_random_seed()
    agreed = chief_value(strategy, np.random.randint(2**31) if seed is None else seed)
    if seed is None:
        keras.utils.set_random_seed(agreed)
    elif seed != agreed:
        raise ValueError(f"the seed must be that of the chief, {agreed}, but it is {seed}")
    return strategy


def chief_value(strategy: tf.distribute.Strategy, number: int) -> int:
    """Return, on all workers, the number of the first: all must ask at the same time."""

    def first() -> tf.Tensor:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        return replica_sum(tf.where(replica == 0, tf.constant(number, tf.int64), 0))

    return int(strategy.experimental_local_results(strategy.run(first))[0])


def _tpu() -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(
            os.environ.get("TPU_NAME", "local")
        )
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, tf.errors.OpError) as error:
        raise RuntimeError(
            "no TPU answers: this needs a Cloud TPU VM with tensorflow-tpu (docs/tpu.md), and the "
            f"name of the TPU in TPU_NAME where it is not of this host. TensorFlow says: {error}"
        ) from error
    return tf.distribute.TPUStrategy(resolver)


# What Keras gets wrong ----------------------------------------------------------------------------

_STOCK = {
    name: getattr(keras.Model, name)
    for name in ("_make_function", "train_step", "test_step", "compute_loss")
}
_SEED = keras.random.SeedGenerator.next


def repair_keras() -> None:
    """Make ``fit`` under a strategy train as on one device with the same global batch.

    Outside strategies Keras stays as it is, but for gradients of embeddings: its Adam squares the
    parts of a row that a batch reads twice before it adds them.

    ``TFKerasModel.compile`` and :func:`make_strategy` call it.
    """
    model, optimizer = keras.Model, keras.optimizers.Optimizer
    model._maybe_symbolic_build = _maybe_symbolic_build
    model._make_function = _make_function
    model.train_step = _train_step
    model.test_step = _test_step
    model.compute_loss = _compute_loss
    optimizer._backend_apply_gradients = _apply_gradients
    optimizer._backend_update_step = _update_step
    for name in (
        "_apply_weight_decay",
        "_backend_increment_gradient_accumulators",
        "_overwrite_model_variables_with_average_value",
    ):
        setattr(optimizer, name, _alone(name))
    keras.optimizers.LossScaleOptimizer.check_finite = _check_finite
    keras.random.SeedGenerator.next = _next_seed


def _in_replica() -> bool:
    return tf.distribute.has_strategy() and not tf.distribute.in_cross_replica_context()


def _maybe_symbolic_build(self: keras.Model, iterator: Any = None, data_batch: Any = None) -> None:
    """Create the variables, before replicas run that each would create their own.

    Stock Keras averages the first batch over the replicas, which fails where it cannot be divided
    and under several workers; and it takes that batch from the dataset.
    """
    if self._distribute_strategy is None:
        return
    if iterator is not None:
        dataset = iterator.data_adapter.get_tf_dataset()
        if isinstance(self._distribute_strategy, tf.distribute.TPUStrategy):
            require_tpu_ready(self, dataset, self._distribute_strategy.num_replicas_in_sync)
        data_batch = keras.tree.map_structure(_symbol, dataset.element_spec)
    with self._distribute_strategy.scope():
        self._symbolic_build(data_batch=data_batch)


def _symbol(spec: Any) -> keras.KerasTensor | None:
    spec = getattr(spec, "_value_specs", [spec])[0]  # of a dataset that is distributed already
    if not isinstance(spec, tf.TensorSpec):
        return None  # Keras makes tf.experimental.Optional of None
    return keras.KerasTensor(spec.shape.as_list(), spec.dtype.name)


def _make_function(self: keras.Model, step_function: Callable) -> Callable:
    """Make what runs ``steps_per_execution`` steps.

    Stock Keras cannot run more than one (keras #19246), averages numbers over workers in a way that
    fails (#20585), and compiles what replicas say to each other with XLA.
    """
    strategy = self._distribute_strategy
    if strategy is None:
        return _STOCK["_make_function"](self, step_function)
    step = self._autoconvert_optionals(step_function)

    def run_one(iterator: tf.distribute.DistributedIterator) -> tf.Tensor:
        batch = iterator.get_next_as_optional()

        def run() -> tf.Tensor:
            strategy.run(step, args=(batch.get_value(),))
            return True

        return tf.cond(batch.has_value(), run, lambda: False)

    def run_all(iterator: tf.distribute.DistributedIterator) -> tuple[tf.Tensor, Any]:
        found = run_one(iterator)
        if self.steps_per_execution > 1:
            tf.while_loop(
                lambda done, more: (done < self.steps_per_execution) & more,
                lambda done, more: (done + 1, run_one(iterator)),
                (1, found),
            )
        # Each metric is a function of sums over all replicas, not a mean over them.
        return found, self.get_metrics_result()

    if not self.run_eagerly:
        run_all = tf.function(run_all, reduce_retracing=True, autograph=False)

    def function(iterator: Iterator) -> Any:
        if isinstance(iterator, tf.distribute.DistributedIterator):
            found, logs = run_all(iterator)
            if not found:
                raise StopIteration
            return logs
        for _, data in zip(range(self.steps_per_execution), iterator):
            strategy.run(step, args=(data,))
        return self.get_metrics_result()

    return function


def _train_step(self: keras.Model, data: Any) -> dict[str, Any]:
    """One step of ``fit`` on one replica; with ``jit_compile``, XLA does all but the update."""
    if not _in_replica():
        return _STOCK["train_step"](self, data)
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    variables = self.trainable_variables

    def loss_of(x: Any, y: Any, sample_weight: Any, training: bool) -> tuple[tf.Tensor, Any]:
        y_pred = self(x, **({"training": training} if self._call_has_training_arg else {}))
        return self._compute_loss(x, y, y_pred, sample_weight, training=training), y_pred

    def differentiate(x: Any, y: Any, sample_weight: Any) -> tuple[tf.Tensor, Any, list[Any]]:
        with tf.GradientTape() as tape:
            loss, y_pred = loss_of(x, y, sample_weight, training=True)
            scaled = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, [variable.value for variable in variables])
        return loss, y_pred, [_dense(gradient) for gradient in gradients]

    if self.jit_compile:
        # Only for what the losses ask of other replicas; TensorFlow leaves out all the rest of it.
        with recorded_sums() as sums:
            loss_of(x, y, sample_weight, training=False)
        by_itself = differentiate

        def differentiate(x: Any, y: Any, sample_weight: Any) -> tuple[tf.Tensor, Any, list[Any]]:
            with known_sums(sums):
                return by_itself(x, y, sample_weight)

        differentiate = tf.function(differentiate, jit_compile=True, autograph=False)
    loss, y_pred, gradients = differentiate(x, y, sample_weight)
    _track_loss(self, loss, x)
    self.optimizer.apply(gradients, variables)
    return self.compute_metrics(x, y, y_pred, sample_weight)


def _test_step(self: keras.Model, data: Any) -> dict[str, Any]:
    """One step of ``evaluate`` on one replica."""
    if not _in_replica():
        return _STOCK["test_step"](self, data)
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    y_pred = self(x, **({"training": False} if self._call_has_training_arg else {}))
    _track_loss(self, self._compute_loss(x, y, y_pred, sample_weight, training=False), x)
    return self.compute_metrics(x, y, y_pred, sample_weight)


def _compute_loss(
    self: keras.Model,
    x: Any = None,
    y: Any = None,
    y_pred: Any = None,
    sample_weight: Any = None,
    training: bool = True,
) -> tf.Tensor:
    """Return the loss of ``compile(loss=…)``, on a replica its share of the global batch's.

    Stock Keras takes each replica for the same share, however many rows it has. Losses with the
    attribute ``adds_up`` count by themselves.
    """
    loss = _STOCK["compute_loss"](self, x, y, y_pred, sample_weight, training)
    if not _in_replica() or getattr(self.loss, "adds_up", False):
        return loss
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    rows = _rows(x)
    return loss * tf.cast(replicas * rows / replica_sum(rows), loss.dtype)


def _track_loss(self: keras.Model, share: tf.Tensor, x: Any) -> None:
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    self._loss_tracker.update_state(
        share * replicas, sample_weight=replica_sum(_rows(x)) / replicas
    )


def _rows(x: Any) -> tf.Tensor:
    first = next(tensor for tensor in keras.tree.flatten(x) if tensor is not None)
    return tf.cast(tf.shape(first)[0], tf.float32)


def _apply_gradients(self: keras.optimizers.Optimizer, grads: list, variables: list) -> None:
    """Update the variables by the sum of the gradients of all replicas.

    Stock Keras clips and accumulates the gradients of each replica before it adds them, and cannot
    accumulate, or copy averages to the weights, on several replicas at all (keras #20582). Its Adam
    squares the gradients of a row that was read twice before it adds them, on one device, too.
    """
    grads = [_dense(gradient) for gradient in grads]
    if _in_replica():
        if self._distribution_strategy is not tf.distribute.get_strategy():
            raise ValueError("create the optimizer within strategy.scope()")
        grads = tf.distribute.get_replica_context().all_reduce(SUM, grads)
    BaseOptimizer._backend_apply_gradients(self, list(grads), variables)


def _update_step(
    self: keras.optimizers.Optimizer, grads: list, variables: list, learning_rate: Any
) -> None:
    """Update each variable by its gradient, which is that of all replicas already."""
    for gradient, variable in zip(grads, variables):
        variable = variable.value if isinstance(variable, keras.Variable) else variable
        self.update_step(gradient, variable, learning_rate)


def _alone(name: str) -> Callable:
    """Make the method that, on a replica, does what Keras does without strategies."""
    stock, alone = getattr(keras.optimizers.Optimizer, name), getattr(BaseOptimizer, name)

    @functools.wraps(stock)
    def method(self: keras.optimizers.Optimizer, *args: Any) -> None:
        (alone if _in_replica() else stock)(self, *args)

    return method


def _check_finite(self: keras.optimizers.LossScaleOptimizer, grads: list) -> tf.Tensor:
    """Tell whether the gradients are numbers on all replicas; stock Keras looks at the first's."""
    strange = [tf.reduce_any(~tf.math.is_finite(_dense(g))) for g in grads if g is not None]
    return replica_sum(tf.cast(tf.reduce_any(strange), tf.float32)) == 0


def _next_seed(self: keras.random.SeedGenerator, ordered: bool = True) -> tf.Tensor:
    """Give each replica its own random numbers, where stock Keras gives all the same."""
    seed = _SEED(self, ordered)
    if not _in_replica():
        return seed
    replica = tf.distribute.get_replica_context().replica_id_in_sync_group
    return seed + tf.stack([tf.cast(replica, seed.dtype), tf.zeros((), seed.dtype)])


def _dense(gradient: Any) -> Any:
    return gradient if gradient is None else tf.convert_to_tensor(gradient)
