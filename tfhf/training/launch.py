"""Starting one process per worker, and starting them again when one dies.

TensorFlow's workers cannot go on without one of them, and a new one cannot join those that are
left: all of them start again, and resume from their newest checkpoint.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import dill

#: Seconds that workers have to end after a signal, before they are killed.
GRACE = 30.0

#: How argparse and click end a program whose arguments are wrong, as they would be the next time.
WRONG_ARGUMENTS = 2


def launch(
    script: str | os.PathLike[str],
    args: Sequence[str] = (),
    num_workers: int = 1,
    *,
    hosts: Sequence[str] = (),
    host_index: int = 0,
    max_restarts: int = 3,
    strategy: str | None = None,
    mixed_precision: str | None = None,
) -> int:
    """Run a Python script in one process per worker, and wait for all of them.

    ``make_strategy()`` in the script finds the others in ``TF_CONFIG``. When a worker dies, all are
    started again, with ``TFHF_RESTARTS`` one higher: a script whose training is saved by
    ``TrainingCheckpoint`` goes on from the newest checkpoint. Not so after exit code 2, by which
    programs say that their arguments are wrong. SIGTERM and SIGINT are passed on.
    Each line of output begins with the worker's number, if there are several.

    Args:
        script: the script; or ``"-m"``, with the module as the first of ``args``.
        args: its arguments.
        num_workers: processes on this host. They share its GPUs; one process can use them all.
        hosts: ``"name:port"`` of each host where several take part; worker ``i`` of a host listens
            on ``port + i``. Run the same command on each, with its ``host_index``; all must see the
            folder with the checkpoints.
        host_index: which of ``hosts`` this is.
        max_restarts: how often all workers are started again.
        strategy: what ``make_strategy()`` makes; default: what fits the devices.
        mixed_precision: the dtype policy that ``make_strategy()`` sets; default: none.

    Returns:
        The exit code: 0, that of the worker that died first once too often, or 128 + the signal.

    Raises:
        ValueError: numbers that do not fit together, a host without a port, or fewer GPUs than
            workers.
        FileNotFoundError: no such script.

    Example:
        >>> script = Path(tempfile.mkdtemp(), "train.py")
        >>> _ = script.write_text("import sys; print('training with', sys.argv[1])")
        >>> launch(script, ["--bf16"])
        training with --bf16
        0
    """
    if script != "-m" and not Path(script).is_file():
        raise FileNotFoundError(f"script: there is no file {script}")
    if num_workers < 1 or max_restarts < 0:
        raise ValueError(
            "num_workers must be at least 1 and max_restarts at least 0, but they are "
            f"{num_workers} and {max_restarts}"
        )
    if hosts and not 0 <= host_index < len(hosts):
        raise ValueError(f"host_index must be 0 to {len(hosts) - 1}, but it is {host_index}")
    shared = {"PYTHONUNBUFFERED": "1"}
    if strategy:
        shared["TFHF_STRATEGY"] = strategy
    if mixed_precision:
        shared["TFHF_MIXED_PRECISION"] = mixed_precision
    command = [sys.executable, str(script), *args]
    with _signals() as received:
        for restarts in range(max_restarts + 1):
            addresses = _addresses(num_workers, hosts)
            first = host_index * num_workers if hosts else 0
            environments = [
                os.environ
                | shared
                | _task(addresses, first + i)
                | _gpus(i, num_workers)
                | {"TFHF_RESTARTS": str(restarts)}
                for i in range(num_workers)
            ]
            code = _run(command, environments, first, received)
            if code in (0, WRONG_ARGUMENTS) or received:
                break
            left = max_restarts - restarts
            what = f"starting all again ({left} times left)" if left else "giving up"
            print(f"tfhf launch: a worker ended with code {code}; {what}", file=sys.stderr)
    return 128 + received[0] if received else code


def notebook_launcher(
    function: Callable[..., Any],
    args: Sequence[Any] = (),
    num_processes: int = 1,
    **kwargs: Any,
) -> None:
    """Run a function of a notebook in several worker processes, as :func:`launch` runs a script.

    The function begins in new processes, which have imported nothing: it makes its strategy, model
    and data itself. What it needs is sent there with dill.

    Args:
        function: what each worker calls; what it returns is lost.
        args: its arguments.
        num_processes: how many workers.
        **kwargs: ``max_restarts``, ``mixed_precision`` and others of :func:`launch`.

    Raises:
        RuntimeError: a worker failed. Its output says why.

    Example:
        >>> notebook_launcher(lambda text: print(text), ["hello"])
        hello
    """
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder, "work.dill")
        work.write_bytes(dill.dumps((function, tuple(args)), recurse=True))
        # Written by this very function just now, into a folder that nobody else can enter.
        script = Path(folder, "work.py")
        script.write_text(
            "import dill, sys\n"
            "function, args = dill.load(open(sys.argv[1], 'rb'))\n"
            "function(*args)\n"
        )
        code = launch(script, [str(work)], num_processes, **kwargs)
    if code:
        raise RuntimeError(f"a worker failed with exit code {code}")


def _addresses(num_workers: int, hosts: Sequence[str]) -> list[str]:
    """Return ``"host:port"`` of every worker of the cluster."""
    if not hosts:
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(num_workers)]
            for one in sockets:
                one.bind(("localhost", 0))
            return [f"localhost:{one.getsockname()[1]}" for one in sockets]
    addresses = []
    for host in hosts:
        name, _, port = host.rpartition(":")
        if not name or not port.isdigit():
            raise ValueError(f"hosts must be name:port, but one is {host!r}")
        addresses += [f"{name}:{int(port) + i}" for i in range(num_workers)]
    return addresses


def _task(addresses: list[str], index: int) -> dict[str, str]:
    if len(addresses) == 1:
        return {}
    task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
    return {"TF_CONFIG": json.dumps(task)}


def _gpus(index: int, num_workers: int) -> dict[str, str]:
    """Share out the GPUs of this host: two processes cannot use one."""
    if num_workers == 1 or not shutil.which("nvidia-smi"):
        return {}
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout
    everyone = ",".join(str(i) for i in range(listed.count("GPU ")))
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", everyone).split(",")
    if gpus == [""]:
        return {}
    each = len(gpus) // num_workers
    if not each:
        raise ValueError(
            f"num_workers is {num_workers}, but this host has {len(gpus)} GPUs (to train on its "
            "CPUs: CUDA_VISIBLE_DEVICES=)"
        )
    return {"CUDA_VISIBLE_DEVICES": ",".join(gpus[index * each : (index + 1) * each])}


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect the signals that ask for an end, instead of ending."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda n, _: received.append(n)) for number in numbers]
    try:
        yield received
    finally:
        for number, handler in zip(numbers, before):
            signal.signal(number, handler)


def _run(
    command: list[str], environments: Sequence[dict[str, str]], first: int, received: list[int]
) -> int:
    """Run all workers of this host until the last is done or the first has failed."""
    workers = [
        # In sessions of their own, so that Ctrl-C reaches them once: through us.
        subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        for environment in environments
    ]
    several = len(workers) > 1 or "TF_CONFIG" in environments[0]
    prefixes = [f"[worker {first + i}] " if several else "" for i in range(len(workers))]
    readers = [
        threading.Thread(target=_copy_lines, args=(worker.stdout, prefix), daemon=True)
        for worker, prefix in zip(workers, prefixes)
    ]
    for reader in readers:
        reader.start()
    try:
        codes = [worker.poll() for worker in workers]
        while None in codes and not any(codes) and not received:
            time.sleep(0.05)
            codes = [worker.poll() for worker in workers]
        _end(workers, received[0] if received else signal.SIGKILL)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
        for reader in readers:
            reader.join(timeout=GRACE)
    # The first that failed, and not those that were killed for it.
    code = next((code for code in codes if code), 0)
    return 128 - code if code < 0 else code  # as shells say that a signal ended a process


def _end(workers: Sequence[subprocess.Popen], number: int) -> None:
    """Send a signal to those that still run, and wait for their end."""
    for worker in workers:
        if worker.poll() is None:
            worker.send_signal(number)
    until = time.monotonic() + GRACE
    while time.monotonic() < until and any(worker.poll() is None for worker in workers):
        time.sleep(0.05)


def _copy_lines(stream: IO[bytes], prefix: str) -> None:
    for line in stream:
        sys.stdout.write(prefix + line.decode(errors="replace"))
        sys.stdout.flush()
