"""Training on two replicas beside training on one device: run by test_strategy.py.

    python on_replicas.py mirrored CASE…        (two logical devices of this process)
    python on_replicas.py multi_worker CASE…    (in each of two workers)

prints a line of JSON for each case: how far weights, losses, evaluation and predictions are from
those of one device, how far the weights moved, and whether each epoch saw each row exactly once.
"""

import contextlib
import json
import sys
import tempfile

import datasets
import keras
import numpy as np
import tensorflow as tf
from transformers import BertConfig

import tfhf
from tfhf.training.label_smoothing import LabelSmoother
from tfhf.training.strategy import make_strategy

ROWS, BATCH, LENGTH, WORDS = 21, 8, 6, 30  # two whole batches and one of five rows
CONFIG = BertConfig(
    vocab_size=WORDS,
    hidden_size=8,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=16,
    max_position_embeddings=LENGTH,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    num_labels=3,
)


def rows_of(task):
    """The features and labels of a task; ids repeat, and rows have different counts of labels."""
    random = np.random.default_rng(3)
    ids = random.integers(1, WORDS, (ROWS, LENGTH))
    if task == "classify":
        return {"input_ids": ids, "labels": ids.sum(1) % 3}
    masked = np.where(random.random(ids.shape) < random.random((ROWS, 1)), ids, -100)
    if task == "unmask":
        return {"input_ids": ids, "labels": masked}
    return {"input_ids": ids, "labels": masked, "next_sentence_label": ids.sum(1) % 2}


MODELS = {
    "classify": tfhf.TFBertForSequenceClassification,
    "unmask": tfhf.TFBertForMaskedLM,
    "pretrain": tfhf.TFBertForPreTraining,  # two losses with divisors of their own
}


def adam(**kwargs):
    return tfhf.AdamWeightDecay(0.01, weight_decay_rate=0.1, epsilon=1e-3, **kwargs)


def sgd():
    """Not blind to a factor of the loss, as Adam is."""
    return keras.optimizers.SGD(0.1)


def keras_loss():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


#: task, optimizer, what else differs
CASES = {
    "combined": (
        "unmask",
        lambda: adam(
            global_clipnorm=0.3,
            gradient_accumulation_steps=2,
            use_ema=True,
            ema_momentum=0.9,
            ema_overwrite_frequency=2,
        ),
        {"steps_per_execution": 4, "judge": False},
    ),
    "plain": ("classify", sgd, {}),
    "two-losses": ("pretrain", adam, {}),
    "clip": ("unmask", lambda: adam(global_clipnorm=0.3), {}),
    "keras-clip": ("unmask", lambda: keras.optimizers.AdamW(0.01, clipnorm=0.03, epsilon=1e-3), {}),
    "accumulate": ("unmask", lambda: adam(gradient_accumulation_steps=2), {}),
    "several-steps": ("unmask", adam, {"steps_per_execution": 4}),
    "ema": ("classify", lambda: adam(use_ema=True, ema_momentum=0.9), {}),
    "ema-overwrite": (
        "classify",
        lambda: adam(use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=2),
        {"loss": keras_loss},
    ),
    "keras-loss": ("classify", adam, {"loss": keras_loss}),
    "smooth": ("unmask", sgd, {"loss": lambda: LabelSmoother(0.2)}),
    "adapter": ("classify", adam, {"lora": {"r": 2, "task_type": "SEQ_CLS"}}),
    # Gradients are rounded to 8 and 11 bits: small steps, so that 1e-5 is more than that.
    "bfloat16": ("unmask", lambda: keras.optimizers.SGD(0.002), {"policy": "mixed_bfloat16"}),
    "float16": (
        "unmask",
        lambda: keras.optimizers.SGD(0.005, global_clipnorm=0.3),
        {"policy": "mixed_float16"},
    ),
    "xla": (
        "pretrain",
        lambda: adam(global_clipnorm=0.3, gradient_accumulation_steps=2),
        {"jit_compile": True, "steps_per_execution": 4},
    ),
    "xla-keras-loss": ("classify", adam, {"jit_compile": True, "loss": keras_loss}),
}


def train(
    strategy, task, make_optimizer, loss=None, policy="float32", judge=True, lora=None, **kwargs
):
    keras.utils.set_random_seed(1)
    rows = rows_of(task)
    if loss is not None:
        rows = ({"input_ids": rows["input_ids"]}, rows["labels"])
    data = tf.data.Dataset.from_tensor_slices(rows).shuffle(ROWS, seed=5).batch(BATCH)
    scope = strategy.scope if strategy else contextlib.nullcontext
    with scope():
        keras.config.set_dtype_policy(policy)
        model = MODELS[task](CONFIG)
        keras.config.set_dtype_policy("float32")
    if lora is not None:
        model.add_adapter(tfhf.LoraConfig(**lora))
    before = model.get_weights()
    with scope():
        loss = "auto" if loss is None else loss()
        model.compile(make_optimizer(), loss, metrics=["accuracy"], **kwargs)
    history = model.fit(data, epochs=2, verbose=0).history
    found = {
        "weights": model.get_weights(),
        "history": [history["loss"], *(history[name] for name in history if "accuracy" in name)],
    }
    if judge:
        found["scores"] = model.evaluate(data, verbose=0)
        ordered = tf.data.Dataset.from_tensor_slices(rows).batch(BATCH)
        found["predictions"] = list(model.predict(ordered, verbose=0).values())
    return found, before


class RowCounts(keras.metrics.Metric):
    """How far from once the rows were seen, at most; labels are the numbers of the rows."""

    def __init__(self, name="row_counts"):
        super().__init__(name=name)
        self.counts = self.add_weight(shape=(ROWS,), initializer="zeros", name="counts")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.counts.assign_add(tf.reduce_sum(tf.one_hot(tf.cast(y_true, tf.int32), ROWS), axis=0))

    def result(self):
        return tf.reduce_max(tf.abs(self.counts - 1))


def counts_of_rows(strategy):
    """The row counts of two epochs of a shuffled dataset without a seed, and of evaluation."""
    rows = tf.data.Dataset.range(ROWS)
    data = rows.shuffle(ROWS).map(lambda row: ([tf.cast(row, tf.float32)], row)).batch(BATCH)
    with strategy.scope():
        model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
        model.compile("sgd", "mae", metrics=[RowCounts()], steps_per_execution=2)
    history = model.fit(data, epochs=2, verbose=0, validation_data=data).history
    return history["row_counts"] + history["val_row_counts"]


def trained_by_trainer(strategy):
    """What Trainer logs, and the weights, of batches of 8 on however many devices."""
    per_device = BATCH // (strategy.num_replicas_in_sync if strategy else 1)
    args = tfhf.TrainingArguments(
        tempfile.mkdtemp(),
        max_steps=4,
        gradient_accumulation_steps=2,
        per_device_train_batch_size=per_device,
        per_device_eval_batch_size=per_device,
        learning_rate=0.01,
        max_grad_norm=0.3,
        adam_epsilon=1e-3,
        label_smoothing_factor=0.1,
        logging_steps=1,
        eval_strategy="steps",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    keras.utils.set_random_seed(1)
    with strategy.scope() if strategy else contextlib.nullcontext():
        model = MODELS["unmask"](CONFIG)
    before = model.get_weights()
    rows = datasets.Dataset.from_dict(rows_of("unmask"))
    trainer = tfhf.Trainer(model, args, train_dataset=rows, eval_dataset=rows)
    trainer.train()
    names = ("loss", "learning_rate", "grad_norm", "eval_loss", "train_loss")
    logged = [[logs[n] for n in names if n in logs] for logs in trainer.state.log_history]
    return {"weights": model.get_weights(), "history": logged}, before


def distance(some, others):
    return max(float(np.abs(np.subtract(a, b)).max()) for a, b in zip(some, others, strict=True))


def main(name, *cases):
    if name == "mirrored":
        cpu = tf.config.list_physical_devices("CPU")[0]
        devices = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, devices)
    strategy = make_strategy(name)
    assert strategy.num_replicas_in_sync == 2
    print(json.dumps({"case": "rows", "counts": counts_of_rows(strategy)}), flush=True)
    for case in cases or [*CASES, "trainer"]:
        # The workers first: a collective that is waited for for minutes fails.
        if case == "trainer":
            actual, _ = trained_by_trainer(strategy)
            expected, before = trained_by_trainer(None)
        else:
            task, optimizer, kwargs = CASES[case]
            actual, _ = train(strategy, task, optimizer, **kwargs)
            expected, before = train(None, task, optimizer, **kwargs)
        found = {what: distance(actual[what], expected[what]) for what in expected}
        moved = distance(expected["weights"], before)
        print(json.dumps({"case": case, **found, "moved": moved}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
