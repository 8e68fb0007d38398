"""Where contestants run: tfhf in this Python, each peer in a virtual environment of its own."""

import os
import subprocess
import sys
import venv
from dataclasses import dataclass, field
from pathlib import Path

CACHE = Path(os.environ.get("TFHF_CACHE") or Path.home() / ".cache/tfhf/benchmark")


@dataclass(frozen=True)
class Environment:
    """A Python, and the module that runs in it as a worker."""

    worker: str
    python: str = sys.executable
    variables: dict[str, str] = field(default_factory=dict)
    error: str | None = None


QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "HF_HUB_OFFLINE": "1"}
OURS = {
    "tfhf": Environment("benchmarks.workers.tfhf_worker", variables=QUIET),
    "machine": Environment("benchmarks.workers.machine_worker"),
}
TENSORFLOW = ("tensorflow==2.21.*", "datasets>=4")
PEERS = {
    "torch": (
        (
            "torch==2.13.0",
            "transformers>=5,<6",
            "datasets>=4",
            "peft>=0.19",
            # ONNX Runtime, and what torch.onnx writes graphs with.
            "onnxruntime>=1.25",
            "onnx",
            "onnxscript",
        ),
        {"TORCHINDUCTOR_CACHE_DIR": str(CACHE / "torchinductor")},
    ),
    "transformers4": (
        ("transformers==4.57.6", "tf_keras==2.21.*", *TENSORFLOW),
        {"TF_USE_LEGACY_KERAS": "1"},
    ),
    "keras_hub": (
        (
            "keras-hub==0.32.*",
            "keras>=3.15,<3.16",
            "tensorflow-text==2.21.*",
            "safetensors",
            *TENSORFLOW,
        ),
        {},
    ),
}


def environments(*, peers: bool) -> dict[str, Environment]:
    """Return the environments by name; those of the peers are made or brought up to date."""
    made = {name: _make(name, *PEERS[name]) for name in PEERS} if peers else {}
    return OURS | made


def _make(name: str, requirements: tuple[str, ...], variables: dict[str, str]) -> Environment:
    folder = CACHE / name
    python = folder / "bin/python"
    stamp = folder / "installed.txt"
    log = CACHE / f"{name}.log"
    wanted = "\n".join((sys.version, *requirements))
    error = None
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"  install  {folder}: {', '.join(requirements)}", flush=True)
        venv.create(folder, clear=True, with_pip=True)
        command = [python, "-m", "pip", "install", "--disable-pip-version-check", *requirements]
        with log.open("w") as output:
            code = subprocess.run(command, stdout=output, stderr=output).returncode
        if code:
            error = f"pip could not install it: see {log}"
        else:
            stamp.write_text(wanted)
    return Environment(f"benchmarks.workers.{name}_worker", str(python), QUIET | variables, error)
