"""Tiny models and rows that the tests of training share."""

import datasets
import numpy as np
from transformers import BertConfig

import tfhf

TINY = {
    "vocab_size": 40,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "max_position_embeddings": 16,
}


def make_rows(count=22, seed=0):
    """Sentences of 1 to 6 tokens, whose label is whether they hold many of the high ids."""
    rng = np.random.default_rng(seed)
    ids = [rng.integers(4, 40, rng.integers(1, 7)) for _ in range(count)]
    return datasets.Dataset.from_dict(
        {
            "input_ids": [row.tolist() for row in ids],
            "attention_mask": [[1] * len(row) for row in ids],
            "labels": [int(row.mean() > 22) for row in ids],
        }
    )


def make_model(**config):
    return tfhf.TFBertForSequenceClassification(BertConfig(**TINY | config))


def pad(features, return_tensors="np"):
    """A data collator that needs no tokenizer."""
    width = max(len(row["input_ids"]) for row in features)
    batch = {"labels": np.array([row["labels"] for row in features])}
    for name in ("input_ids", "attention_mask"):
        batch[name] = np.array([[*row[name], *[0] * (width - len(row[name]))] for row in features])
    return batch


def make_trainer(folder, model=None, rows=None, eval_rows=None, callbacks=None, **args):
    """A Trainer of batches of 4 that logs every step and shows nothing."""
    settings = {
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "save_strategy": "no",
    }
    return tfhf.Trainer(
        model=model or make_model(),
        args=tfhf.TrainingArguments(str(folder), **settings | args),
        data_collator=pad,
        train_dataset=make_rows() if rows is None else rows,
        eval_dataset=eval_rows,
        callbacks=callbacks,
    )


def losses(trainer):
    """What was logged of training, by step."""
    return {logs["step"]: logs["loss"] for logs in trainer.state.log_history if "loss" in logs}
