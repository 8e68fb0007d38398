"""What Keras gets wrong under tf.distribute: run by test_keras_faults.py.

    python keras_faults.py stock|repaired mirrored|multi_worker

prints a line of JSON that tells for each fault whether it shows: ``true``, or what was raised.
"""

import contextlib
import json
import sys

import keras
import numpy as np
import tensorflow as tf

from tfhf.training.strategy import repair_keras

WORDS, LENGTH = 11, 4


def network():
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.layers.Input((LENGTH,), dtype="int32"),
            keras.layers.Embedding(WORDS, 6),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ]
    )


def fit(strategy, optimizer, rows=16, batch=8, **kwargs):
    """Train, and return the weights."""
    random = np.random.default_rng(3)
    ids, labels = random.integers(0, WORDS, (rows, LENGTH)), random.integers(0, 3, rows)
    with strategy.scope() if strategy else contextlib.nullcontext():
        model = network()
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer(), loss, **{"jit_compile": False, **kwargs})
    model.fit(tf.data.Dataset.from_tensor_slices((ids, labels)).batch(batch), epochs=2, verbose=0)
    return model.get_weights()


def differs(strategy, optimizer, **kwargs):
    """Whether training on two replicas is not training on one device."""
    actual, expected = (fit(which, optimizer, **kwargs) for which in (strategy, None))
    return max(float(np.abs(a - b).max()) for a, b in zip(actual, expected)) > 1e-5


def sgd(**kwargs):
    return lambda: keras.optimizers.SGD(0.1, **kwargs)


def adam_squares_repeated_rows_one_by_one(strategy):
    table = keras.Variable(np.ones((3, 2), np.float32))
    adam = keras.optimizers.Adam(0.1, beta_2=0.5, epsilon=1.0)
    parts = tf.IndexedSlices(tf.constant([[1.0, 1.0], [2.0, 2.0]]), tf.constant([1, 1]), (3, 2))
    adam.apply([parts], [table])
    # The sum of the parts is 3, the sum of their squares 5.
    return not np.allclose(adam._velocities[0][1], 0.5 * 3**2)


def dropout_is_the_same_on_all_replicas(strategy):
    with strategy.scope():
        dropout = keras.layers.Dropout(0.5)
    ones = tf.ones((1, 64))
    found = tf.function(lambda: strategy.run(lambda: dropout(ones, training=True)))()
    one, other = strategy.experimental_local_results(found)
    return bool(tf.reduce_all(one == other))


def only_the_first_replica_looks_for_infinite_gradients(strategy):
    with strategy.scope():
        variable = keras.Variable([1.0, 2.0])
        optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1))
        optimizer.build([variable])

    def step():
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        optimizer.apply([tf.fill([2], tf.where(number == 0, 1.0, np.inf))], [variable])

    tf.function(lambda: strategy.run(step))()
    return not np.isfinite(variable.numpy()).all()


def the_first_batch_is_read_twice(strategy):
    with strategy.scope():
        model = network()
        model.compile("sgd", "mse", jit_compile=False)
    begun = []
    counted = tf.data.Dataset.range(1).map(
        lambda zero: tf.numpy_function(lambda x: begun.append(x) or x, [zero], tf.int64)
    )
    rows = tf.data.Dataset.from_tensor_slices((np.zeros((16, LENGTH)), np.zeros((16, 3))))
    model.fit(counted.flat_map(lambda _: rows).batch(8), epochs=1, verbose=0)
    return len(begun) > 1


FAULTS = {
    "mirrored": {
        "clipnorm": lambda s: differs(s, sgd(clipnorm=0.05)),
        "global_clipnorm": lambda s: differs(s, sgd(global_clipnorm=0.05)),
        "clipvalue": lambda s: differs(s, sgd(clipvalue=0.01)),
        "uneven last batch": lambda s: differs(s, sgd(), rows=11),
        "uneven first batch": lambda s: differs(s, sgd(), rows=5),
        "repeated rows": adam_squares_repeated_rows_one_by_one,
        "dropout": dropout_is_the_same_on_all_replicas,
        "infinite gradients": only_the_first_replica_looks_for_infinite_gradients,
        "first batch": the_first_batch_is_read_twice,
        "accumulation": lambda s: differs(s, sgd(gradient_accumulation_steps=2)),
        "ema overwrite": lambda s: differs(s, sgd(use_ema=True, ema_overwrite_frequency=2)),
        "steps_per_execution": lambda s: differs(s, sgd(), steps_per_execution=2),
        "jit_compile": lambda s: differs(s, sgd(), jit_compile=True),
    },
    "multi_worker": {"several workers": lambda s: differs(s, sgd())},
}


def main(which, name):
    if name == "mirrored":
        cpu = tf.config.list_physical_devices("CPU")[0]
        devices = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, devices)
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    else:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    if which == "repaired":
        repair_keras()
    found = {}
    for fault, shows in FAULTS[name].items():
        try:
            found[fault] = bool(shows(strategy))
        except Exception as error:  # whatever TensorFlow raises is what the fault looks like
            found[fault] = f"{type(error).__name__}: {error}"[-300:]
    print(json.dumps({"case": which, "found": found}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
