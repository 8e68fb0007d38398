"""Transformers 4.57.6, the last with TensorFlow classes, on tf_keras (Keras 2)."""

from functools import partial

import numpy as np
import tensorflow as tf
import tf_keras
from safetensors import safe_open
from transformers import (
    AutoTokenizer,
    TFAutoModelForCausalLM,
    TFAutoModelForSeq2SeqLM,
    TFAutoModelForSequenceClassification,
    create_optimizer,
    modeling_tf_utils,
)

from benchmarks.workers import keras_work
from benchmarks.workers.protocol import serve
from benchmarks.workers.shared_work import Generate, Import, Input, Load, Translate

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


class IterableFile:
    """A safetensors file over which 4.57.6 can loop, as it tries to; without it, it loads none."""

    def __init__(self, *args, **kwargs) -> None:
        self.file = safe_open(*args, **kwargs)

    def __enter__(self):
        self.file.__enter__()
        return self

    def __exit__(self, *error):
        return self.file.__exit__(*error)

    def __iter__(self):
        return iter(self.file.keys())

    def __getattr__(self, name):
        return getattr(self.file, name)


modeling_tf_utils.safe_open = IterableFile


class Library:
    """Transformers 4 as its TensorFlow course tells to use it."""

    def __init__(self) -> None:
        self.paths = {"prepare_tf_dataset": self._prepared}

    def load(self, folder, precision):
        tf_keras.mixed_precision.set_global_policy(POLICIES[precision])
        return TFAutoModelForSequenceClassification.from_pretrained(folder)

    def generator(self, folder, precision, xla=False):
        tf_keras.mixed_precision.set_global_policy(precision)
        model = TFAutoModelForCausalLM.from_pretrained(folder)
        run = tf.function(model.generate, jit_compile=True) if xla else model.generate

        def generate(ids, new_tokens):
            return run(
                tf.constant(ids, tf.int32),
                max_new_tokens=new_tokens,
                min_new_tokens=new_tokens,
                do_sample=False,
                pad_token_id=0,
            )

        return lambda ids: tf.cast(model(ids).logits[:, -1], tf.float32), generate

    def translator(self, folder, generation, xla=False):
        model = TFAutoModelForSeq2SeqLM.from_pretrained(folder)
        # It passes over min_new_tokens; the decoder's first token counts here.
        generation = generation | {"min_length": 1 + generation["min_new_tokens"]}
        return keras_work.translator(model, generation, xla)

    def optimizer(self):
        return create_optimizer(5e-5, 1_000_000, 0, weight_decay_rate=0.01)[0]

    def apply(self, optimizer, gradients, variables):
        optimizer.apply_gradients(zip(gradients, variables))

    def compile(self, model, xla):
        model.compile(self.optimizer(), jit_compile=xla)

    def features(self, ids, mask):
        return {"input_ids": ids, "attention_mask": mask}

    def logits(self, outputs):
        return outputs.logits

    def pipeline(self, model, folder, rows, batch_size):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        return model.prepare_tf_dataset(
            rows, batch_size=batch_size, shuffle=True, tokenizer=tokenizer
        )

    def _prepared(self, folder, rows, batch_size):
        data = self.pipeline(self.load(folder, "float32"), folder, rows, batch_size)
        return lambda: [features["attention_mask"] for features, _ in data]


library = Library()
KINDS = keras_work.kinds(library) | {
    "generate": partial(Generate, library),
    "import": Import,
    "input": partial(Input, library),
    "load": partial(Load, library.load, keras_work.sums),
    "translate": partial(Translate, library),
}

if __name__ == "__main__":
    tf.constant(np.zeros(1))  # TensorFlow's own start belongs to no work
    serve(KINDS)
