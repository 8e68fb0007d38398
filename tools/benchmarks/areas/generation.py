"""Greedy generation. The limit is reading all weights from memory once for each token."""

import numpy as np

from benchmarks.areas.setting import (
    KERAS_HUB,
    KERAS_HUB_XLA,
    TFHF,
    TFHF_XLA,
    TOLERANCES,
    TORCH,
    TRANSFORMERS4,
    TRANSFORMERS4_XLA,
    Setting,
)
from benchmarks.contest import Contestant, Row

TORCH_STATIC = Contestant("PyTorch, static cache", "torch", {"static_cache": True})
ANY_MODEL = (TFHF, TFHF_XLA, TORCH, TORCH_STATIC)
COMPILED = (*ANY_MODEL, TRANSFORMERS4_XLA, KERAS_HUB, KERAS_HUB_XLA)
BYTES = {"float32": 4, "bfloat16": 2}


def generate(setting: Setting) -> list[Row]:
    """64 new tokens after prompts of 32, and GPT-2 up to its last position."""
    new_tokens = setting.size(64, 8)
    rows = []
    for precision in ("float32", "bfloat16"):
        for batch in (1, 8):
            # Transformers 4 without XLA takes 20 s for one row: once is enough.
            plain = (TRANSFORMERS4,) if (precision, batch) == ("float32", 1) else ()
            contestants = (*COMPILED, *plain)
            rows += _rows(setting, "GPT-2", precision, (batch, 32), contestants, new_tokens)
    rows += _rows(setting, "Qwen3-0.6B", "bfloat16", (1, 32), ANY_MODEL, new_tokens)
    long, short = setting.size(1000, 40), setting.size(100, 8)
    rows += _rows(setting, "GPT-2", "float32", (1, 24), (TFHF, TFHF_XLA, TORCH), long, short)
    return rows


def _rows(
    setting: Setting,
    name: str,
    precision: str,
    prompts: tuple[int, int],
    contestants: tuple[Contestant, ...],
    *new_tokens: int,
) -> list[Row]:
    """A row for each number of new tokens; where there are two, memory is that of the first.

    The ids of the last must be equal.
    """
    model = setting.model(name)
    batch, length = prompts
    work = {
        "folder": model.folder,
        "precision": precision,
        "batches": setting.batches(model.vocab_size, {"prompts": [np.full(batch, length)]}),
        "new_tokens": new_tokens[-1],
    }
    gigabytes = 1e-9 * BYTES[precision] * model.parameters
    return [
        Row(
            area="generate",
            name=f"generate, {name}, {precision}, {batch} x {length} + {count:,} tokens",
            kind="generate",
            contestants=setting.taking_part(*contestants),
            work=work,
            rehearsal={"new_tokens": new_tokens[-1]} if count > new_tokens[-1] else None,
            turn={"new_tokens": count},
            amounts={"tokens": batch * count, "GB": gigabytes * count},
            steps=1,
            rounds=1 if count > new_tokens[-1] else None,
            tolerance=TOLERANCES[precision],
        )
        for count in new_tokens
    ]
