"""Training sequence classifiers, and asking them."""

import numpy as np

from benchmarks import material
from benchmarks.areas.setting import (
    ALL,
    KERAS_HUB_XLA,
    PLAIN,
    TFHF,
    TFHF_LORA,
    TOLERANCES,
    TORCH,
    TORCH_COMPILE,
    TORCH_LORA,
    TRANSFORMERS4,
    Setting,
)
from benchmarks.contest import Contestant, Row


def fit(setting: Setting) -> list[Row]:
    """The same batches for all: of MRPC-like lengths, and of one length."""
    drawn = material.mrpc_lengths(setting.size(512, 64))
    length = setting.size(128, 16)
    batches = {
        "8, MRPC-like lengths": list(drawn.reshape(-1, 8)),
        "32, MRPC-like lengths": list(drawn.reshape(-1, 32)),
        f"32 x {length} tokens": [np.full(32, length)],
    }
    # The slowest have no part in BERT's rows: DistilBERT's show where they stand.
    contestants = {
        ("DistilBERT-base", "float32"): (*PLAIN, TORCH_COMPILE),
        ("DistilBERT-base", "bfloat16"): PLAIN,
        ("BERT-base", "float32"): (TFHF, TORCH, TRANSFORMERS4),
        ("BERT-base", "bfloat16"): (TFHF, TORCH),
    }
    rows = []
    for name in setting.some("DistilBERT-base", "BERT-base"):
        model = setting.model(name)
        for precision in ("float32", "bfloat16"):
            work = {
                "folder": model.folder,
                "precision": precision,
                "batches": setting.batches(model.vocab_size, batches),
            }
            for size, found in batches.items():
                fixed = size == f"32 x {length} tokens"
                if fixed and name == "BERT-base":
                    continue
                amounts = {"examples": len(found[0])}
                if fixed:
                    amounts["GFLOP"] = 1e-9 * model.matrix_flop(32, length, training=True)
                rows.append(
                    Row(
                        area="fit",
                        name=f"fit {name}, {precision}, batch {size}",
                        kind="fit",
                        contestants=setting.taking_part(*contestants[name, precision]),
                        work=work,
                        turn={"batches": size},
                        amounts=amounts,
                        steps=3 if size.startswith("8") else 1,
                        tolerance=TOLERANCES[precision],
                    )
                )
    return rows


def lora(setting: Setting) -> list[Row]:
    """All weights of a classifier, or LoRA's beside queries and values: time and peak memory.

    The peak has the weights, their gradients, the optimizer's state and the activations.
    """
    model = setting.model("DistilBERT-base")
    length = setting.size(128, 16)
    batches = {"fixed": [np.full(8, length)]}
    return [
        Row(
            area="lora",
            name=f"fit DistilBERT-base, float32, 8 x {length} tokens",
            kind="fit",
            contestants=setting.taking_part(TFHF, TFHF_LORA, TORCH, TORCH_LORA),
            work={
                "folder": model.folder,
                "precision": "float32",
                "batches": setting.batches(model.vocab_size, batches),
            },
            turn={"batches": "fixed"},
            amounts={"examples": 8},
            steps=3,
            tolerance=TOLERANCES["float32"],  # a new adapter changes no output
        )
    ]


def pipeline(setting: Setting) -> list[Row]:
    """``fit`` on MRPC-like rows by each library's own pipeline: examples a second."""
    model = setting.model("DistilBERT-base")
    rows = setting.size(3668, 512)  # as MRPC has
    table = setting.table(model.vocab_size, material.mrpc_lengths(rows))
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
            name="fit DistilBERT-base, float32, batch 32, own pipeline",
            kind="fit pipeline",
            contestants=setting.taking_part(*contestants),
            work={
                "folder": model.folder,
                "precision": "float32",
                "table": table,
                "batch_size": 32,
            },
            amounts={"examples": 32},
            steps=setting.size(6, 2),
        )
    ]


def predict(setting: Setting) -> list[Row]:
    """``predict`` of 32 x 128 tokens."""
    model = setting.model("DistilBERT-base")
    length = setting.size(128, 16)
    batches = {"fixed": [np.full(32, length)]}
    return [
        Row(
            area="predict",
            name=f"predict DistilBERT-base, {precision}, 32 x {length} tokens",
            kind="predict",
            contestants=setting.taking_part(*(ALL if precision == "float32" else PLAIN)),
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
        for precision in setting.some("float32", "bfloat16")
    ]


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
                contestants=setting.taking_part(*(ALL if name == "DistilBERT-base" else PLAIN)),
                work={
                    "folder": model.folder,
                    "precision": "float32",
                    "batches": setting.batches(model.vocab_size, {"one": [np.array([32])]}),
                },
                turn={"batches": "one"},
                tolerance=TOLERANCES["float32"],
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
            contestants=setting.taking_part(*ALL),
            work={
                "folder": model.folder,
                "precision": "float32",
                "batches": setting.batches(model.vocab_size, batches),
            },
            turn={"batches": "fixed"},
            amounts={"examples": 8},
            steps=setting.size(100, 10),  # so that the start of ``fit`` weighs little
            tolerance=TOLERANCES["float32"],
        )
    ]
