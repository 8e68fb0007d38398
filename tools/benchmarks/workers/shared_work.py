"""Work that is done in the same way for every library."""

import ctypes
import mmap
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.workers.protocol import Work, give_back
from benchmarks.workers.rows_on_disk import padding_share, read_batches, read_table


class Load(Work):
    """``from_pretrained``, with the file in the page cache or not.

    The sum of all weights is part of it: PyTorch reads the file no sooner than it must.
    ``load`` takes a folder and the precision, ``sums`` the model.
    """

    def __init__(self, load, sums, cold: bool) -> None:
        self.load = load
        self.sums = sums
        self.cold = cold
        self.model = None

    def turn(self, steps: int, folder: str):
        file = Path(folder, "model.safetensors")
        _evict(file) if self.cold else _read(file)
        cached = _cached_share(file)

        def act():
            for _ in range(steps):
                self.model = self.load(folder, "float32")
                self.sums(self.model)
            return lambda: self.forget() | {"cached": cached}

        return act

    def forget(self) -> dict:
        """Give the memory back, and a mapped file too, so that all start from the same."""
        self.model = None
        give_back()
        return {}


def _read(file: Path) -> None:
    with file.open("rb") as opened:
        while opened.read(1 << 20):
            pass


def _evict(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _cached_share(file: Path) -> float:
    """Return which share of a file is in the page cache."""
    size = file.stat().st_size
    pages = -(-size // mmap.PAGESIZE)
    resident = (ctypes.c_ubyte * pages)()
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), size, mmap.MAP_PRIVATE) as mapped:
        start = ctypes.c_char.from_buffer(mapped)
        if ctypes.CDLL(None, use_errno=True).mincore(ctypes.byref(start), size, resident):
            raise OSError(ctypes.get_errno(), "mincore")
        del start  # a map that something points into cannot be closed
    return float((np.frombuffer(resident, np.uint8) & 1).mean())


class Import(Work):
    """Start Python and run one statement."""

    PEAK = "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')))"

    def __init__(self, statement: str) -> None:
        self.command = [sys.executable, "-c", f"{statement}\n{self.PEAK}"]

    def turn(self, steps: int):
        def start():
            for _ in range(steps):
                ran = subprocess.run(self.command, check=True, capture_output=True, text=True)
            return lambda: {"peak_mb": int(ran.stdout.split()[-2]) * 1024e-6}

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


class Generate(Work):
    """Greedy generation after prompts of one length.

    ``library.generator(folder, precision, **options)`` gives two functions: of ids [batch, length],
    for the last position's logits; of ids and a number of new tokens, for the ids with these.
    """

    def __init__(
        self, library, folder: str, precision: str, batches: str, new_tokens: int, **options
    ) -> None:
        self.precision = precision
        self.new_tokens = new_tokens
        self.logits, self.generate = library.generator(folder, precision, **options)
        self.prompts = read_batches(batches)["prompts"][0]["input_ids"]

    def outputs(self) -> dict:
        """In bfloat16, rounding decides between ids that are almost as good."""
        outputs = {"logits": self.logits(self.prompts)}
        if self.precision == "float32":
            ids = self.generate(self.prompts, self.new_tokens)
            outputs["ids"] = np.asarray(ids).astype(np.int64)
        return outputs

    def turn(self, steps: int, new_tokens: int):
        return lambda: [_numpy(self.generate(self.prompts, new_tokens)) for _ in range(steps)]


class Translate(Work):
    """Generation by an encoder-decoder, after sentences of unequal length.

    ``library.translator(folder, generation, **options)`` takes the arguments of ``generate``, and
    gives a function of ids and mask [batch, length], for the decoder's ids.
    """

    def __init__(
        self, library, folder: str, batches: str, new_tokens: int, num_beams: int, **options
    ) -> None:
        generation = {
            "max_new_tokens": new_tokens,
            "min_new_tokens": new_tokens,
            "num_beams": num_beams,
            "do_sample": False,
        }
        self.translate = library.translator(folder, generation, **options)
        (batch,) = read_batches(batches)["sentences"]
        self.sentences = batch["input_ids"], batch["attention_mask"]

    def outputs(self) -> dict:
        return {"ids": np.asarray(self.translate(*self.sentences)).astype(np.int64)}

    def turn(self, steps: int):
        return lambda: [_numpy(self.translate(*self.sentences)) for _ in range(steps)]
