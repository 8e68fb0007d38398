"""The worker's side of the conversation: one JSON object a line in, one a line out.

A worker holds one contestant. It does nothing until it is asked, so that contestants can take turns
without disturbing one another. Only Python's own library is used here: every environment has that.
"""

import ctypes
import gc
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

LONGEST_ERROR = 300  # characters; the whole of it goes to the log
PACKAGES = (
    "tensorflow",
    "keras",
    "tf_keras",
    "torch",
    "transformers",
    "keras-hub",
    "numpy",
    "onnxruntime",
)


class Work:
    """One kind of work, made ready by its constructor."""

    def outputs(self) -> dict:
        """Return arrays that must be the same for all contestants."""
        return {}

    def turn(self, steps: int, **options) -> Callable:
        """Prepare the next ``steps`` steps and return what does them, which alone is timed.

        If that returns a function, this is called afterwards, and gives facts about the work.
        """
        raise NotImplementedError


def serve(kinds: Mapping[str, Callable[..., Work]]) -> None:
    """Answer requests until there are no more. ``kinds`` maps names to classes of work."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print belongs to the log
    work = None
    for line in sys.stdin:
        request = json.loads(line)
        action = request.pop("do")
        try:
            if action == "prepare":
                work = kinds[request["kind"]](**request["work"])
                answer = {"versions": _versions()}
            elif action == "outputs":
                _save(work.outputs(), request["path"])
                answer = {}
            elif action == "run":
                answer = _timed(work.turn(**request))
            else:
                answer = _memory(reset=request["reset"])
        except Exception as error:
            traceback.print_exc()
            text = " ".join(f"{type(error).__name__}: {error}".split())
            if len(text) > LONGEST_ERROR:  # where it is raised comes last
                text = f"{text[:40]} … {text[40 - LONGEST_ERROR :]}"
            answer = {"error": text}
        print(json.dumps(answer), file=answers, flush=True)


def _timed(act: Callable) -> dict:
    gc.collect()
    start = time.perf_counter()
    after = act()
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "facts": after() if callable(after) else {}}


def _save(outputs: dict, path: str) -> None:
    import numpy as np

    arrays = {name: np.asarray(array) for name, array in outputs.items()}
    np.savez(path, **{k: v if v.dtype.kind == "i" else v.astype("f4") for k, v in arrays.items()})


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def give_back() -> None:
    """Return to the system what is in nobody's use."""
    gc.collect()
    with suppress(AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)


def _memory(*, reset: bool) -> dict[str, float]:
    """Resident memory now and at its peak, in MB.

    ``reset`` gives what is free back to the system, and lets the peak start anew.
    """
    if reset:
        give_back()
        with suppress(OSError), open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # if that fails, the peak is that of the whole process
    with open("/proc/self/status") as file:
        fields = dict(line.split(":", 1) for line in file)
    return {
        name: int(fields[field].split()[0]) * 1024e-6
        for name, field in (("now", "VmRSS"), ("peak", "VmHWM"))
    }
