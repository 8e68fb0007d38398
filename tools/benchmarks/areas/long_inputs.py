"""Memory of long rows: what counts is what a step adds, not the time."""

import numpy as np

from benchmarks.areas.setting import PLAIN, TFHF, TOLERANCES, TORCH, TRANSFORMERS4, Setting
from benchmarks.contest import Contestant, Row


def attention_memory(setting: Setting) -> list[Row]:
    """Attention of all tokens to all."""
    length = setting.size(4096, 256)
    return _rows(
        setting, "attention_memory", "long BERT", [length], [length], PLAIN, np.array([100, 70])
    )


def longformer(setting: Setting) -> list[Row]:
    """Attention in a window of 512 tokens: memory grows with the length, not its square."""
    lengths = [setting.size(full, full // 64) for full in (2048, 4096, 8192, 16_384)]
    contestants = (TFHF, TORCH, TRANSFORMERS4)  # KerasHub has no Longformer
    check = np.array([setting.size(1100, 40), setting.size(700, 21)])  # several windows
    return _rows(setting, "longformer", "Longformer", lengths, lengths[1::2], contestants, check)


def _rows(
    setting: Setting,
    area: str,
    name: str,
    lengths: list[int],
    trained: list[int],
    contestants: tuple[Contestant, ...],
    check: np.ndarray,
) -> list[Row]:
    model = setting.model(name)
    batches = {
        length: setting.batches(
            model.vocab_size, {"tiny": [np.array([8])], "long": [np.array([length])]}, check
        )
        for length in lengths
    }
    return [
        Row(
            area=area,
            name=f"{kind} {name}, 2 layers, 256 wide, float32, 1 x {length:,} tokens",
            kind=kind,
            contestants=setting.taking_part(*contestants),
            work={
                "folder": model.folder,
                "precision": "float32",
                "batches": batches[length],
            },
            rehearsal={"batches": "tiny"},
            turn={"batches": "long"},
            amounts={"tokens": length},
            steps=1,
            rounds=1,
            # Once a model was trained, there is nothing to compare.
            tolerance=TOLERANCES["float32"] if kind == "predict" else None,
        )
        for kind, chosen in (("predict", lengths), ("fit", trained))
        for length in chosen
    ]
