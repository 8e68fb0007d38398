"""Model cards: what they say is known, and the Hub's library can read it."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from huggingface_hub import ModelCard
from transformers import BertConfig, EncoderDecoderConfig, GPT2Config, T5Config

import tfhf
from tfhf.hub.model_card import UNKNOWN, save_curves, save_model_card

SIZES = {"num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 2, "vocab_size": 9}
PAIR = EncoderDecoderConfig.from_encoder_decoder_configs(BertConfig(**SIZES), BertConfig(**SIZES))
HISTORY = {"loss": [0.7, 0.5], "val_loss": [0.8, 0.6], "val_accuracy": [0.5, 0.75]}
SECTIONS = [
    "Model description",
    "Intended uses & limitations",
    "How to use",
    "Limitations and bias",
    "Training data",
    "Training procedure",
    "Variables and metrics",
    "Training results",
    "Evaluation results",
]


@pytest.fixture(scope="module")
def model():
    return tfhf.TFBertForSequenceClassification(BertConfig(**SIZES))


def sections(card):
    parts = re.split(r"^## (.*)$", card.text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], map(str.strip, parts[2::2])))


def test_everything_known(hub, model, tmp_path):
    optimizer = tfhf.AdamWeightDecay(3e-5, weight_decay_rate=0.01)
    model.compile(optimizer)
    card = tfhf.create_model_card(
        model,
        "ada/moods",
        history=HISTORY,
        hyperparameters={"num_train_epochs": 2},
        language="en",
        license="apache-2.0",
        finetuned_from="bert-base-cased",
        tags="films",
        dataset=["glue"],
        dataset_args="mrpc",
        description="Tells moods.",
        intended_uses="Films.",
        limitations="Irony.",
        training_data="Reviews.",
    )
    save_model_card(card, tmp_path, HISTORY)
    read = ModelCard.load(tmp_path / "README.md")
    assert read.data.to_dict() == card.data.to_dict()
    read.validate()
    assert hub.requests == ["POST /api/validate-yaml"]
    known = read.data
    assert (known.library_name, known.pipeline_tag) == ("tfhf", "text-classification")
    assert (known.base_model, known.datasets, known.metrics) == (
        "bert-base-cased",
        ["glue"],
        ["accuracy"],
    )
    (result,) = known.eval_results
    assert (result.metric_type, result.metric_value) == ("accuracy", 0.75)
    assert (result.dataset_type, result.dataset_config) == ("glue", "mrpc")
    said = sections(read)
    assert list(said) == SECTIONS
    assert UNKNOWN not in read.text
    assert f"{model.num_parameters():,} parameters" in said["Model description"]
    assert "- optimizer: AdamWeightDecay" in said["Training procedure"]
    assert "- learning_rate: 3e-05" in said["Training procedure"]
    assert "- beta_1: 0.9" in said["Training procedure"]
    assert "- amsgrad: false" in said["Training procedure"]
    assert "- num_train_epochs: 2" in said["Training procedure"]
    assert "| 2 | 0.5 | 0.6 | 0.75 |" in said["Training results"]
    assert said["Evaluation results"] == "- loss: 0.6\n- accuracy: 0.75"
    assert (tmp_path / "training_curves.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_known(tmp_path):
    model = tfhf.TFBertModel(BertConfig(**SIZES))
    card = tfhf.create_model_card(model, "body")
    said = sections(card)
    unknown = [name for name, text in said.items() if text == UNKNOWN]
    assert unknown == [
        "Intended uses & limitations",
        "Limitations and bias",
        "Training data",
        "Variables and metrics",
        "Training results",
        "Evaluation results",
    ]
    assert said["Training procedure"] == "- training_precision: float32"
    assert card.data.to_dict() == {
        "model_name": "body",
        "library_name": "tfhf",
        "pipeline_tag": "feature-extraction",
    }
    save_model_card(card, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


@pytest.mark.parametrize(
    ("name", "config", "task"),
    [
        ("TFGPT2LMHeadModel", GPT2Config(n_layer=1, n_embd=8, n_head=2), "text-generation"),
        ("TFBertForQuestionAnswering", BertConfig(**SIZES), "question-answering"),
        ("TFBertForMaskedLM", BertConfig(**SIZES), "fill-mask"),
        ("TFBertForTokenClassification", BertConfig(**SIZES), "token-classification"),
        ("TFBertForMultipleChoice", BertConfig(**SIZES), "multiple-choice"),
        ("TFBertForNextSentencePrediction", BertConfig(**SIZES), None),
        ("TFGPT2DoubleHeadsModel", GPT2Config(n_layer=1, n_embd=8, n_head=2), None),
        ("TFEncoderDecoderModel", PAIR, None),
        ("TFT5ForConditionalGeneration", T5Config(num_layers=1, d_model=8, d_ff=8), None),
    ],
)
def test_task_and_usage(name, config, task):
    model = getattr(tfhf, name)(config)
    card = tfhf.create_model_card(model, "ada/model")
    assert card.data.pipeline_tag == task
    code = sections(card)["How to use"].removeprefix("```python").removesuffix("```")
    compile(code, "card", "exec")
    if task and task != "multiple-choice":
        assert f'pipeline("{task}", model="ada/model")' in code
    else:
        assert f'tfhf.{name}.from_pretrained("ada/model")' in code


def test_usage_runs(model, tmp_path, monkeypatch):
    from transformers import BertTokenizerFast

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "text", "of"]
    folder = tmp_path / "moods"
    model.save_pretrained(folder)
    BertTokenizerFast(vocab={word: i for i, word in enumerate(vocabulary)}).save_pretrained(folder)
    monkeypatch.chdir(tmp_path)
    code = sections(tfhf.create_model_card(model, "moods"))["How to use"]
    code = code.removeprefix("```python").removesuffix("```").replace("\npipe(", "\nanswer = pipe(")
    names = {}
    exec(code, names)
    assert names["answer"][0]["label"] in model.config.id2label.values()


def test_history_of_fit(model):
    model.compile(tfhf.AdamWeightDecay(1e-3))
    data = {"input_ids": tf.ones([4, 3], tf.int32), "labels": tf.zeros([4], tf.int32)}
    history = model.fit(data, verbose=0, epochs=2).history
    card = tfhf.create_model_card(model, "moods", history=history)
    assert f"- loss: {history['loss'][-1]:.6g}" in sections(card)["Evaluation results"]


def test_times_and_what_is_no_number_are_no_metrics(model):
    """`Trainer.evaluate` tells times as well; seqeval's metrics are nested."""
    evaluation = {
        "eval_loss": 0.5,
        "eval_f1": np.float32(0.75),
        "eval_PER": {"f1": 0.5},
        "eval_note": "fine",
        "eval_runtime": 1.5,
        "eval_samples_per_second": 9.0,
        "eval_steps_per_second": 3.0,
        "epoch": 2.0,
    }
    history = {name.replace("eval_", "val_"): [value] for name, value in evaluation.items()}
    for known in ({"evaluation": evaluation}, {"history": history}):
        card = tfhf.create_model_card(model, "moods", dataset="glue", **known)
        assert card.data.metrics == ["f1"]
        assert [result.metric_type for result in card.data.eval_results] == ["f1"]
        assert sections(card)["Evaluation results"] == "- loss: 0.5\n- f1: 0.75"
        assert "runtime" not in card.text


def test_metrics_of_some_epochs(model, tmp_path):
    """Keras does not say which epochs `validation_freq` is for; None says it."""
    kept = {"loss": [0.7, 0.5, 0.4], "val_loss": [None, 0.6, None]}
    fewer = {"loss": [0.7, 0.5, 0.4], "val_loss": [0.6], "val_f1": []}
    said = [sections(tfhf.create_model_card(model, "m", history=each)) for each in (kept, fewer)]
    whole, listed = (each["Training results"] for each in said)
    assert "| 1 | 0.7 |  |\n| 2 | 0.5 | 0.6 |\n| 3 | 0.4 |  |" in whole
    assert "| 3 | 0.4 |\n\nval_loss, of some epochs: 0.6\n" in listed
    for each, history in zip(said, (kept, fewer)):
        assert each["Evaluation results"] == "- loss: 0.6"
        save_curves(history, tmp_path / "curves.png")
        assert (tmp_path / "curves.png").stat().st_size


@pytest.mark.parametrize("history", [{}, {"loss": []}, {"loss": [None]}, {"note": ["fine"]}])
def test_a_history_of_nothing(history, model, tmp_path):
    card = tfhf.create_model_card(model, "moods", history=history)
    assert sections(card)["Training results"] == sections(card)["Evaluation results"] == UNKNOWN
    save_model_card(card, tmp_path, history)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def test_without_matplotlib_there_is_no_picture(model, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    card = tfhf.create_model_card(model, "moods", history=HISTORY)
    save_model_card(card, tmp_path, HISTORY)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    assert "| 1 | " in card.text and "training_curves" not in card.text


def test_zeros_are_hyper_parameters(model):
    model.compile(keras.optimizers.SGD(1e-3, momentum=0.0))
    said = sections(tfhf.create_model_card(model, "moods"))["Training procedure"]
    assert "- momentum: 0" in said.splitlines()
