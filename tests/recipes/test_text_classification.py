"""The whole recipe as a person runs it, on a tiny random BERT and a task that it can learn."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import text_classification
from safetensors.numpy import load_file
from small_demo import write_demo
from transformers import AutoTokenizer

RECIPE = Path(__file__).parents[2] / "recipes/text_classification.py"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder in which the recipe ran, and what it printed."""
    folder = tmp_path_factory.mktemp("recipe")
    write_demo(folder / "cache", {"train": 160, "validation": 20, "test": 30})
    options = ["--epochs=5", "--learning-rate=0.005", "--batch-size=16", "--text=a very bad film."]
    run = subprocess.run(
        [sys.executable, RECIPE, *options],
        cwd=folder,
        env=os.environ | {"TFHF_CACHE": str(folder / "cache"), "HF_HOME": str(folder / "hf")},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return folder, run.stdout


def test_a_name_may_have_a_slash_and_a_configuration(monkeypatch):
    monkeypatch.setattr(text_classification, "load_dataset", lambda *names: names)
    for names in (["stanfordnlp/imdb"], ["glue", "mrpc"]):
        assert text_classification.load_sentences(names) == tuple(names)


def printed_answer(output):
    label, score = re.search(
        r"^answer +(\w+) \(([\d.]+)\): a very bad film\.$", output, re.M
    ).groups()
    return label, float(score)


def test_it_learns_and_says_so(finished):
    _, output = finished
    assert "test accuracy  1.000 on 30 sentences" in output
    assert printed_answer(output)[0] == "negative"


def test_it_leaves_a_checkpoint_with_its_tokenizer(finished):
    checkpoint = finished[0] / "runs/movie-sentiment"
    config = json.loads((checkpoint / "config.json").read_text())
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert config["id2label"] == {"0": "negative", "1": "positive"}
    assert load_file(checkpoint / "model.safetensors")["classifier.weight"].shape == (2, 32)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    assert tokenizer("a good film.").input_ids == [2, 5, 7, 9, 10, 3]


def test_it_leaves_a_servable_model_and_curves(finished):
    version = finished[0] / "saved_models/movie-sentiment/1"
    assert (version / "saved_model.pb").is_file()
    assert (version / "assets.extra/tf_serving_warmup_requests").is_file()
    assert str(Path("saved_models/movie-sentiment/1")) in finished[1]
    logs = finished[0] / "runs/movie-sentiment/logs"
    assert list(logs.glob("train/events*")) and list(logs.glob("validation/events*"))


@pytest.mark.oracle
def test_pytorch_gives_the_same_answer(finished):
    import torch
    from transformers import AutoModelForSequenceClassification

    checkpoint = finished[0] / "runs/movie-sentiment"
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint)
    tokens = AutoTokenizer.from_pretrained(checkpoint)("a very bad film.", return_tensors="pt")
    with torch.no_grad():
        scores = model(**tokens).logits.softmax(-1)[0]
    label, score = printed_answer(finished[1])
    assert model.config.id2label[int(scores.argmax())] == label
    assert float(scores.max()) == pytest.approx(score, abs=6e-4)  # three digits are printed
