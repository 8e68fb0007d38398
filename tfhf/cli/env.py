"""``tfhf env``: what a bug report has to say of the machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from tfhf.cli.options import examples

app = typer.Typer()

#: Those for which TensorFlow and its oneDNN have code of their own, on x86 and on ARM.
CPU_FLAGS = (
    "avx",
    "avx2",
    "fma",
    "avx_vnni",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "asimdhp",
    "sve",
    "bf16",
    "i8mm",
)
#: Beginnings of the names of variables that change what TensorFlow, Keras or the Hub do.
VARIABLES = (
    "CUDA_VISIBLE_",
    "HF_",
    "KERAS_",
    "OMP_",
    "TFHF_",
    "TF_CONFIG",
    "TF_CPP_",
    "TF_DETERMINISTIC_",
    "TF_ENABLE_",
    "TF_FORCE_",
    "TF_GPU_",
    "TF_NUM_",
    "TF_XLA_",
    "TRANSFORMERS_",
    "XLA_",
)

#: Extras that only those who work on tfhf need.
DEVELOPMENT = ("test", "oracle", "docs")
#: What the names of variables have whose values are nobody's business.
SECRET = ("KEY", "PASSWORD", "SECRET", "TOKEN")


@app.command(epilog=examples("tfhf env", "tfhf env > environment.md"))
def env() -> None:
    """Tell what is installed, what is missing and what the machine has, for an issue.

    No token or other secret is shown.
    """
    installed, missing = _packages()
    parts = {
        "System": [*_system(), *_devices()],
        "Packages": installed,
        "Missing": [*missing, *_missing_programs()],
        "Variables": _variables(),
    }
    for title, lines in parts.items():
        typer.echo(f"**{title}**\n")
        typer.echo("".join(f"- {line}\n" for line in lines or ["none"]))


def _system() -> Iterator[str]:
    yield f"Python {platform.python_version()} on {platform.platform()}"
    yield f"CPU: {_cpu_name()}, {os.cpu_count()} cores: {' '.join(_cpu_flags()) or 'flags unknown'}"
    if hasattr(os, "sysconf"):
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        yield f"Memory: {size / 2**30:.1f} GiB"


def _cpu_name() -> str:
    match = re.search(r"^model name\s*: (.*)", _cpu_info(), re.M)
    return match[1] if match else platform.processor() or platform.machine()


def _cpu_flags() -> list[str]:
    match = re.search(r"^(?:flags|Features)\s*: (.*)", _cpu_info(), re.M)
    flags = set(match[1].split()) if match else set()
    return [flag for flag in CPU_FLAGS if flag in flags]


def _cpu_info() -> str:
    path = Path("/proc/cpuinfo")  # Linux has it.
    return path.read_text() if path.is_file() else ""


def _devices() -> Iterator[str]:
    try:
        import tensorflow as tf
    except Exception as error:  # Whatever is wrong with it is what the report is about.
        yield f"TensorFlow cannot be imported: {type(error).__name__}: {error}"
        return
    for kind in ("GPU", "TPU"):
        for device in tf.config.list_physical_devices(kind):
            yield f"{device.name.removeprefix('/physical_device:')}: {_details(tf, device)}"
    cuda = tf.sysconfig.get_build_info().get("cuda_version")
    yield f"TensorFlow is built {f'for CUDA {cuda}' if cuda else 'without CUDA'}"
    if Path("/dev/nvidia0").exists() and not tf.config.list_physical_devices("GPU"):
        yield "there is an NVIDIA GPU that TensorFlow does not see: pip install tfhf[gpu]"


def _details(tf: Any, device: Any) -> str:
    details = tf.config.experimental.get_device_details(device)
    capability = ".".join(map(str, details.get("compute_capability", ())))
    return f"{details.get('device_name', 'unknown')} {capability}".strip()


def _packages() -> tuple[list[str], list[str]]:
    """Return what tfhf's own list of packages has: those that are there, and what is wrong."""
    from packaging.requirements import Requirement

    installed, missing = [f"tfhf {importlib.metadata.version('tfhf')}"], []
    for text in importlib.metadata.requires("tfhf") or ():
        wanted = Requirement(text)
        match = re.search(r"extra == ['\"](\w+)['\"]", str(wanted.marker))
        extra = match[1] if match else ""
        if extra in DEVELOPMENT or (wanted.marker and not wanted.marker.evaluate({"extra": extra})):
            continue
        for_what = f" (tfhf[{extra}])" if extra else ""
        try:
            version = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(f"{wanted.name}{for_what}")
            continue
        if f"{wanted.name} {version}" not in installed:
            installed.append(f"{wanted.name} {version}")
        if not wanted.specifier.contains(version, prereleases=True):
            missing.append(f"{wanted.name} {wanted.specifier}{for_what}: it is {version}")
    return installed, missing


def _missing_programs() -> Iterator[str]:
    if not shutil.which("tensorflow_model_server"):
        yield "tensorflow_model_server, to serve what `tfhf export` writes"


def _variables() -> list[str]:
    return [
        f"{name}={'…' if any(word in name for word in SECRET) else value}"
        for name, value in sorted(os.environ.items())
        if name.startswith(VARIABLES)
    ]
