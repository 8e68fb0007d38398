"""Each fault of Keras that tfhf.training.strategy repairs: there in stock Keras, not in ours.

Where the first fails, Keras has become better: take the repair out.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("keras_faults.py")
WORKERS = "import sys, tfhf.training.launch as l; sys.exit(l.launch(sys.argv[1], sys.argv[2:], 2))"
FAULTS = (
    "clipnorm",
    "global_clipnorm",
    "clipvalue",
    "uneven last batch",
    "uneven first batch",
    "repeated rows",
    "dropout",
    "infinite gradients",
    "first batch",
    "accumulation",
    "ema overwrite",
    "steps_per_execution",
    "jit_compile",
    "several workers",
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["stock", "repaired"])
def keras_and_its_faults(request):
    """Which Keras, and for each fault whether it shows."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    found = {}
    for name, command in (
        ("mirrored", [sys.executable, SCRIPT]),
        ("multi_worker", [sys.executable, "-c", WORKERS, SCRIPT]),
    ):
        done = subprocess.run(
            [*command, request.param, name], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        line = next(line for line in done.stdout.splitlines() if '{"case"' in line)
        found |= json.loads(line[line.index("{") :])["found"]
    return request.param, found


@pytest.mark.parametrize("fault", FAULTS)
def test_fault(keras_and_its_faults, fault):
    which, found = keras_and_its_faults
    if which == "stock":
        assert found[fault], "stock Keras does this right by now: take out its repair"
    else:
        assert found[fault] is False


def test_there_is_a_test_for_each(keras_and_its_faults):
    assert sorted(keras_and_its_faults[1]) == sorted(FAULTS)
