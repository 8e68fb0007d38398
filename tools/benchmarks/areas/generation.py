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
COMPILED = (TFHF, TFHF_XLA, TORCH, TORCH_STATIC, TRANSFORMERS4_XLA, KERAS_HUB, KERAS_HUB_XLA)
BYTES = {"float32": 4, "bfloat16": 2}


def generate(setting: Setting) -> list[Row]:
    """GPT-2 small, 64 new tokens after prompts of 32."""
    model = setting.model("GPT-2")
    new_tokens = setting.size(64, 8)
    rows = []
    for precision in ("float32", "bfloat16"):
        for batch in (1, 8):
            # Transformers 4 without XLA takes 20 s for one row: once is enough.
            plain = (TRANSFORMERS4,) if (precision, batch) == ("float32", 1) else ()
            gigabytes = 1e-9 * BYTES[precision] * model.parameters
            rows.append(
                Row(
                    area="generate",
                    name=f"generate, GPT-2, {precision}, {batch} x 32 + {new_tokens} tokens",
                    kind="generate",
                    contestants=setting.taking_part(*COMPILED, *plain),
                    work={
                        "folder": model.folder,
                        "precision": precision,
                        "batches": setting.batches(
                            model.vocab_size, {"prompts": [np.full(batch, 32)]}
                        ),
                        "new_tokens": new_tokens,
                    },
                    amounts={"tokens": batch * new_tokens, "GB": gigabytes * new_tokens},
                    steps=1,
                    tolerance=TOLERANCES[precision],
                )
            )
    return rows
