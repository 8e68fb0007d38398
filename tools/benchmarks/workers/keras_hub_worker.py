"""KerasHub 0.32 on Keras 3 and TensorFlow."""

import json
from functools import partial
from pathlib import Path

import keras
import keras_hub
import numpy as np
import tensorflow as tf
from safetensors.numpy import safe_open

from benchmarks.workers import keras_work
from benchmarks.workers.protocol import serve
from benchmarks.workers.shared_work import Generate, Import, Input, Load

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
LENGTH = 128  # KerasHub pads to one length; this is the longest of all rows


class Library:
    """KerasHub as its guides tell to use it, on rows that are tokenized already."""

    def __init__(self) -> None:
        self.paths = {"one length": self._one_length}

    def load(self, folder, precision):
        """Load the body by KerasHub's own conversion, and the head, which that leaves out."""
        dtype = POLICIES[precision]
        with safe_open(Path(folder, "model.safetensors"), framework="numpy") as weights:
            if json.loads(Path(folder, "config.json").read_text())["model_type"] == "bert":
                body = keras_hub.models.BertBackbone.from_preset(folder, dtype=dtype)
                model = keras_hub.models.BertTextClassifier(body, num_classes=2)
            else:
                body = keras_hub.models.DistilBertBackbone.from_preset(folder, dtype=dtype)
                model = keras_hub.models.DistilBertTextClassifier(body, num_classes=2)
                _fill(model.pooled_dense, weights, "pre_classifier")
            _fill(model.output_dense, weights, "classifier")
        return model

    def generator(self, folder, precision, xla=False):
        body = keras_hub.models.GPT2Backbone.from_preset(folder, dtype=precision)
        model = keras_hub.models.GPT2CausalLM(body, preprocessor=None)
        model.compile(sampler="greedy", jit_compile=xla)

        def inputs(ids, places):
            """Return ids with places for more of them, and which are prompts."""
            room = ((0, 0), (0, places))
            mask = np.ones_like(ids)
            return {"token_ids": np.pad(ids, room), "padding_mask": np.pad(mask, room)}

        def generate(ids, new_tokens):
            return model.generate(inputs(ids, new_tokens), stop_token_ids=None)["token_ids"]

        return lambda ids: tf.cast(model(inputs(ids, 0))[:, -1], tf.float32), generate

    def optimizer(self):
        return keras.optimizers.AdamW(5e-5, weight_decay=0.01)

    def apply(self, optimizer, gradients, variables):
        optimizer.apply(gradients, variables)

    def compile(self, model, xla):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(self.optimizer(), loss, metrics=[], jit_compile=xla)
        self.has_segments = any("segment" in tensor.name for tensor in model.inputs)

    def features(self, ids, mask):
        features = {"token_ids": ids, "padding_mask": mask}
        return features | {"segment_ids": tf.zeros_like(ids)} if self.has_segments else features

    def logits(self, outputs):
        return outputs

    def pipeline(self, model, folder, rows, batch_size):
        ids = _ragged(rows["input_ids"])

        def batch(ids, labels):
            ids = ids.to_tensor(shape=(batch_size, LENGTH))
            mask = tf.cast(ids != 0, tf.int64)
            return self.features(ids, mask), tf.ensure_shape(labels, (batch_size,))

        data = tf.data.Dataset.from_tensor_slices((ids, np.asarray(rows["label"])))
        data = data.shuffle(len(rows)).batch(batch_size, drop_remainder=True)
        return data.map(batch, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    def _one_length(self, folder, rows, batch_size):
        self.has_segments = False
        data = self.pipeline(None, folder, rows, batch_size)
        return lambda: [features["padding_mask"] for features, _ in data]


def _ragged(lists):
    return tf.RaggedTensor.from_row_lengths(np.concatenate(lists), [len(row) for row in lists])


def _fill(dense, weights, name):
    dense.kernel.assign(weights.get_tensor(f"{name}.weight").T)
    dense.bias.assign(weights.get_tensor(f"{name}.bias"))


library = Library()
KINDS = keras_work.kinds(library) | {
    "generate": partial(Generate, library),
    "import": Import,
    "input": partial(Input, library),
    "load": partial(Load, library.load, keras_work.sums),
}

if __name__ == "__main__":
    tf.constant(np.zeros(1))  # TensorFlow's own start belongs to no work
    serve(KINDS)
