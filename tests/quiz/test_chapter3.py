"""The quiz of the course's chapter 3, fine-tuning: what can be answered by running code."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from datasets import Dataset
from golden import FIXTURES, load

import tfhf

ROWS = {
    "text": [f"{'very ' * (i % 4)}{('dull', 'funny')[i % 2]} film" for i in range(12)],
    "label": [i % 2 for i in range(12)],
}


@pytest.fixture(scope="module")
def tokenizer():
    return load("text-classification", "bert")[1]


@pytest.fixture(scope="module")
def rows(tokenizer):
    """Tokenized rows, of different lengths."""
    return Dataset.from_dict(ROWS).map(lambda row: tokenizer(row["text"]), batched=True)


@pytest.fixture(scope="module")
def model():
    return tfhf.TFAutoModelForSequenceClassification.from_pretrained(
        FIXTURES / "feature-extraction/bert", num_labels=2
    )


def test_pairs_for_bert(tokenizer):
    """How does BERT want two sentences? As [CLS] first [SEP] second [SEP], and types 0 and 1."""
    pair = tokenizer("a film", "a cat")
    first, second = (tokenizer.tokenize(text) for text in ("a film", "a cat"))
    tokens = tokenizer.convert_ids_to_tokens(pair["input_ids"])
    assert tokens == ["[CLS]", *first, "[SEP]", *second, "[SEP]"]
    assert pair["token_type_ids"] == [0] * (len(first) + 2) + [1] * (len(second) + 1)


def test_map_keeps_its_results_on_disk(tokenizer, tmp_path):
    """What is ``map`` good for? Results are kept and used again, and need not fit into memory."""
    path = tmp_path / "rows.csv"
    Dataset.from_dict(ROWS).to_csv(path)
    data = Dataset.from_csv(str(path), cache_dir=str(tmp_path))
    calls = []

    def tokenize(batch):
        calls.append(len(batch["text"]))
        return tokenizer(batch["text"])

    options = {"batched": True, "new_fingerprint": "tokenized"}
    mapped = data.map(tokenize, **options)
    assert calls == [12]  # all at once: that is what makes batches fast
    assert data.map(tokenize, **options)[:] == mapped[:]
    assert calls == [12]
    assert [file for file in mapped.cache_files if str(tmp_path) in file["filename"]]


def test_dynamic_padding(tokenizer, rows, model):
    """What is padded dynamically? Each batch, when it is made, to its own longest row."""
    batches = model.prepare_tf_dataset(rows, 3, shuffle=False, tokenizer=tokenizer)
    longest = [max(map(len, rows["input_ids"][i : i + 3])) for i in range(0, 12, 3)]
    assert len(set(longest)) > 1
    assert [inputs["input_ids"].shape[1] for inputs, _ in batches] == longest


def test_what_a_collator_does(tokenizer, rows):
    """What is a collator for? It makes one batch of several rows."""
    columns = [*tokenizer.model_input_names, "label"]
    samples = [{name: rows[i][name] for name in columns} for i in range(4)]
    batch = tfhf.DataCollatorWithPadding(tokenizer)(samples)
    assert batch["labels"].numpy().tolist() == [0, 1, 0, 1]
    for i, sample in enumerate(samples):
        mask = batch["attention_mask"][i] == 1
        assert batch["input_ids"][i][mask].numpy().tolist() == sample["input_ids"]


def test_a_body_under_another_head(caplog):
    """What comes of a checkpoint under another task's head? A new head, the old dropped; a warning.

    The checkpoint fills masks, and is to classify.
    """
    folder = FIXTURES / "fill-mask/bert"
    with caplog.at_level("WARNING"):
        model, info = tfhf.TFAutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=2, output_loading_info=True
        )
    assert {"classifier.weight", "classifier.bias"} <= set(info["missing_keys"])
    assert all(name.startswith("cls.") for name in info["unexpected_keys"])
    assert info["unexpected_keys"]
    assert "Train the model before you use it" in caplog.text
    tokens = load("fill-mask", "bert")[1]("a film", return_tensors="tf")
    assert model(tokens).logits.shape == (1, 2)


def test_models_are_keras_models(tokenizer, rows, model):
    """What do TensorFlow's models have from being Keras models? compile, fit, evaluate, predict.

    They bring a loss of their own, which labels among the inputs are enough for.
    """
    assert isinstance(model, keras.Model)
    batches = model.prepare_tf_dataset(rows, 4, shuffle=False, tokenizer=tokenizer)
    model.compile(keras.optimizers.SGD(0.01))
    history = model.fit(batches, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    predictions = model.predict(batches, verbose=0)
    assert predictions.logits.shape == (12, 2)


class Wrong(keras.metrics.Metric):
    """The number of wrong answers."""

    def __init__(self):
        super().__init__(name="wrong")
        self.count = self.add_variable((), "zeros", name="count")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Count those of a batch."""
        answers = tf.argmax(y_pred, axis=-1)
        wrong = tf.cast(y_true, tf.int64) != answers
        self.count.assign_add(tf.reduce_sum(tf.cast(wrong, tf.float32)))

    def result(self):
        """Return the count."""
        return self.count


def share_wrong(y_true, y_pred):
    """Return for each row whether it is wrong."""
    return tf.cast(tf.cast(y_true, tf.int64) != tf.argmax(y_pred, axis=-1), tf.float32)


def test_metrics_of_ones_own(tokenizer, rows, model):
    """How is a metric made? As a Metric of Keras, or as a function of labels and predictions."""
    batches = model.prepare_tf_dataset(rows, 4, shuffle=False, tokenizer=tokenizer)
    model.compile(metrics=[Wrong(), share_wrong])
    found = model.evaluate(batches, return_dict=True, verbose=0)
    logits = model(tokenizer(ROWS["text"], padding=True, return_tensors="tf")).logits
    wrong = np.argmax(logits, axis=-1) != ROWS["label"]
    assert found["wrong"] == wrong.sum()
    assert found["share_wrong"] == pytest.approx(wrong.mean())


def test_training_arguments(tokenizer, rows, model, tmp_path):
    """What are ``TrainingArguments``? All that a training is told, which its Trainer follows.

    Its metrics come of predictions by ``compute_metrics``, and of rows to evaluate on.
    """
    args = tfhf.TrainingArguments(
        str(tmp_path),
        num_train_epochs=2,
        per_device_train_batch_size=5,
        learning_rate=1e-3,
        lr_scheduler_type="constant",
        logging_steps=1,
        eval_strategy="epoch",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = tfhf.Trainer(
        model,
        args,
        train_dataset=rows,
        eval_dataset=rows,
        processing_class=tokenizer,
        compute_metrics=lambda found: {
            "right": np.mean(found.predictions.argmax(-1) == found.label_ids)
        },
    )
    trainer.train()
    assert trainer.state.global_step == 2 * 3  # 12 rows are three batches of at most 5
    rates = [log["learning_rate"] for log in trainer.state.log_history if "learning_rate" in log]
    np.testing.assert_allclose(rates, [1e-3] * 6)
    measured = [log for log in trainer.state.log_history if "eval_right" in log]
    assert [log["epoch"] for log in measured] == [1, 2]


def test_dropout_is_for_training(tokenizer, model):
    """What differs between training and evaluation? Dropout, which only training has."""
    tokens = tokenizer("funny film", return_tensors="tf")
    np.testing.assert_array_equal(model(tokens).logits, model(tokens).logits)
    first, second = (model(tokens, training=True).logits for _ in range(2))
    assert np.abs(first - second).max() > 1e-4


def test_decoupled_weight_decay():
    """What has AdamW that Adam lacks? Weights decay by themselves, whatever their gradients are."""
    after = {}
    for kind in (keras.optimizers.Adam, keras.optimizers.AdamW):
        weight = keras.Variable([2.0])
        kind(0.1).apply([tf.constant([0.0])], [weight])
        after[kind.__name__] = float(weight[0])
    assert after["Adam"] == 2
    assert after["AdamW"] == pytest.approx(2 * (1 - 0.1 * 0.004))
