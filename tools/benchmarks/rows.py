"""What is measured: the rows of each area, and who takes part in them."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import material
from benchmarks.contest import Contestant, Row

TFHF = Contestant("tfhf", "tfhf")
TFHF_XLA = Contestant("tfhf, XLA", "tfhf", {"xla": True})
TORCH = Contestant("PyTorch", "torch")
TORCH_COMPILE = Contestant("PyTorch, compiled", "torch", {"compile": True})
TRANSFORMERS4 = Contestant("Transformers 4 TF", "transformers4")
KERAS_HUB = Contestant("KerasHub", "keras_hub")
KERAS_HUB_XLA = Contestant("KerasHub, XLA", "keras_hub", {"xla": True})
PLAIN = (TFHF, TORCH, TRANSFORMERS4, KERAS_HUB)
ALL = (TFHF, TFHF_XLA, TORCH, TORCH_COMPILE, TRANSFORMERS4, KERAS_HUB, KERAS_HUB_XLA)

FLOAT32_TOLERANCE = 1e-4
BFLOAT16_TOLERANCE = 5e-2
TOLERANCES = {"float32": FLOAT32_TOLERANCE, "bfloat16": BFLOAT16_TOLERANCE}

LATER = {"generate": "comes with generation", "serve": "comes with serving"}
"""Areas that have a name and no rows yet."""


@dataclass(frozen=True)
class Setting:
    """How a run was asked for."""

    peers: bool
    small: bool
    folder: Path

    def model(self, name: str) -> material.Model:
        return material.model(name, small=self.small)

    def size(self, full: int, small: int) -> int:
        return small if self.small else full

    def some(self, *choices: str) -> tuple[str, ...]:
        return choices[:1] if self.small else choices

    def taking_part(self, contestants: tuple[Contestant, ...]) -> tuple[Contestant, ...]:
        ours = ("tfhf", "machine")
        return tuple(c for c in contestants if self.peers or c.environment in ours)

    def batches(self, vocab_size: int, batches: dict[str, list[np.ndarray]]) -> str:
        """Write batches, and a short one with padding that is only checked."""
        batches = {"check": [np.array([7, 12, 9, 3])]} | batches
        return material.write_batches(self._new("batches"), vocab_size, batches)

    def table(self, vocab_size: int, lengths: np.ndarray) -> str:
        return material.write_table(self._new("table"), vocab_size, lengths)

    def _new(self, name: str) -> Path:
        return Path(tempfile.mkstemp(".npz", name, self.folder)[1])


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
                contestants=setting.taking_part(tuple(contestants)),
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
        for operation, arrays in (("copy", 2), ("triad", 3))
    ]
    return rows


def fit(setting: Setting) -> list[Row]:
    """Sequence classification: the same batches for all, then each library's own pipeline."""
    rows = []
    drawn = material.mrpc_lengths(setting.size(512, 32))
    batches = {
        "batch 8": list(drawn.reshape(-1, 8)),
        "batch 32": list(drawn.reshape(-1, 32)),
    }
    fixed_length = setting.size(128, 16)
    for name in setting.some("DistilBERT-base", "BERT-base"):
        model = setting.model(name)
        for precision in ("float32", "bfloat16"):
            work = {
                "folder": model.folder,
                "precision": precision,
                "batches": setting.batches(model.vocab_size, batches),
            }
            compiled = name == "DistilBERT-base" and precision == "float32"
            rows += [
                Row(
                    area="fit",
                    name=f"fit {name}, {precision}, {size}, MRPC-like lengths",
                    kind="fit",
                    contestants=setting.taking_part((*PLAIN, TORCH_COMPILE) if compiled else PLAIN),
                    work=work,
                    turn={"batches": size},
                    amounts={"examples": len(batches[size][0])},
                    tolerance=TOLERANCES[precision],
                )
                for size in batches
            ]
    model = setting.model("DistilBERT-base")
    fixed = {"fixed": [np.full(32, fixed_length)]}
    for precision in setting.some("float32", "bfloat16"):
        rows.append(
            Row(
                area="fit",
                name=f"fit DistilBERT-base, {precision}, 32 x {fixed_length} tokens",
                kind="fit",
                contestants=setting.taking_part(ALL if precision == "float32" else PLAIN),
                work={
                    "folder": model.folder,
                    "precision": precision,
                    "batches": setting.batches(model.vocab_size, fixed),
                },
                turn={"batches": "fixed"},
                amounts={
                    "examples": 32,
                    "GFLOP": 1e-9 * model.matrix_flop(32, fixed_length, training=True),
                },
                tolerance=TOLERANCES[precision],
            )
        )
    return rows


def pipeline(setting: Setting) -> list[Row]:
    """``fit`` on MRPC-like rows by each library's own pipeline: examples a second."""
    model = setting.model("DistilBERT-base")
    table = setting.table(
        model.vocab_size,
        material.mrpc_lengths(setting.size(3668, 256)),  # as MRPC has
    )
    contestants = (
        TFHF,
        TORCH,
        Contestant("PyTorch, grouped", "torch", {"grouped": True}),
        TRANSFORMERS4,
        KERAS_HUB_XLA,  # one length and XLA are KerasHub's own defaults
    )
    return [
        Row(
            area="pipeline",
            name=f"fit DistilBERT-base, float32, batch {batch_size}, own pipeline",
            kind="fit pipeline",
            contestants=setting.taking_part(contestants),
            work={
                "folder": model.folder,
                "precision": "float32",
                "table": table,
                "batch_size": batch_size,
            },
            amounts={"examples": batch_size},
            steps=steps,
        )
        for batch_size, steps in ((8, 8), (32, 3))
    ]


def predict(setting: Setting) -> list[Row]:
    """``predict`` of 32 x 128 tokens."""
    model = setting.model("DistilBERT-base")
    length = setting.size(128, 16)
    rows = []
    for precision in setting.some("float32", "bfloat16"):
        batches = {"fixed": [np.full(32, length)]}
        rows.append(
            Row(
                area="predict",
                name=f"predict DistilBERT-base, {precision}, 32 x {length} tokens",
                kind="predict",
                contestants=setting.taking_part(ALL if precision == "float32" else PLAIN),
                work={
                    "folder": model.folder,
                    "precision": precision,
                    "batches": setting.batches(model.vocab_size, batches),
                },
                turn={"batches": "fixed"},
                amounts={
                    "examples": 32,
                    "GFLOP": 1e-9 * model.matrix_flop(32, length, training=False),
                },
                tolerance=TOLERANCES[precision],
            )
        )
    return rows


def latency(setting: Setting) -> list[Row]:
    """One request of 32 tokens at a time."""
    rows = []
    for name in setting.some("DistilBERT-base", "BERT-base"):
        model = setting.model(name)
        rows.append(
            Row(
                area="latency",
                name=f"one request to {name}, float32, 1 x 32 tokens",
                kind="latency",
                contestants=setting.taking_part(ALL if name == "DistilBERT-base" else PLAIN),
                work={
                    "folder": model.folder,
                    "precision": "float32",
                    "batches": setting.batches(model.vocab_size, {"one": [np.array([32])]}),
                },
                turn={"batches": "one"},
                tolerance=FLOAT32_TOLERANCE,
            )
        )
    return rows


def inputs(setting: Setting) -> list[Row]:
    """Every path from rows to batches, over rows of 8 to 128 tokens."""
    count = setting.size(20_000, 200)
    model = setting.model("BERT-tiny")
    lengths = np.random.default_rng(0).integers(8, 129, count)
    paths = [
        ("tfhf", "grouped by length"),
        ("tfhf", "shuffled"),
        ("tfhf", "in order"),
        ("tfhf", "collator"),
        ("tfhf", "to_tf_dataset"),
        ("torch", "DataLoader"),
        ("torch", "DataLoader, grouped"),
        ("transformers4", "prepare_tf_dataset"),
        ("keras_hub", "one length"),
    ]
    names = {c.environment: c.name for c in PLAIN}
    contestants = tuple(
        Contestant(f"{names[environment]}: {path}", environment, {"path": path})
        for environment, path in paths
    )
    return [
        Row(
            area="input",
            name=f"{count:,} rows of 8 to 128 tokens, batch 32",
            kind="input",
            contestants=setting.taking_part(contestants),
            work={
                "folder": model.folder,
                "table": setting.table(model.vocab_size, lengths),
                "batch_size": 32,
            },
            amounts={"rows": count},
            steps=1,
        )
    ]


def load(setting: Setting) -> list[Row]:
    """``from_pretrained`` of BERT-base, and imports, each in a new Python."""
    model = setting.model("BERT-base")
    rows = [
        Row(
            area="load",
            name=f"load BERT-base from safetensors, {temperature}",
            kind="load",
            contestants=setting.taking_part(PLAIN),
            work={
                "folder": model.folder,
                "rehearsal": setting.model("BERT-tiny").folder,
            },
            turn={"cold": temperature == "cold"},
            amounts={"MB": 4e-6 * model.parameters},
            steps=1,
        )
        for temperature in ("cold", "warm")
    ]
    imports = (
        ("tfhf", "tfhf", "import tfhf"),
        ("Python alone", "tfhf", "pass"),
        ("tfhf", "tfhf", "from tfhf import TFBertModel"),
        ("PyTorch", "torch", "from transformers import BertModel"),
        ("Transformers 4 TF", "transformers4", "from transformers import TFBertModel"),
        ("KerasHub", "keras_hub", "from keras_hub.models import BertBackbone"),
    )
    contestants = tuple(
        Contestant(f"{name}: {statement}", environment, {"statement": statement})
        for name, environment, statement in imports
    )
    rows.append(
        Row(
            area="load",
            name="start Python and import",
            kind="import",
            contestants=setting.taking_part(contestants),
            steps=1,
        )
    )
    return rows


def step_overhead(setting: Setting) -> list[Row]:
    """``fit`` of a model so small that Python and the optimizer dominate."""
    model = setting.model("BERT-tiny")
    batches = {"fixed": [np.full(8, 32)]}
    return [
        Row(
            area="step_overhead",
            name="fit BERT-tiny (2 layers, 128 wide), float32, 8 x 32 tokens",
            kind="fit",
            contestants=setting.taking_part(ALL),
            work={
                "folder": model.folder,
                "precision": "float32",
                "batches": setting.batches(model.vocab_size, batches),
            },
            turn={"batches": "fixed"},
            amounts={"examples": 8},
            tolerance=FLOAT32_TOLERANCE,
        )
    ]


def optimizer(setting: Setting) -> list[Row]:
    """One AdamW update of BERT-base: 4 numbers read and 3 written for each parameter."""
    model = setting.model("BERT-base")
    copy = Contestant("bare copy of as many bytes", "machine", {"floats": model.parameters})
    return [
        Row(
            area="optimizer",
            name="AdamW update of BERT-base's variables, float32",
            kind="optimizer",
            contestants=setting.taking_part((TFHF, copy, TORCH, TRANSFORMERS4, KERAS_HUB)),
            work={"folder": model.folder},
            amounts={"GB": 4e-9 * 7 * model.parameters},
        )
    ]


def attention_memory(setting: Setting) -> list[Row]:
    """Memory of one long row: what counts is the peak, not the time."""
    model = setting.model("long BERT")
    length = setting.size(4096, 256)
    return [
        Row(
            area="attention_memory",
            name=f"{kind} BERT of 2 layers, 256 wide, float32, 1 x {length} tokens",
            kind=kind,
            contestants=setting.taking_part(PLAIN),
            work={
                "folder": model.folder,
                "precision": "float32",
                "batches": setting.batches(model.vocab_size, {"long": [np.array([length])]}),
            },
            turn={"batches": "long"},
            steps=1,
            rounds=1,
            tolerance=FLOAT32_TOLERANCE,
        )
        for kind in ("predict", "fit")
    ]


AREAS: dict[str, Callable[[Setting], list[Row]]] = {
    "limits": limits,
    "fit": fit,
    "pipeline": pipeline,
    "predict": predict,
    "latency": latency,
    "input": inputs,
    "load": load,
    "step_overhead": step_overhead,
    "optimizer": optimizer,
    "attention_memory": attention_memory,
}
