"""A SavedModel in a process without Python: in TensorFlow's C loader, which TF Serving is built on.

The process is the C program in ``tfhf/serving/c``, compiled when it is first needed.
"""

import functools
import json
import os
import shutil
import struct
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import tensorflow as tf

from tfhf.serving.operations import op_libraries
from tfhf.serving.predict_request import encode_predict_request

SOURCE = Path(__file__).parent / "c" / "saved_model_process.c"


class Answer(NamedTuple):
    """What a signature answers, and how long it took.

    Attributes:
        outputs: Output name -> array; strings as bytes.
        start: When the first call began, by a monotonic clock, in seconds.
        seconds: How long each call took.
    """

    outputs: dict[str, np.ndarray]
    start: float
    seconds: list[float]


class SavedModelProcess:
    """A process that has loaded a SavedModel and answers requests to it.

    Args:
        saved_model: The version folder.
        callers: How many requests are answered at the same time, each by a thread.

    Attributes:
        load_seconds: How long loading took.
        has_ended: Whether it has ended, so that nothing will be answered any more.

    Raises:
        FileNotFoundError: ``saved_model`` holds no ``saved_model.pb``.
        RuntimeError: There is no C compiler, or the loader refuses the SavedModel; the message has
            its words.

    Example:
        >>> with SavedModelProcess("saved_models/movie-sentiment/1") as model:  # doctest: +SKIP
        ...     model.predict({"text": ["a joy"]})["label"]
        array([b'positive'], dtype=object)
    """

    def __init__(self, saved_model: str | os.PathLike[str], callers: int = 1) -> None:
        libraries = ":".join(op_libraries(saved_model))
        program = str(compiled_program())
        command = [program, os.fspath(saved_model), "--callers", str(callers)]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            command,
            env=os.environ | {"TFHF_OP_LIBRARIES": libraries},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout
        self._waiting: dict[int, Future[Answer]] = {}
        self._count = 0
        self._lock = threading.Lock()
        self.has_ended = False
        loaded = self._answers.readline()
        if not loaded:
            error = self._end()
            self.close()
            raise RuntimeError(
                f"{os.fspath(saved_model)} could not be loaded without Python{error}"
            )
        self.load_seconds: float = json.loads(loaded)["loaded"]
        self._reader = threading.Thread(target=self._read_answers, daemon=True)
        self._reader.start()

    def predict(
        self, inputs: Mapping[str, Any], signature_name: str = "serving_default"
    ) -> dict[str, np.ndarray]:
        """Ask a signature.

        Args:
            inputs: Input name -> tensor, array or list.
            signature_name: The signature.

        Returns:
            Output name -> array; strings as bytes.

        Raises:
            tf.errors.OpError: The signature or TensorFlow refuses the request.
            RuntimeError: The process has ended.
        """
        return self.submit(encode_predict_request(signature_name, inputs)).result().outputs

    def submit(self, request: bytes, calls: int = 1) -> Future[Answer]:
        """Have a request answered while the caller goes on; any thread may call this.

        Args:
            request: A ``PredictRequest``, as `encode_predict_request` and gRPC clients write it.
            calls: How often to run it. More than once, the one answer has no outputs, but the
                seconds of all calls.

        Returns:
            What will have the answer, or raise what `predict` raises.
        """
        future: Future[Answer] = Future()
        with self._lock:
            self._waiting[self._count] = future
            self._count += 1
            with suppress(BrokenPipeError):  # the reader tells why
                self._requests.write(struct.pack("=II", calls, len(request)) + request)
                self._requests.flush()
        if self.has_ended:
            self._give_up()
        return future

    def memory(self) -> tuple[float, float]:
        """Return the resident memory of the process in MB: now, and at its peak."""
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        now, peak = (int(fields[name].split()[0]) * 1024e-6 for name in ("VmRSS", "VmHWM"))
        return now, peak

    def close(self) -> None:
        """Answer what was submitted, and end the process."""
        with suppress(BrokenPipeError):
            self._requests.close()
        self._process.wait()
        if hasattr(self, "_reader"):
            self._reader.join()
        self._answers.close()
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _read_answers(self) -> None:
        for line in self._answers:
            # Strings of a model need not be UTF-8.
            answer = json.loads(line.decode("utf-8", "surrogateescape"))
            future = self._waiting.pop(answer["number"])
            if "error" in answer:
                error = tf.compat.v1.errors.exception_type_from_error_code(answer["code"])
                future.set_exception(error(None, None, answer["error"]))
                continue
            outputs = {name: _array(output) for name, output in answer["outputs"].items()}
            future.set_result(Answer(outputs, answer["start"], answer["seconds"]))
        self._give_up()

    def _give_up(self) -> None:
        """Tell all who wait that there will be no answer."""
        with self._lock:  # whoever comes later sees that it has ended
            self.has_ended = True
            waiting, self._waiting = self._waiting, {}
        if waiting:
            error = self._end()
            for future in waiting.values():
                future.set_exception(RuntimeError(f"the process ended without an answer{error}"))

    def _end(self) -> str:
        """Return how the process ended, to be put after what that meant."""
        status = self._process.wait()
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return f" (exit status {status}): {lines[-1] if lines else 'it said nothing'}"


def _array(output: dict[str, Any]) -> np.ndarray:
    values = output["values"]
    if output["dtype"] == "object":
        values = [value.encode("utf-8", "surrogateescape") for value in values]
    return np.array(values, output["dtype"]).reshape(output["shape"])


@functools.cache
def compiled_program() -> Path:
    """Compile the C program against the libraries of the installed TensorFlow.

    Returns:
        Its path, in a folder that is removed when this Python ends.

    Raises:
        RuntimeError: There is no C compiler, or it fails; the message says what it needs.
    """
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise RuntimeError(
            "no C compiler was found, and what loads a SavedModel without Python is a C program: "
            "install gcc (Debian and Ubuntu: apt install gcc libc6-dev), or name yours in CC"
        )
    package = find_spec("tensorflow")
    assert package is not None and package.origin is not None  # a dependency of tfhf
    tensorflow = Path(package.origin).parent
    program = Path(_folder().name, "saved_model_process")
    command = [compiler, "-std=c11", "-O1", "-Wall", "-Wextra", "-pthread"]
    command += [str(SOURCE), "-o", str(program)]
    command += [f"-I{tensorflow}/include", f"-Wl,-rpath,{tensorflow}"]
    command += [f"{tensorflow}/libtensorflow_{name}.so.2" for name in ("cc", "framework")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{compiler} could not compile {SOURCE}: {done.stderr.strip()}")
    return program


@functools.cache
def _folder() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="tfhf-")
