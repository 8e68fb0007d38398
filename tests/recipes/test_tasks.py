"""The recipes of single tasks, as a person runs them: in small, or in full among the slow tests."""

import re
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from question_answering import best_answers
from small_demo import write_demo

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    write_demo(folder, {"train": 160, "validation": 20, "test": 30})
    return folder


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """A function that runs a recipe in an empty folder and returns what it prints."""
    monkeypatch.chdir(tmp_path)

    def run(name, *options):
        monkeypatch.setattr(sys, "argv", [name, *options])
        runpy.run_path(str(RECIPES / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    return run


def number(pattern, output):
    """The number behind a pattern in what a recipe printed."""
    return float(re.search(pattern + r"\s*([\d.]+)", output)[1])


@pytest.fixture
def reviews(cache, monkeypatch, tmp_path):
    monkeypatch.setenv("TFHF_CACHE", str(cache))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))


def test_a_window_without_an_answer():
    """In the first, the 20 best ends are all before the 20 best starts."""
    length = 60
    up = np.arange(length, dtype="float32")
    chosen = np.where(up == 3, 9.0, 0.0)
    outputs = SimpleNamespace(
        start_logits=np.stack([up, chosen, up]), end_logits=np.stack([-up, chosen, -up])
    )
    offsets = [[i, i + 1] for i in range(length)]
    asked = {"id": ["q", "q", "none"], "offset_mapping": [offsets] * 3}
    rows = {"id": ["q", "none"], "context": ["abcdef" * 10] * 2}
    assert best_answers(outputs, asked, rows, n_best=20) == {"q": "d", "none": ""}


def test_new_tokenizer(run):
    output = run("new_tokenizer", "--files=20", "--vocab-size=500")
    line = "def read_lines(self, file_name: str) -> list[str]:"
    marks = {"wordpiece": ("##", ""), "bpe": ("Ġ", " "), "unigram": ("▁", " ")}
    for name, (mark, space) in marks.items():
        count, tokens = re.search(rf"{name} +([\d.]+) tokens a line: (.*)", output).groups()
        # A line has 37 letters in the mean, and these few words are learnt from ten files.
        assert 5 < float(count) < 25 and len(tokens.split()) < len(line) * 0.7
        written = "".join(tokens.split()).replace(mark, space).strip()
        assert written == (line if space else line.replace(" ", ""))


@pytest.mark.usefixtures("reviews")
def test_glue(run):
    options = ["--per_device_train_batch_size=16", "--learning_rate=0.002", "--disable_tqdm"]
    output = run("glue", *options, "--num_train_epochs=6")
    assert number("test_accuracy +=", output) > 0.9


@pytest.mark.usefixtures("reviews")
def test_lora(run):
    output = run("lora", "--epochs=5", "--learning-rate=0.02", "--batch-size=16")
    accuracy, merged = re.search(r"accuracy +([\d.]+), loaded and merged ([\d.]+)", output).groups()
    assert accuracy == merged
    assert float(accuracy) > 0.9
    assert {path.name for path in Path("runs/movie-sentiment-lora").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }


@pytest.mark.usefixtures("reviews")
def test_sentence_embeddings(run):
    options = ["a good film.", "--sentences=50", "--steps=20", "--learning-rate=0.01"]
    output = run("sentence_embeddings", *options)
    after = float(re.search(r"before, ([\d.]+) after", output)[1])
    assert after > 0.9


@pytest.mark.slow
@pytest.mark.usefixtures("reviews")
def test_distillation(run):
    output = run("distillation", "--epochs=8", "--learning-rate=0.005", "--batch-size=16")
    assert number("student taught +accuracy", output) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "pattern", "expected"),
    [
        ("token_classification", "F1", 0.97),
        ("question_answering", "exact match", 95),
        ("multiple_choice", "accuracy", 0.95),
    ],
)
def test_in_full(run, recipe, pattern, expected):
    assert number(pattern, run(recipe)) >= expected
    (checkpoint,) = Path("runs").iterdir()
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {
        path.name for path in checkpoint.iterdir()
    }
