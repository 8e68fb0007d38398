"""The machine's limits, and the work that only they bound."""

from benchmarks.areas.setting import KERAS_HUB, TFHF, TORCH, TRANSFORMERS4, Setting
from benchmarks.contest import Contestant, Row


def limits(setting: Setting) -> list[Row]:
    """The machine: matrix products in the shapes of BERT-base, and memory."""
    tokens = setting.size(4096, 64)
    wide, narrow = setting.size(3072, 128), setting.size(768, 32)
    shapes = [
        (tokens, narrow, narrow),
        (tokens, narrow, 3 * narrow),
        (tokens, narrow, wide),
        (tokens, wide, narrow),
        (narrow, tokens, wide),
    ]
    rows = []
    for precision in ("float32", "bfloat16"):
        contestants = [
            Contestant("TensorFlow", "tfhf", {"xla": False}),
            Contestant("XLA", "tfhf", {"xla": True}),
            Contestant("PyTorch", "torch"),
        ]
        if precision == "float32":  # NumPy has no other
            contestants.append(Contestant("NumPy", "machine"))
        rows += [
            Row(
                area="limits",
                name=f"matrix product, {precision}, {m} x {k} x {n}",
                kind="matrix product",
                contestants=setting.taking_part(*contestants),
                work={"precision": precision},
                turn={"shape": [m, k, n]},
                amounts={"GFLOP": 2e-9 * m * k * n},
            )
            for m, k, n in shapes
        ]
    floats = setting.size(1 << 27, 1 << 16)
    rows += [
        Row(
            area="limits",
            name=f"memory, {operation}",
            kind="memory",
            contestants=(Contestant("NumPy", "machine"),),
            work={"floats": floats, "operation": operation},
            amounts={"GB": 4e-9 * floats * arrays},
        )
        for operation, arrays in (("read", 1), ("copy", 2), ("triad", 3))
    ]
    return rows


def optimizer(setting: Setting) -> list[Row]:
    """One AdamW update of BERT-base: 4 numbers read and 3 written for each parameter."""
    model = setting.model("BERT-base")
    copy = Contestant("bare copy of as many bytes", "machine", {"floats": model.parameters})
    return [
        Row(
            area="optimizer",
            name="AdamW update of BERT-base's variables, float32",
            kind="optimizer",
            contestants=setting.taking_part(TFHF, copy, TORCH, TRANSFORMERS4, KERAS_HUB),
            work={"folder": model.folder},
            amounts={"GB": 4e-9 * 7 * model.parameters},
        )
    ]
