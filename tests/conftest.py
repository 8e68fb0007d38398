"""What every test shares: its environment, its seeds, and the demo's checkpoint and sentences."""

import os

# Read when TensorFlow, PyTorch and the Hub's library are imported, so set before they are. One
# thread per process: pytest-xdist runs two of them.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

import importlib.util
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
HAS_TORCH = importlib.util.find_spec("torch") is not None


def pytest_configure():
    """Fail where the comparisons with PyTorch were asked for and cannot run."""
    if os.environ.get("TFHF_REQUIRE_ORACLE") and not HAS_TORCH:
        raise pytest.UsageError("PyTorch is not installed: run ./tools/test --oracle")


def pytest_collection_modifyitems(config, items):
    """Leave out the comparisons with PyTorch where that is absent."""
    if not HAS_TORCH:
        oracle = [item for item in items if item.get_closest_marker("oracle")]
        config.hook.pytest_deselected(items=oracle)
        items[:] = [item for item in items if item not in oracle]


@pytest.fixture(autouse=True)
def seeds():
    """Start every test from the same random state, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)
    if keras := sys.modules.get("keras"):
        keras.utils.set_random_seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture(scope="session")
def demo_data():
    """The two folders that tools/demo_data fetches; without them, the tests are skipped."""
    run = subprocess.run([sys.executable, ROOT / "tools/demo_data"], capture_output=True, text=True)
    if run.returncode:
        pytest.skip(run.stderr)
    return [Path(line) for line in run.stdout.splitlines()]


@pytest.fixture(scope="session")
def minilm_folder(demo_data):
    """A real checkpoint: all-MiniLM-L6-v2, a BERT of 6 layers, 384 wide."""
    return demo_data[0]


@pytest.fixture(scope="session")
def movie_reviews(demo_data):
    """The folder of real labelled sentences: train.jsonl, validation.jsonl and test.jsonl."""
    return demo_data[1]


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hub of this process, which huggingface_hub's own client asks in place of the real one."""
    import huggingface_hub
    from hub_server import running_hub

    with running_hub() as hub:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.url)
        address = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
        # The client of Transformers, which keeps the address of the first Hub that it asks.
        monkeypatch.setattr("transformers.utils.hub._hf_api", None)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        yield hub


@pytest.fixture(scope="session")
def program():
    """What asks SavedModels without Python."""
    if not (os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")):
        pytest.skip("there is no C compiler")
    from saved_model_program import SavedModelProgram  # imports TensorFlow

    return SavedModelProgram()
