"""Whatever happens to two workers, ``launch`` resumes, and the loss curve is the uninterrupted one.

The loss depends on the order of the rows and on dropout.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from transformers import BertTokenizer

SCRIPT = Path(__file__).with_name("resumable.py")
LAUNCH = (
    "import sys, tfhf.training.launch as l;"
    "sys.exit(l.launch(sys.argv[1], sys.argv[2:], 2, max_restarts=1))"
)
BATCHES = 15

pytestmark = pytest.mark.slow


def start(folder, fault="none"):
    """Start two workers, whose output goes to a file."""
    folder.mkdir(exist_ok=True)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = BertTokenizer(vocab={token: i for i, token in enumerate(special)})
    tokenizer.save_pretrained(folder / "tokenizer")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with (folder / "output.txt").open("a") as output:
        return subprocess.Popen(
            [sys.executable, "-c", LAUNCH, SCRIPT, folder, fault],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def read_losses(folder):
    """Return the loss after each batch, which is the same each time the batch was done."""
    losses = {}
    for worker in (0, 1):
        for line in (folder / f"losses-{worker}.jsonl").read_text().splitlines():
            step, loss, _ = json.loads(line)
            assert losses.setdefault(step, loss) == pytest.approx(loss, abs=1e-6), (worker, step)
    return [losses[step] for step in sorted(losses)]


def read_weights(folder):
    return [dict(np.load(folder / f"weights-{worker}.npz")) for worker in (0, 1)]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The folder of a training to which nothing happened."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    assert start(folder).wait() == 0, (folder / "output.txt").read_text()[-3000:]
    losses = read_losses(folder)
    assert len(losses) == BATCHES and len({round(loss, 4) for loss in losses}) > BATCHES // 2
    return folder


def assert_same(folder, uninterrupted):
    assert read_losses(folder) == pytest.approx(read_losses(uninterrupted), abs=1e-6)
    for actual, expected in zip(read_weights(folder), read_weights(uninterrupted)):
        for name in expected:
            np.testing.assert_allclose(actual[name], expected[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "fault",
    [
        "one worker is killed",
        "all workers are killed",
        "a worker is terminated",
        "the chief is killed while it saves",
        "the disk is full",
        "the newest checkpoint is damaged",
    ],
)
def test_training_goes_on(uninterrupted, tmp_path, fault):
    code = start(tmp_path, fault).wait()
    output = (tmp_path / "output.txt").read_text()
    assert code == 0, output[-3000:]
    assert "starting all again" in output
    lines = (tmp_path / "losses-0.jsonl").read_text().splitlines()
    resumed_at = next(step for step, _, run in map(json.loads, lines) if run == "1")
    expected = 5 if fault == "the newest checkpoint is damaged" else 7
    assert resumed_at == expected, "not resumed from the newest whole checkpoint"
    assert (tmp_path / "killed-while-saving").exists() == (
        fault == "the chief is killed while it saves"
    )
    assert_same(tmp_path, uninterrupted)


def test_a_launch_that_was_terminated_goes_on_when_it_is_repeated(uninterrupted, tmp_path):
    first = start(tmp_path)
    losses = tmp_path / "losses-0.jsonl"
    while first.poll() is None and (
        not losses.exists() or len(losses.read_text().splitlines()) < 7
    ):
        time.sleep(0.01)
    first.send_signal(signal.SIGTERM)
    assert first.wait() == 128 + signal.SIGTERM
    assert not (tmp_path / "weights-0.npz").exists()
    assert start(tmp_path).wait() == 0, (tmp_path / "output.txt").read_text()
    assert_same(tmp_path, uninterrupted)
