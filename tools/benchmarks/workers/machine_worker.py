"""The machine itself, by NumPy: matrix products, memory bandwidth."""

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from benchmarks.workers.protocol import Work, serve

THREADS = int(os.environ["OMP_NUM_THREADS"])
IN_CACHE = 1 << 15  # floats of a piece that stays in a core's cache between two operations


class MatrixProduct(Work):
    """Products of [m, k] and [k, n] in float32."""

    def turn(self, steps: int, shape: list[int]):
        m, k, n = shape
        rng = np.random.default_rng(0)
        a, b = (rng.standard_normal(size, np.float32) for size in ((m, k), (k, n)))
        out = np.empty((m, n), np.float32)
        return lambda: [np.matmul(a, b, out=out) for _ in range(steps)]


class Memory(Work):
    """Read ``b``, copy ``a = b`` or triad ``a = b + 3 * c``: arrays of ``floats``, all threads."""

    def __init__(self, floats: int, operation: str, passes: float = 1.0) -> None:
        self.arrays = [np.full(floats, value, np.float32) for value in (0, 1, 2)]
        self.floats = floats
        self.operation = {"read": _read, "copy": _copy, "triad": _triad}[operation]
        self.passes = passes
        self.pool = ThreadPoolExecutor(THREADS)

    def turn(self, steps: int):
        def act():
            for _ in range(steps):
                left = self.passes
                while left > 0:
                    self._once(int(min(left, 1) * self.floats))
                    left -= 1

        return act

    def _once(self, floats: int) -> None:
        bounds = np.linspace(0, floats, THREADS + 1).astype(int)
        parts = [[array[i:j] for array in self.arrays] for i, j in pairwise(bounds)]
        list(self.pool.map(self.operation, parts))


def _read(arrays) -> None:
    _, b, _ = arrays
    np.dot(b, b)


def _copy(arrays) -> None:
    a, b, _ = arrays
    np.copyto(a, b)


def _triad(arrays) -> None:
    a, b, c = arrays
    for i in range(0, len(a), IN_CACHE):
        piece = a[i : i + IN_CACHE]
        np.multiply(c[i : i + IN_CACHE], 3, out=piece)
        np.add(piece, b[i : i + IN_CACHE], out=piece)


KINDS = {
    "matrix product": lambda precision: MatrixProduct(),
    "memory": Memory,
    "optimizer": lambda folder, floats: Memory(floats, "copy", passes=3.5),
}

if __name__ == "__main__":
    serve(KINDS)
