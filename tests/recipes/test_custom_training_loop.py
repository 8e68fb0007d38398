"""The recipe on a tiny random BERT and a task that it can learn, alone and under strategies."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from small_demo import write_demo

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes/custom_training_loop.py"
LAUNCH = "import sys, tfhf.training.launch as l; sys.exit(l.launch(sys.argv[1], sys.argv[2:], 2))"
OPTIONS = ["--epochs=5", "--learning-rate=0.005", "--batch-size=16"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with what the recipe would fetch."""
    folder = tmp_path_factory.mktemp("recipe")
    sizes = {"train": 160, "validation": 21, "test": 31}
    write_demo(folder, sizes, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    return folder


def run(folder, *command):
    """Run the recipe, and return the accuracies and the last loss that it printed.

    Of the losses before, the progress bar shows those of certain moments.
    """
    variables = {"TFHF_CACHE": str(folder), "HF_HOME": str(folder / "hf"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *command, *OPTIONS],
        cwd=folder,
        env=os.environ | variables,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test accuracy" in done.stdout
    accuracies = re.findall(r"accuracy +([\d.]+)", done.stdout)
    return accuracies, re.findall(r"loss: ([\d.e-]+)", done.stdout)[-1]


@pytest.mark.slow
def test_it_learns(folder):
    accuracies, _ = run(folder, RECIPE)
    assert accuracies[-1] == "1.000" and len(accuracies) == 6


@pytest.mark.slow
def test_strategies_change_nothing(folder):
    alone = run(folder, RECIPE)
    assert run(folder, RECIPE, "--strategy=mirrored") == alone
    accuracies, loss = run(folder, "-c", LAUNCH, RECIPE, "--strategy=multi_worker")
    assert sorted(accuracies) == sorted(2 * alone[0])  # both workers say so
    assert loss == alone[1]
