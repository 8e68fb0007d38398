"""A training that something happens to: run by test_faults.py in each of two workers.

    python resumable.py FOLDER FAULT

trains with checkpoints in FOLDER, and writes the loss after each batch to losses-<worker>.jsonl.
At the seventh batch of the first run, the fault happens.
"""

import json
import os
import resource
import signal
import sys
from pathlib import Path

import datasets
import keras
import numpy as np
from transformers import BertConfig

import tfhf
from tfhf.training import checkpoints

FAULT_AT = 7
EPOCHS, ROWS, BATCH = 3, 19, 4  # 5 batches per epoch, of which the last has 3 rows


def happen(fault, worker, folder):
    """Let the fault happen to this worker."""
    killed = {"one worker is killed": [1], "all workers are killed": [0, 1]}
    if worker in killed.get(fault, []):
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault == "a worker is terminated" and worker == 1:
        os.kill(os.getpid(), signal.SIGTERM)
    elif fault == "the chief is killed while it saves" and worker == 0:
        checkpoints.save_file = kill_while_saving
    elif fault == "the disk is full" and worker == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    elif fault == "the newest checkpoint is damaged" and worker == 0:
        newest = Path(tfhf.get_last_checkpoint(folder))
        file = newest / "training_variables.safetensors"
        file.write_bytes(file.read_bytes()[:-100])
        (folder / "damaged").write_text(newest.name)
        os.kill(os.getpid(), signal.SIGKILL)


def kill_while_saving(arrays, path):
    """Write half of a file."""
    path.write_bytes(bytes(1000))
    (path.parent.parent / "killed-while-saving").write_text(str(path))
    os.kill(os.getpid(), signal.SIGKILL)


class Losses(keras.callbacks.Callback):
    """Note the loss after each batch, and call ``happen`` at the seventh."""

    def __init__(self, path, fault, worker):
        super().__init__()
        self.path, self.fault, self.worker = path, fault, worker

    def on_train_batch_end(self, batch, logs=None):
        step = int(self.model.optimizer.iterations.numpy())
        with self.path.open("a") as file:
            file.write(json.dumps([step, float(logs["loss"]), os.environ["TFHF_RESTARTS"]]) + "\n")
        if step == FAULT_AT and os.environ["TFHF_RESTARTS"] == "0":
            happen(self.fault, self.worker, self.path.parent)


def main(folder, fault):
    folder = Path(folder)
    worker = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    keras.utils.set_random_seed(0)
    strategy = tfhf.make_strategy()
    assert strategy.num_replicas_in_sync == 2
    random = np.random.default_rng(0)
    ids = [random.integers(1, 30, n).tolist() for n in random.integers(2, 9, ROWS)]
    rows = datasets.Dataset.from_dict({"input_ids": ids, "labels": [sum(row) % 2 for row in ids]})
    position = tfhf.DataPosition(seed=3)
    with strategy.scope():
        model = tfhf.TFBertForSequenceClassification(
            BertConfig(
                vocab_size=30,
                hidden_size=8,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=16,
                max_position_embeddings=16,
            )
        )
        optimizer, _ = tfhf.create_optimizer(0.01, 15, 3, adam_global_clipnorm=1.0)
        model.compile(optimizer)
    collator = tfhf.DataCollatorWithPadding(
        tfhf.AutoTokenizer.from_pretrained(folder / "tokenizer")
    )
    data = model.prepare_tf_dataset(
        rows, BATCH, collate_fn=collator, drop_remainder=False, position=position
    )
    saving = tfhf.TrainingCheckpoint(folder, position, save_strategy="steps", save_steps=2)
    losses = Losses(folder / f"losses-{worker}.jsonl", fault, worker)
    model.fit(data, epochs=EPOCHS, verbose=0, callbacks=[saving, losses])
    np.savez(folder / f"weights-{worker}.npz", *model.get_weights())


if __name__ == "__main__":
    main(*sys.argv[1:])
