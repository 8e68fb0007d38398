"""Contestants that take turns at the same work, each in a process of its own."""

import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from select import select

import numpy as np

from benchmarks.environments import Environment

TURN = 0.5  # seconds that a turn of the fastest lasts, where steps are short
LONGEST_TURN = 4  # seconds that this may mean for the slowest
PATIENCE = 900  # seconds after which a contestant counts as hung
EXTRA_TIME = 10  # seconds in which short rows get more rounds than they must
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
    tolerance: float | None = None  # largest difference of outputs; None: there are none

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
    try:
        for row in rows:
            if row.group != group:
                _stop(workers)
                workers = [
                    Worker(contestant, environments[contestant.environment], threads)
                    for contestant in row.contestants
                ]
                _prepare(row, workers)
                group = row.group
            yield _run_row(row, workers, row.rounds or rounds)
    finally:
        _stop(workers)


def _stop(workers: list[Worker]) -> None:
    for worker in workers:
        worker.stop()


def _prepare(row: Row, workers: list[Worker]) -> None:
    """Make all contestants ready, and look whether they compute the same."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{i}.npz") for i in range(len(workers))]
        for worker, path in zip(workers, paths):
            if not worker.error:
                work = row.work | worker.contestant.options
                worker.send(do="prepare", kind=row.kind, work=work, outputs=str(path))
        reference = None
        for worker, path in zip(workers, paths):
            if worker.error:
                continue
            try:
                worker.versions = worker.receive()["versions"]
                outputs = dict(np.load(path))
                if row.tolerance is None:
                    continue
                reference = reference or outputs
                worker.difference = _difference(reference, outputs)
                if not worker.difference <= row.tolerance:
                    raise ContestantError(
                        f"its outputs differ by {worker.difference:.2g} from those of "
                        f"{workers[0].contestant.name}, more than {row.tolerance:g}"
                    )
            except ContestantError as error:
                worker.error = str(error)


def _difference(reference: dict, outputs: dict) -> float:
    wanted, found = ({k: v.shape for k, v in arrays.items()} for arrays in (reference, outputs))
    if wanted != found:
        raise ContestantError(f"its outputs are {found}, not {wanted}")
    return max(float(np.abs(reference[name] - outputs[name]).max()) for name in reference)


def _run_row(row: Row, workers: list[Worker], rounds: int) -> dict:
    samples: dict[str, list[float]] = {worker.contestant.name: [] for worker in workers}
    memory: dict[str, dict[str, float]] = {}
    facts: dict[str, dict] = {}
    running = [worker for worker in workers if not worker.error]

    def in_turns(act) -> None:
        for worker in list(running):
            try:
                act(worker, worker.contestant.name)
            except ContestantError as error:
                worker.error = str(error)
                running.remove(worker)

    def first(worker: Worker, name: str) -> None:
        before = worker.ask(do="memory", reset=True)["now"]
        seconds = worker.ask(do="run", steps=1, **row.turn)["seconds"]
        if row.steps is None:  # the very first step traces and compiles
            seconds = worker.ask(do="run", steps=1, **row.turn)["seconds"]
        memory[name] = {"first_run_extra_mb": worker.ask(do="memory", reset=False)["peak"] - before}
        durations.append(seconds)

    def timed(worker: Worker, name: str) -> None:
        answer = worker.ask(do="run", steps=steps, **row.turn)
        samples[name].append(answer["seconds"] / steps)
        facts[name] = answer["facts"]

    durations: list[float] = []
    in_turns(first)
    steps = row.steps or _steps(durations)
    start = time.monotonic()
    done = 0
    while running and done < MOST_ROUNDS and (done < rounds or _time_left(start, done, rounds)):
        in_turns(timed)
        done += 1
    in_turns(lambda worker, name: memory[name].update(peak_mb=_peak(worker)))

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
                **memory.get(worker.contestant.name, {}),
            }
            for worker in workers
        },
    }


def _steps(durations: list[float]) -> int:
    """How many steps make a turn, by what one step took each contestant."""
    if not durations:
        return 1
    return max(1, round(min(TURN / min(durations), LONGEST_TURN / max(durations))))


def _time_left(start: float, done: int, rounds: int) -> bool:
    """Whether one more round fits; runs with few rounds, such as the tests', get no extra ones."""
    passed = time.monotonic() - start
    return rounds > 1 and passed * (done + 1) / done < EXTRA_TIME


def _peak(worker: Worker) -> float:
    return worker.ask(do="memory", reset=False)["peak"]


def _median(samples: list[float]) -> float | None:
    return statistics.median(samples) if samples else None


def _ratio(ours: list[float], theirs: list[float]) -> dict[str, float] | None:
    """Time of theirs / ours, round by round: above 1 where ours is faster."""
    ratios = [b / a for a, b in zip(ours, theirs)]
    if not ratios:
        return None
    return {"min": min(ratios), "median": statistics.median(ratios), "max": max(ratios)}
