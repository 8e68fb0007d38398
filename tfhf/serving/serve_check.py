"""Whether a server will answer as Python does, and how fast: asked of TensorFlow's C loader."""

import json
import os
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401, the operations of graph tokenizers
from rich.console import Group
from rich.table import Table
from rich.text import Text

from tfhf.serving.export import SIGNATURES_FILE
from tfhf.serving.predict_request import encode_predict_request
from tfhf.serving.saved_model_process import Answer, SavedModelProcess
from tfhf.serving.signatures import UNSEEDED
from tfhf.serving.warmup import read_warmup_requests

TOLERANCE = 1e-5  # of floats, beside the 1e-5 of their own size
CALLERS = (1, 4, 16)
FEWEST_CALLS, MOST_CALLS = 2, 2000  # of each caller, and of all


@dataclass(frozen=True)
class CheckedRequest:
    """A warm-up request, asked without Python and with it.

    Attributes:
        signature_name: The signature that it asks.
        batch_size: How many rows it has.
        inputs: Its inputs.
        difference: The largest difference of its floats to Python's; 0 if it has none.
        problem: What is wrong with the answer, or nothing.
        unseeded: Whether the signature samples without a seed, so that only the numbers of rows and
            the types could be compared.
    """

    signature_name: str
    batch_size: int
    inputs: dict[str, np.ndarray]
    difference: float = 0.0
    problem: str = ""
    unseeded: bool = False


@dataclass(frozen=True)
class Timing:
    """Many calls of one request.

    Attributes:
        signature_name: The signature that it asks.
        batch_size: How many rows it has.
        callers: How many callers there are at the same time, each with a call after the other.
        calls: How many calls there were in all.
        median: The median of their seconds.
        percentile99: What 99 of 100 calls stay below, in seconds.
        rows_per_second: Rows answered per second, to all callers together.
    """

    signature_name: str
    batch_size: int
    callers: int
    calls: int
    median: float
    percentile99: float
    rows_per_second: float


@dataclass(frozen=True)
class ServeCheck:
    """What `serve_check` found; ``rich.print`` shows it as a table.

    Attributes:
        saved_model: The version folder.
        load_seconds: How long loading took.
        memory: Resident memory in MB once it is loaded, and at its peak, of timing included; where
            a request ended the process, of both what it was before.
        requests: All warm-up requests, in their order, up to one that ended the process.
        timings: Those of the smallest and the largest batch of each signature; none where the
            process has ended.
    """

    saved_model: Path
    load_seconds: float
    memory: tuple[float, float]
    requests: list[CheckedRequest]
    timings: list[Timing]

    @property
    def problems(self) -> list[str]:
        """What is wrong, a line each; empty if nothing is."""
        return [
            f"{request.signature_name}, batch of {request.batch_size}: {request.problem}"
            for request in self.requests
            if request.problem
        ]

    def __rich__(self) -> Group:
        answers = Table("signature", "batch", "without Python", title="Warm-up requests")
        for request in self.requests:
            verdict = Text("as with Python")
            if request.unseeded:
                verdict = Text("sampled without a seed: as many rows, of the same types")
            if request.problem:
                verdict = Text(request.problem, "red")
            elif request.difference:
                verdict.append(f", to {request.difference:.1g}")
            answers.add_row(request.signature_name, str(request.batch_size), verdict)
        speed = Table("signature", title="Calls")
        for column in ("batch", "callers", "calls", "median ms", "99% ms", "rows/s"):
            speed.add_column(column, justify="right")
        for timing in self.timings:
            speed.add_row(
                timing.signature_name,
                str(timing.batch_size),
                str(timing.callers),
                str(timing.calls),
                f"{1e3 * timing.median:.2f}",
                f"{1e3 * timing.percentile99:.2f}",
                f"{timing.rows_per_second:,.0f}",
            )
        loaded, peak = self.memory
        return Group(
            f"{self.saved_model}: loaded in {self.load_seconds:.2f} s; "
            f"{loaded:,.0f} MB of memory, {peak:,.0f} MB at the peak",
            answers,
            speed,
        )


def serve_check(
    directory: str | os.PathLike[str],
    version: int | None = None,
    *,
    callers: Sequence[int] = CALLERS,
    seconds: float = 1.0,
) -> ServeCheck:
    """Load an export as TF Serving does, ask it its warm-up requests, and time it.

    It is loaded by TensorFlow's C loader, in a process without Python; that needs a C compiler. The
    answers are compared with those of ``tf.saved_model.load``: strings and integers must be equal,
    floats close to 1e-5. What a signature samples without a seed differs from call to call: of that
    only rows and types are compared. The machine should have nothing else to do meanwhile.

    Args:
        directory: The folder of all versions, or one version's.
        version: The version; default: the newest.
        callers: For which numbers of concurrent callers to time requests.
        seconds: How long each measurement takes, about, on a machine with one core.

    Raises:
        FileNotFoundError: There is no SavedModel, no such version, or no warm-up requests.
        RuntimeError: There is no C compiler, or the loader refuses the SavedModel.

    Example:
        >>> import rich
        >>> check = serve_check("saved_models/movie-sentiment")  # doctest: +SKIP
        >>> rich.print(check)  # doctest: +SKIP
        >>> check.problems  # doctest: +SKIP
        []
    """
    saved_model = _version_folder(Path(directory), version)
    warmup = read_warmup_requests(saved_model)
    if not warmup:
        raise FileNotFoundError(
            f"directory: {os.fspath(saved_model)!r} has no warm-up requests, so there is nothing "
            "to ask it; expected what model.export(…) wrote"
        )
    with SavedModelProcess(saved_model, max(callers)) as process:
        loaded, _ = process.memory()
        requests = list(_checked(saved_model, process, warmup))
        if process.has_ended:
            memory = loaded, loaded
            return ServeCheck(saved_model, process.load_seconds, memory, requests, [])
        timings = [
            _timed(process, request, count, seconds)
            for request in _smallest_and_largest(requests)
            for count in callers
        ]
        memory = loaded, process.memory()[1]
        return ServeCheck(saved_model, process.load_seconds, memory, requests, timings)


def _version_folder(directory: Path, version: int | None) -> Path:
    """Find the version that is meant in a folder of versions, or that is this folder."""
    if version is None and (directory / "saved_model.pb").is_file():
        return directory
    found = [file.parent for file in directory.glob("*/saved_model.pb")]
    versions = {int(folder.name): folder for folder in found if folder.name.isdecimal()}
    if not versions:
        raise FileNotFoundError(
            f"directory: expected a SavedModel, or a folder with versions of one, but "
            f"{os.fspath(directory)!r} is neither"
        )
    if version is None:
        version = max(versions)
    if version not in versions:
        raise FileNotFoundError(
            f"version: {os.fspath(directory)!r} has {sorted(versions)}, but not {version}"
        )
    return versions[version]


def _checked(
    saved_model: Path,
    process: SavedModelProcess,
    warmup: list[tuple[str, dict[str, np.ndarray]]],
) -> Iterator[CheckedRequest]:
    """Ask Python and the process, until one request ends that."""
    python = tf.saved_model.load(str(saved_model))
    file = saved_model / SIGNATURES_FILE
    facts = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    for signature_name, inputs in warmup:
        sizes = [array.shape[0] for array in inputs.values() if array.ndim]
        batch_size = max(sizes, default=1)
        unseeded = facts.get(signature_name, {}).get(UNSEEDED, False)
        compare = _require_same_rows if unseeded else _difference
        difference, problem = 0.0, ""
        try:
            expected = python.signatures[signature_name](
                **{name: tf.constant(array) for name, array in inputs.items()}
            )
            outputs = process.predict(inputs, signature_name)
            for name, tensor in expected.items():
                difference = max(difference, compare(name, outputs[name], tensor.numpy()))
        except (tf.errors.OpError, RuntimeError, ValueError) as error:
            problem = str(error)
        yield CheckedRequest(signature_name, batch_size, inputs, difference, problem, unseeded)
        if process.has_ended:
            return


def _require_same_rows(name: str, found: np.ndarray, expected: np.ndarray) -> float:
    """Compare what is sampled, which may be of another length each time; there is no difference.

    Raises:
        ValueError: the arrays have other axes, rows or types.
    """
    if (found.ndim, found.shape[:1], found.dtype) != (
        expected.ndim,
        expected.shape[:1],
        expected.dtype,
    ):
        raise ValueError(
            f"{name} is {found.dtype} {found.shape}, and {expected.dtype} {expected.shape} with "
            "Python"
        )
    return 0.0


def _difference(name: str, found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference of floats.

    Raises:
        ValueError: the arrays are not the same.
    """
    if found.shape != expected.shape:
        raise ValueError(f"{name} has the shape {found.shape}, and {expected.shape} with Python")
    if not np.issubdtype(expected.dtype, np.floating):
        if (found != expected).any():
            raise ValueError(f"{name} is {found.tolist()}, and {expected.tolist()} with Python")
        return 0.0
    difference = float(np.abs(found - expected).max(initial=0))
    if not np.allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
        raise ValueError(f"{name} differs by {difference:.2g} from Python's")
    return difference


def _smallest_and_largest(requests: list[CheckedRequest]) -> Iterator[CheckedRequest]:
    """Choose what is timed: single and batched requests to each signature."""
    for name in dict.fromkeys(request.signature_name for request in requests):
        found = [r for r in requests if r.signature_name == name and not r.problem]
        found.sort(key=lambda request: request.batch_size)
        yield from found[:1]
        if len(found) > 1 and found[-1].batch_size > found[0].batch_size:
            yield found[-1]


def _timed(
    process: SavedModelProcess, request: CheckedRequest, callers: int, seconds: float
) -> Timing:
    message = encode_predict_request(request.signature_name, request.inputs)
    once = process.submit(message, 2).result().seconds[-1]
    calls = int(max(min(seconds / once, MOST_CALLS) / callers, FEWEST_CALLS))
    # One message for each caller, which one thread repeats: no pipe is in what is timed.
    futures = [process.submit(message, calls) for _ in range(callers)]
    answers: list[Answer] = [future.result() for future in futures]
    taken = [each for answer in answers for each in answer.seconds]
    start = min(answer.start for answer in answers)
    end = max(answer.start + sum(answer.seconds) for answer in answers)
    return Timing(
        signature_name=request.signature_name,
        batch_size=request.batch_size,
        callers=callers,
        calls=len(taken),
        median=statistics.median(taken),
        percentile99=float(np.percentile(taken, 99)),
        rows_per_second=request.batch_size * len(taken) / (end - start),
    )
