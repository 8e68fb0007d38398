"""Work for libraries whose models are Keras models, of Keras 2 or 3.

``library`` is an object of the worker's, with
    load(folder, precision)             a sequence classifier with a checkpoint's weights
    adapt(model, rank)                  LoRA for a sequence classifier, where the library has it
    compile(model, xla)                 makes it ready for ``fit``
    optimizer()                         AdamW
    apply(optimizer, gradients, variables)
    features(ids, mask)                 what the model takes
    logits(outputs)                     what of its outputs is compared
    pipeline(model, folder, rows, batch_size)   the batches that its documentation recommends
    paths                               {name: a path from rows to batches}; see shared_work.Input
"""

import numpy as np
import tensorflow as tf

from benchmarks.workers.protocol import Work
from benchmarks.workers.rows_on_disk import read_batches, read_table


def kinds(library) -> dict:
    """Return the kinds of work below for one library."""

    def of(work_class):
        return lambda **work: work_class(library, **work)

    return {
        "fit": of(Fit),
        "fit pipeline": of(FitPipeline),
        "predict": of(Predict),
        "latency": of(Latency),
        "optimizer": of(Optimizer),
    }


def sums(model) -> list[float]:
    """Read all weights of a model."""
    return [float(tf.reduce_sum(variable)) for variable in model.weights]


def translator(model, generation: dict, xla: bool):
    """Return a function of ids and mask, for what ``model.generate`` makes of them."""
    run = tf.function(model.generate, jit_compile=True) if xla else model.generate

    def translate(ids, mask):
        return run(tf.constant(ids, tf.int32), attention_mask=tf.constant(mask), **generation)

    return translate


def _dataset(batches: list[dict], library) -> tf.data.Dataset:
    """Return batches as they are, of known shape where all have the same."""
    labels = np.stack([batch["labels"] for batch in batches])
    shapes = {batch["input_ids"].shape for batch in batches}
    if len(shapes) == 1:
        ids, mask = (
            np.stack([b[name] for b in batches]) for name in ("input_ids", "attention_mask")
        )
        data = tf.data.Dataset.from_tensor_slices((ids, mask, labels))
    else:
        ids, mask = (
            _ragged([b[name] for b in batches]) for name in ("input_ids", "attention_mask")
        )
        data = tf.data.Dataset.from_tensor_slices((ids, mask, labels)).map(
            lambda ids, mask, labels: (ids.to_tensor(), mask.to_tensor(), labels)
        )
    return data.map(lambda ids, mask, labels: (library.features(ids, mask), labels))


def _ragged(arrays: list[np.ndarray]) -> tf.RaggedTensor:
    rows = tf.RaggedTensor.from_row_lengths(
        np.concatenate([array.ravel() for array in arrays]),
        np.concatenate([[array.shape[1]] * array.shape[0] for array in arrays]),
    )
    return tf.RaggedTensor.from_uniform_row_length(rows, arrays[0].shape[0])


class Fit(Work):
    """``model.fit`` over given batches, one after the other; a name picks which."""

    def __init__(
        self, library, folder: str, precision: str, batches: str, xla=False, lora=None
    ) -> None:
        self.library = library
        self.model = library.load(folder, precision)
        if lora:
            library.adapt(self.model, rank=lora)
        library.compile(self.model, xla)
        self.data = {name: _dataset(b, library) for name, b in read_batches(batches).items()}
        self.position = 0

    def outputs(self) -> dict:
        check = self.data["check"]
        outputs = self.model.predict(check.map(lambda x, y: x), verbose=0)
        return {
            "logits": self.library.logits(outputs),
            "loss": self.model.evaluate(check, verbose=0, return_dict=True)["loss"],
        }

    def turn(self, steps: int, batches: str):
        data = self.data[batches].repeat().skip(self.position).take(steps)
        self.position += steps
        return lambda: self.model.fit(data, verbose=0)


class FitPipeline(Work):
    """``model.fit`` over rows, by the library's own pipeline, from a new epoch each time."""

    def __init__(
        self, library, folder: str, precision: str, table: str, batch_size: int, xla=False
    ) -> None:
        self.model = library.load(folder, precision)
        library.compile(self.model, xla)
        self.data = library.pipeline(self.model, folder, read_table(table), batch_size)

    def turn(self, steps: int):
        data = self.data.repeat().skip(1).take(steps)  # as in torch_worker
        return lambda: self.model.fit(data, verbose=0)


class Predict(Fit):
    """``model.predict`` over given batches."""

    def turn(self, steps: int, batches: str):
        data = self.data[batches].repeat().take(steps).map(lambda x, y: x)
        return lambda: self.model.predict(data, verbose=0)


class Latency(Fit):
    """One request after the other through a ``tf.function`` that is traced already."""

    def __init__(self, library, folder: str, precision: str, batches: str, xla=False) -> None:
        super().__init__(library, folder, precision, batches)
        self.call = tf.function(
            lambda features: library.logits(self.model(features, training=False)), jit_compile=xla
        )

    def outputs(self) -> dict:
        features, _ = next(iter(self.data["check"]))
        return {"logits": self.call(features)}

    def turn(self, steps: int, batches: str):
        features, _ = next(iter(self.data[batches]))

        def act():
            for _ in range(steps):
                self.call(features).numpy()

        return act


class Optimizer(Work):
    """One update of all variables of a model, with gradients that are there already."""

    def __init__(self, library, folder: str) -> None:
        variables = library.load(folder, "float32").trainable_variables
        optimizer = library.optimizer()
        gradients = [tf.random.normal(v.shape, stddev=1e-3) for v in variables]

        @tf.function
        def update(gradients):
            library.apply(optimizer, gradients, variables)

        self.update = lambda: update(gradients)

    def turn(self, steps: int):
        return lambda: [self.update() for _ in range(steps)]


class MatrixProduct(Work):
    """Products of [m, k] and [k, n] by TensorFlow: oneDNN, or XLA."""

    def __init__(self, precision: str, xla: bool) -> None:
        self.dtype = tf.as_dtype(precision)
        self.product = tf.function(tf.matmul, jit_compile=xla)

    def turn(self, steps: int, shape: list[int]):
        m, k, n = shape
        a, b = (tf.cast(tf.random.normal(size), self.dtype) for size in ((m, k), (k, n)))
        self.product(a, b)

        def act():
            for _ in range(steps):
                self.product(a, b)

        return act
