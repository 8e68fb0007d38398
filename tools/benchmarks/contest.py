"""Contestants that take turns at the same work, each in a process of its own."""

import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from select import select

import numpy as np

from benchmarks.environments import Environment

TURN = 0.5  # seconds that a turn of the fastest lasts, where steps are short
LONGEST_TURN = 4  # seconds that this may mean for the slowest
PATIENCE = 900  # seconds after which a contestant counts as hung
EXTRA_TIME = 6  # seconds in which short rows get more rounds than they must
MOST_ROUNDS = 15


@dataclass(frozen=True)
class Contestant:
    """A library in one of its ways of working."""

    name: str
    environment: str
    options: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """Work that all contestants do in turns: a row of the benchmark.

    Rows of equal ``kind``, ``work`` and ``contestants`` share their processes if they follow one
    another.
    """

    area: str
    name: str
    kind: str
    contestants: tuple[Contestant, ...]
    work: dict = field(default_factory=dict)
    turn: dict = field(default_factory=dict)
    amounts: dict = field(default_factory=dict)  # unit -> how much of it one step does
    steps: int | None = None  # in one turn; default: as many as fill it
    rounds: int | None = None  # default: that of the command line
    # Given, what the first run of ``turn`` adds to the memory in use is measured, after one run
    # with these options, so that starting and tracing have no part in it. A process can do that
    # once, because TensorFlow keeps freed memory for itself: only the first row of a group has it.
    rehearsal: dict | None = None
    tolerance: float | None = None  # of outputs, relative to the largest; None: there are none

    @property
    def group(self) -> tuple:
        return self.kind, json.dumps(self.work), self.contestants


class ContestantError(Exception):
    """A contestant could not do what it was asked."""


class Worker:
    """The process of a contestant."""

    def __init__(self, contestant: Contestant, environment: Environment, threads: int) -> None:
        self.contestant = contestant
        self.error = environment.error
        self.versions: dict[str, str] = {}
        self.difference: float | None = None
        self.extra_mb: float | None = None
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = None
        if self.error:
            return
        self.process = subprocess.Popen(
            [environment.python, "-m", environment.worker],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=os.environ | environment.variables | _threads(threads),
        )

    def send(self, **request) -> None:
        with suppress(BrokenPipeError):  # receive() tells why
            print(json.dumps(request), file=self.process.stdin, flush=True)

    def receive(self) -> dict:
        if not select([self.process.stdout], [], [], PATIENCE)[0]:
            self.process.kill()
            raise ContestantError(f"no answer within {PATIENCE} s")
        line = self.process.stdout.readline()
        if not line:
            raise ContestantError(f"ended with {self.process.wait()}: {self._last_words()}")
        answer = json.loads(line)
        if "error" in answer:
            raise ContestantError(answer["error"])
        return answer

    def ask(self, **request) -> dict:
        self.send(**request)
        return self.receive()

    def stop(self) -> None:
        if self.process is not None:
            with suppress(BrokenPipeError):
                self.process.stdin.close()
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process.stdout.close()
        self.log.close()

    def _last_words(self) -> str:
        self.log.seek(0)
        lines = [line.strip() for line in self.log.read().splitlines() if line.strip()]
        return lines[-1] if lines else "no message"


def _threads(count: int) -> dict[str, str]:
    names = (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "TF_NUM_INTRAOP_THREADS",
        "TF_NUM_INTEROP_THREADS",
    )
    return dict.fromkeys(names, str(count))


def run_rows(
    rows: Iterable[Row], environments: dict[str, Environment], *, threads: int, rounds: int
) -> Iterable[dict]:
    """Run rows, yielding the result of each as a dictionary."""
    workers: list[Worker] = []
    group = None
    start = time.monotonic()
    try:
        for row in rows:
            if row.group != group:
                _stop(workers)
                workers = [
                    Worker(contestant, environments[contestant.environment], threads)
                    for contestant in row.contestants
                ]
                _prepare(row, workers)
                if row.rehearsal is not None:
                    _measure_memory(row, workers)
                if row.tolerance is not None:
                    _compare(row, workers)
                group = row.group
            result = _run_row(row, workers, row.rounds or rounds)
            yield result | {"took": time.monotonic() - start}
            start = time.monotonic()
    finally:
        _stop(workers)


def _stop(workers: list[Worker]) -> None:
    for worker in workers:
        worker.stop()


def _in_turns(workers: list[Worker], act: Callable[[Worker], None]) -> None:
    """Let those act that can, one after the other; an error ends the part of one only."""
    for worker in workers:
        if not worker.error:
            try:
                act(worker)
            except ContestantError as error:
                worker.error = str(error)


def _prepare(row: Row, workers: list[Worker]) -> None:
    """Make all contestants ready, at the same time."""

    def ready(worker: Worker) -> None:
        worker.versions = worker.receive()["versions"]

    for worker in workers:
        if not worker.error:
            worker.send(do="prepare", kind=row.kind, work=row.work | worker.contestant.options)
    _in_turns(workers, ready)


def _measure_memory(row: Row, workers: list[Worker]) -> None:
    """Measure what the work adds to the memory in use, before it was ever done."""

    def measure(worker: Worker) -> None:
        worker.ask(do="run", steps=1, **row.rehearsal)
        before = worker.ask(do="memory", reset=True)["now"]
        worker.ask(do="run", steps=1, **row.turn)
        worker.extra_mb = worker.ask(do="memory", reset=False)["peak"] - before

    _in_turns(workers, measure)


def _compare(row: Row, workers: list[Worker]) -> None:
    """Look whether all compute the same."""
    reference: dict[str, np.ndarray] = {}
    first = ""

    def compare(worker: Worker) -> None:
        nonlocal reference, first
        worker.receive()
        outputs = dict(np.load(paths[worker]))
        if not first:
            reference, first = outputs, worker.contestant.name
        worker.difference = _difference(reference, outputs)
        if not worker.difference <= row.tolerance:
            raise ContestantError(
                f"its outputs differ by {worker.difference:.2g} from those of {first}, "
                f"more than {row.tolerance:g}"
            )

    with tempfile.TemporaryDirectory() as folder:
        paths = {worker: Path(folder, f"{i}.npz") for i, worker in enumerate(workers)}
        for worker, path in paths.items():
            if not worker.error:
                worker.send(do="outputs", path=str(path))
        _in_turns(workers, compare)


def _difference(reference: dict, outputs: dict) -> float:
    """Return the largest difference, relative to the largest of the values; ids must be equal."""
    wanted, found = ({k: v.shape for k, v in arrays.items()} for arrays in (reference, outputs))
    if wanted != found:
        raise ContestantError(f"its outputs are {found}, not {wanted}")
    differences = []
    for name, expected in reference.items():
        difference = np.abs(expected - outputs[name])
        if np.issubdtype(expected.dtype, np.integer):
            if difference.any():
                raise ContestantError(f"{(difference > 0).mean():.2%} of its {name} are others")
        else:
            differences.append(float(difference.max() / np.abs(expected).max()))
    return max(differences, default=0.0)


def _run_row(row: Row, workers: list[Worker], rounds: int) -> dict:
    samples: dict[str, list[float]] = {worker.contestant.name: [] for worker in workers}
    peak: dict[str, float] = {}
    facts: dict[str, dict] = {}

    def first(worker: Worker) -> None:
        if row.rehearsal is None:
            worker.ask(do="memory", reset=True)
            worker.ask(do="run", steps=1, **row.turn)  # traces and compiles
        if row.steps is None:
            durations.append(worker.ask(do="run", steps=1, **row.turn)["seconds"])

    def timed(worker: Worker) -> None:
        name = worker.contestant.name
        answer = worker.ask(do="run", steps=steps, **row.turn)
        samples[name].append(answer["seconds"] / steps)
        facts[name] = answer["facts"]

    def last(worker: Worker) -> None:
        peak[worker.contestant.name] = worker.ask(do="memory", reset=False)["peak"]

    durations: list[float] = []
    _in_turns(workers, first)
    steps = row.steps or _steps(durations)
    start = time.monotonic()
    done = 0
    while (
        _running(workers)
        and done < MOST_ROUNDS
        and (done < rounds or _time_left(start, done, rounds))
    ):
        _in_turns(workers, timed)
        done += 1
    _in_turns(workers, last)

    ours = samples[workers[0].contestant.name]
    return {
        "area": row.area,
        "name": row.name,
        "amounts": row.amounts,
        "steps": steps,
        "tolerance": row.tolerance,
        "contestants": {
            worker.contestant.name: {
                "error": worker.error,
                "versions": worker.versions,
                "difference": worker.difference,
                "seconds": samples[worker.contestant.name],
                "median": _median(samples[worker.contestant.name]),
                "ratio": _ratio(ours, samples[worker.contestant.name]),
                "facts": facts.get(worker.contestant.name, {}),
                "peak_mb": peak.get(worker.contestant.name),
                "extra_mb": None if row.rehearsal is None else worker.extra_mb,
            }
            for worker in workers
        },
    }


def _running(workers: list[Worker]) -> bool:
    return any(not worker.error for worker in workers)


def _steps(durations: list[float]) -> int:
    """How many steps make a turn, by what one step took each contestant."""
    if not durations:
        return 1
    return max(1, round(min(TURN / min(durations), LONGEST_TURN / max(durations))))


def _time_left(start: float, done: int, rounds: int) -> bool:
    """Whether one more round fits; runs with few rounds, such as the tests', get no extra ones."""
    passed = time.monotonic() - start
    return rounds > 1 and passed * (done + 1) / done < EXTRA_TIME


def _median(samples: list[float]) -> float | None:
    return statistics.median(samples) if samples else None


def _ratio(ours: list[float], theirs: list[float]) -> dict[str, float] | None:
    """Time of theirs / ours, round by round: above 1 where ours is faster."""
    ratios = [b / a for a, b in zip(ours, theirs)]
    if not ratios:
        return None
    return {"min": min(ratios), "median": statistics.median(ratios), "max": max(ratios)}
