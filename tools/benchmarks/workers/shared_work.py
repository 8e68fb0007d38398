"""Work that is done in the same way for every library."""

import ctypes
import functools
import json
import mmap
import os
import subprocess
import sys
import time
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


class Classify(Work):
    """Sentences through a library's own pipeline, all of them in each step.

    ``library.classifier(folder)`` gives a function of texts, a batch size (``None``: the library's
    own) and the pipeline's options. Of several batch sizes, the one that is best on the first
    `TRIAL` sentences is taken.
    """

    TRIAL = 256

    def __init__(self, library, folder: str, sentences: str, batch_sizes=(None,)) -> None:
        self.classify = library.classifier(folder)
        self.sentences = json.loads(Path(sentences).read_text())
        self.batch_sizes = batch_sizes

    def outputs(self) -> dict:
        options = {"top_k": None, "function_to_apply": "none"}
        found = self.classify(self.sentences[:50], self.batch_sizes[-1], **options)
        by_name = [{label["label"]: label["score"] for label in labels} for labels in found]
        return {"logits": np.array([[row[name] for name in sorted(row)] for row in by_name])}

    @functools.cached_property
    def batch_size(self) -> int | None:
        if len(self.batch_sizes) == 1:
            return self.batch_sizes[0]
        return min(self.batch_sizes, key=self._seconds)

    def _seconds(self, batch_size: int) -> float:
        start = time.perf_counter()
        self.classify(self.sentences[: self.TRIAL], batch_size)
        return time.perf_counter() - start

    def turn(self, steps: int):
        size = self.batch_size  # found in the first turn, when nobody else works

        def act():
            for _ in range(steps):
                self.classify(self.sentences, size)
            return lambda: {"batch_size": size} if size else {}

        return act


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


class ServeLabels(Work):
    """Requests of sentences, one after the other.

    ``library.label_server(folder, **options)`` gives a function of texts, for their labels and the
    scores of these.
    """

    def __init__(self, library, folder: str, sentences: str, **options) -> None:
        self.ask = library.label_server(folder, **options)
        self.sentences = json.loads(Path(sentences).read_text())
        self.position = 0

    def outputs(self) -> dict:
        """Of two labels, the difference of the logits: scores themselves are all close to 0.5."""
        labels, scores = (np.array(each) for each in self.ask(self.sentences[:50]))
        return {
            "labels": np.array([int(label.removeprefix("LABEL_")) for label in labels]),
            "logits": np.log(scores / (1 - scores)),
        }

    def turn(self, steps: int, batch_size: int):
        requests = _requests(self.sentences, self.position, steps, batch_size)
        self.position += steps * batch_size
        return lambda: [self.ask(request) for request in requests]


class ServeTexts(Work):
    """Requests of prompts, one after the other; greedy.

    ``library.text_server(folder, tokenizer, generation, **options)`` takes the folders of the model
    and the tokenizer and the arguments of ``generate``, and gives a function of texts, for the
    texts with what follows.
    """

    def __init__(
        self, library, folder: str, tokenizer: str, sentences: str, new_tokens: int, **options
    ) -> None:
        generation = {
            "max_new_tokens": new_tokens,
            "min_new_tokens": new_tokens,
            "do_sample": False,
        }
        self.ask = library.text_server(folder, tokenizer, generation, **options)
        self.prompts = json.loads(Path(sentences).read_text())
        self.position = 0

    def outputs(self) -> dict:
        texts = self.ask(self.prompts[:3])
        return {"bytes": np.frombuffer("\n".join(texts).encode(), np.uint8).astype(np.int64)}

    def turn(self, steps: int, batch_size: int):
        requests = _requests(self.prompts, self.position, steps, batch_size)
        self.position += steps * batch_size
        return lambda: [self.ask(request) for request in requests]


def _requests(texts: list[str], position: int, steps: int, batch_size: int) -> list[list[str]]:
    """Cut requests out of texts that begin again where they end."""
    found = [texts[(position + i) % len(texts)] for i in range(steps * batch_size)]
    return [found[i : i + batch_size] for i in range(0, len(found), batch_size)]
