"""The README lists the models that there are."""

import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).parents[2] / "tools/model_table"


def test_the_readme_is_up_to_date():
    run = subprocess.run([sys.executable, TOOL, "--check"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
