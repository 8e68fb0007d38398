"""Fifty steps of Trainer are those of PyTorch: losses and weights."""

import keras
import numpy as np
import pytest
import transformers
from safetensors.numpy import load_file
from transformers import BertConfig, GPT2Config, T5Config

import tfhf

STEPS, ACCUMULATED, WARM_UP, DECAY, RATE, EPSILON = 50, 2, 10, 0.1, 2e-3, 1e-6

CASES = {
    "BertForSequenceClassification": BertConfig(
        vocab_size=60,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=16,
        num_labels=3,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    ),
    "GPT2LMHeadModel": GPT2Config(
        vocab_size=60,
        n_embd=16,
        n_layer=2,
        n_head=2,
        n_positions=16,
        bos_token_id=1,
        eos_token_id=1,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    ),
    "T5ForConditionalGeneration": T5Config(
        vocab_size=60,
        d_model=16,
        d_kv=8,
        d_ff=24,
        num_layers=2,
        num_heads=2,
        decoder_start_token_id=0,
        dropout_rate=0.0,
    ),
}


def make_batches(name, rng, count=27, size=4):
    """Batches of different lengths, with padding and ignored labels, as lists of rows."""
    batches = []
    for _ in range(count):
        length = int(rng.integers(3, 9))
        ids = rng.integers(2, 60, (size, length))
        mask = (np.arange(length) < rng.integers(2, length + 1, (size, 1))).astype(np.int64)
        labels = np.where(mask == 1, ids, -100)
        if name.startswith("Bert"):
            labels = rng.integers(0, 3, size)
        elif name.startswith("T5"):
            labels = np.where(rng.random((size, 5)) < 0.2, -100, rng.integers(2, 60, (size, 5)))
        batches.append({"input_ids": ids, "attention_mask": mask, "labels": labels})
    return batches


class Losses(keras.callbacks.Callback):
    """The loss of each batch: what Keras's running sum gains."""

    def on_train_begin(self, logs=None):
        self.values = []

    def on_epoch_begin(self, epoch, logs=None):
        self._total = 0.0

    def on_train_batch_end(self, batch, logs=None):
        total = float(self.model.metrics[0].total)
        self.values.append((total - self._total) / 4)
        self._total = total


def train_with_torch(folder, name, batches):
    """Do what ``transformers.Trainer`` does: its groups of parameters, schedule and clipping."""
    import torch
    from transformers.optimization import get_scheduler

    model = getattr(transformers, name).from_pretrained(folder).train()
    undecayed = [n for n, _ in model.named_parameters() if "bias" in n or "norm" in n.lower()]
    undecayed += [n for n, _ in model.named_parameters() if ".ln_" in n]
    groups = [
        {"params": [p for n, p in model.named_parameters() if n not in undecayed]},
        {"params": [p for n, p in model.named_parameters() if n in undecayed], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE, eps=EPSILON, weight_decay=DECAY)
    schedule = get_scheduler("linear", optimizer, WARM_UP, STEPS)
    losses = []
    for i in range(STEPS * ACCUMULATED):
        batch = {n: torch.tensor(v) for n, v in batches[i % len(batches)].items()}
        loss = model(**batch).loss
        losses.append(loss.item())
        (loss / ACCUMULATED).backward()
        if (i + 1) % ACCUMULATED == 0:
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    return losses, {n: p.detach().numpy() for n, p in model.state_dict().items()}


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_fifty_steps_are_those_of_pytorch(name, tmp_path):
    import tensorflow as tf

    model = getattr(tfhf, f"TF{name}")(CASES[name])
    model.save_pretrained(tmp_path / "start")
    batches = make_batches(name, np.random.default_rng(4))
    spec = {n: tf.TensorSpec([4, *[None] * (v.ndim - 1)], tf.int64) for n, v in batches[0].items()}
    data = tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=spec)
    data = data.apply(tf.data.experimental.assert_cardinality(len(batches)))
    args = tfhf.TrainingArguments(
        str(tmp_path),
        max_steps=STEPS,
        gradient_accumulation_steps=ACCUMULATED,
        warmup_steps=WARM_UP,
        learning_rate=RATE,
        weight_decay=DECAY,
        # Key biases have no gradient but of rounding, and AdamW would make steps of its sign.
        adam_epsilon=EPSILON,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    losses = Losses()
    trainer = tfhf.Trainer(model, args, train_dataset=data, callbacks=[losses])
    assert trainer.train().global_step == STEPS
    trainer.save_model(tmp_path / "end")

    expected, weights = train_with_torch(tmp_path / "start", name, batches)
    assert np.mean(expected[-27:]) < np.mean(expected[:27]) - 0.01  # it learned something
    np.testing.assert_allclose(losses.values, expected, rtol=0, atol=1e-4)
    for tensor, value in load_file(tmp_path / "end/model.safetensors").items():
        np.testing.assert_allclose(value, weights[tensor], rtol=0, atol=1e-4, err_msg=tensor)
