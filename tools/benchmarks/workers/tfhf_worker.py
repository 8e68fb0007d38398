"""tfhf, and TensorFlow's matrix products."""

import tempfile
from functools import partial

import numpy as np
import tensorflow as tf

import tfhf
from benchmarks.workers import keras_work
from benchmarks.workers.protocol import serve
from benchmarks.workers.shared_work import (
    Classify,
    Generate,
    Import,
    Input,
    Load,
    ServeLabels,
    ServeTexts,
    Translate,
)
from tfhf.serving.saved_model_process import SavedModelProcess

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


class Library:
    """tfhf as its README tells to use it."""

    def __init__(self) -> None:
        self.paths = {
            "grouped by length": partial(self._prepared, shuffle=True),
            "shuffled": partial(self._prepared, shuffle=True, group_by_length=False),
            "in order": partial(self._prepared, shuffle=False),
            "collator": partial(self._prepared, shuffle=True, by_collator=True),
            "to_tf_dataset": self._to_tf_dataset,
        }

    def load(self, folder, precision):
        return tfhf.TFAutoModelForSequenceClassification.from_pretrained(
            folder, dtype=POLICIES[precision]
        )

    def adapt(self, model, rank):
        model.add_adapter(
            tfhf.LoraConfig(r=rank, target_modules=["q_lin", "v_lin"], task_type="SEQ_CLS")
        )

    def generator(self, folder, precision, xla=False):
        model = tfhf.TFAutoModelForCausalLM.from_pretrained(folder, dtype=precision)
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
        model = tfhf.TFAutoModelForSeq2SeqLM.from_pretrained(folder)
        return keras_work.translator(model, generation, xla)

    def classifier(self, folder):
        pipe = tfhf.pipeline("sentiment-analysis", folder)
        return lambda texts, batch_size, **options: pipe(texts, batch_size=batch_size, **options)

    def label_server(self, folder, loader):
        model = self.load(folder, "float32")
        tokenizer = tfhf.AutoTokenizer.from_pretrained(folder)
        ask = self._served(model, tokenizer, loader)

        def label(texts):
            outputs = ask(texts)
            return [name.decode() for name in outputs["label"]], outputs["scores"].max(axis=1)

        return label

    def text_server(self, folder, tokenizer, generation, loader=None):
        model = tfhf.TFAutoModelForCausalLM.from_pretrained(folder)
        tokenizer = tfhf.AutoTokenizer.from_pretrained(tokenizer)
        if loader is None:
            pipe = tfhf.pipeline("text-generation", model, tokenizer=tokenizer)
            return lambda texts: [
                found[0]["generated_text"]
                for found in pipe(texts, batch_size=len(texts), **generation)
            ]
        ask = self._served(model, tokenizer, loader, **generation)
        return lambda texts: [text.decode() for text in ask(texts)["generated_text"]]

    def _served(self, model, tokenizer, loader, **settings):
        """Export a model, load that, and give a function of texts for its outputs."""
        with tempfile.TemporaryDirectory() as models:
            version = model.export(models, tokenizer, **settings)
            if loader == "C":
                process = SavedModelProcess(version)
                return lambda texts: process.predict({"text": texts})
            loaded = tf.saved_model.load(version)

        def ask(texts):
            outputs = loaded.signatures["serving_default"](text=tf.constant(texts))
            return {name: tensor.numpy() for name, tensor in outputs.items()}

        return ask

    def optimizer(self):
        steps = 1_000_000  # the decay of the learning rate is not to be noticed
        return tfhf.create_optimizer(5e-5, steps, 0, weight_decay_rate=0.01)[0]

    def apply(self, optimizer, gradients, variables):
        optimizer.apply(gradients, variables)

    def compile(self, model, xla):
        model.compile(self.optimizer(), jit_compile=xla)

    def features(self, ids, mask):
        return {"input_ids": ids, "attention_mask": mask}

    def logits(self, outputs):
        return outputs.logits

    def pipeline(self, model, folder, rows, batch_size):
        tokenizer = tfhf.AutoTokenizer.from_pretrained(folder)
        return model.prepare_tf_dataset(rows, batch_size=batch_size, tokenizer=tokenizer)

    def _prepared(self, folder, rows, batch_size, by_collator=False, **options):
        tokenizer = tfhf.AutoTokenizer.from_pretrained(folder)
        model = self.load(folder, "float32")
        collator = tfhf.DataCollatorWithPadding(tokenizer, return_tensors="np")
        data = model.prepare_tf_dataset(
            rows,
            batch_size=batch_size,
            tokenizer=tokenizer,
            drop_remainder=False,
            # Any function that prepare_tf_dataset does not know is called row by row, in Python.
            collate_fn=(lambda features: collator(features)) if by_collator else None,
            **options,
        )
        return lambda: [features["attention_mask"] for features, _ in data]

    def _to_tf_dataset(self, folder, rows, batch_size):
        tokenizer = tfhf.AutoTokenizer.from_pretrained(folder)
        data = rows.to_tf_dataset(
            batch_size=batch_size,
            shuffle=True,
            collate_fn=tfhf.DataCollatorWithPadding(tokenizer, return_tensors="np"),
        )
        return lambda: [features["attention_mask"] for features in data]


library = Library()
KINDS = keras_work.kinds(library) | {
    "classify": partial(Classify, library),
    "generate": partial(Generate, library),
    "import": Import,
    "input": partial(Input, library),
    "load": partial(Load, library.load, keras_work.sums),
    "matrix product": keras_work.MatrixProduct,
    "serve labels": partial(ServeLabels, library),
    "serve texts": partial(ServeTexts, library),
    "translate": partial(Translate, library),
}

if __name__ == "__main__":
    tf.constant(np.zeros(1))  # TensorFlow's own start belongs to no work
    serve(KINDS)
