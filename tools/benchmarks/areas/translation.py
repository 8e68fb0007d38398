"""Generation by encoder-decoders: a batch of sentences, greedy and by beams."""

import numpy as np

from benchmarks.areas.setting import (
    TFHF,
    TFHF_XLA,
    TOLERANCES,
    TORCH,
    TRANSFORMERS4,
    TRANSFORMERS4_XLA,
    Setting,
)
from benchmarks.contest import Row


def translate(setting: Setting) -> list[Row]:
    """32 new tokens for each of 32 sentences of 10 to 40 tokens. KerasHub has neither model."""
    count, new_tokens = setting.size(32, 4), setting.size(32, 6)
    lengths = np.random.default_rng(0).integers(10, 41, count)
    rows = []
    for name in ("T5-small", "Marian-base"):
        model = setting.model(name)
        # Transformers 4 without XLA is slow: one model shows where it stands.
        plain = (TRANSFORMERS4,) if name == "T5-small" else ()
        contestants = (TFHF, TFHF_XLA, TORCH, TRANSFORMERS4_XLA, *plain)
        for num_beams, way in ((1, "greedy"), (4, "4 beams")):
            rows.append(
                Row(
                    area="translate",
                    name=f"translate, {name}, float32, {way}, {count} sentences, "
                    f"{new_tokens} new tokens each",
                    kind="translate",
                    contestants=setting.taking_part(*contestants),
                    work={
                        "folder": model.folder,
                        "batches": setting.batches(model.vocab_size, {"sentences": [lengths]}),
                        "new_tokens": new_tokens,
                        "num_beams": num_beams,
                    },
                    amounts={"sentences": count, "tokens": count * new_tokens},
                    steps=1,
                    tolerance=TOLERANCES["float32"],
                )
            )
    return rows
