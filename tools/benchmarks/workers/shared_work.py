"""Work that is done in the same way for every library."""

import ctypes
import gc
import os
import subprocess
import sys
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

from benchmarks.workers.protocol import Work
from benchmarks.workers.rows_on_disk import padding_share, read_table


class Load(Work):
    """``from_pretrained``, with the file in the page cache or not. ``library`` has ``load``.

    ``rehearsal`` is a small checkpoint that is loaded first, for what is imported on the way.
    """

    def __init__(self, library, folder: str, rehearsal: str) -> None:
        self.library = library
        self.folder = folder
        self.model = library.load(rehearsal, "float32")
        self.forget()

    def turn(self, steps: int, cold: bool):
        files = list(Path(self.folder).glob("*.safetensors"))
        for file in files:
            _evict(file) if cold else file.read_bytes()

        def load():
            for _ in range(steps):
                self.model = self.library.load(self.folder, "float32")
            return self.forget

        return load

    def forget(self) -> dict:
        """Give the memory back, and a mapped file too, so that all start from the same."""
        self.model = None
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        return {}


def _evict(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


class Import(Work):
    """Start Python and run one statement."""

    def __init__(self, statement: str) -> None:
        self.command = [sys.executable, "-c", statement]

    def turn(self, steps: int):
        def start():
            for _ in range(steps):
                subprocess.run(self.command, check=True)
            return lambda: {"peak_mb": getrusage(RUSAGE_CHILDREN).ru_maxrss / 1024}

        return start


class Input(Work):
    """All batches of one epoch, by one path. ``library.paths`` names them.

    A path takes the checkpoint's folder, the rows and the batch size, and returns a function that
    gives the epoch's attention masks.
    """

    def __init__(self, library, folder: str, table: str, batch_size: int, path: str) -> None:
        self.epoch = library.paths[path](folder, read_table(table), batch_size)

    def turn(self, steps: int):
        def pass_over():
            masks = []
            for _ in range(steps):
                masks.extend(self.epoch())
            return lambda: {"padding": padding_share([_numpy(mask) for mask in masks])}

        return pass_over


def _numpy(tensor):
    return tensor.numpy() if hasattr(tensor, "numpy") else tensor
