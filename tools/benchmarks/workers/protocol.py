"""The worker's side of the conversation: one JSON object a line in, one a line out.

A worker holds one contestant. It does nothing until it is asked, so that contestants can take turns
without disturbing one another. Only Python's own library is used here: every environment has that.
"""

import gc
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("tensorflow", "keras", "tf_keras", "torch", "transformers", "keras-hub", "numpy")


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
                _save(work.outputs(), request["outputs"])
                answer = {"versions": _versions()}
            elif action == "run":
                answer = _timed(work.turn(**request))
            else:
                answer = _memory(reset=request["reset"])
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


def _timed(act: Callable) -> dict:
    gc.collect()
    start = time.perf_counter()
    after = act()
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "facts": after() if callable(after) else {}}


def _save(outputs: dict, path: str) -> None:
    import numpy as np

    np.savez(path, **{name: np.asarray(array, np.float32) for name, array in outputs.items()})


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _memory(*, reset: bool) -> dict[str, float]:
    """Resident memory now and at its peak, in MB; ``reset`` lets the peak start anew."""
    if reset:
        gc.collect()
        try:
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")
        except OSError:
            pass  # then the peak is that of the whole process
    with open("/proc/self/status") as file:
        fields = dict(line.split(":", 1) for line in file)
    return {
        name: int(fields[field].split()[0]) / 1024
        for name, field in (("now", "VmRSS"), ("peak", "VmHWM"))
    }
