"""Sentences through ``pipeline``, from text to label."""

from benchmarks import material
from benchmarks.areas.setting import TFHF, TOLERANCES, TORCH, Setting
from benchmarks.contest import Contestant, Row

#: Of batches that are tried.
SIZES = (1, 8, 32, 64)
TFHF_BEST = Contestant("tfhf, best batch size", "tfhf", {"batch_sizes": SIZES})
TORCH_BEST = Contestant("PyTorch, best batch size", "torch", {"batch_sizes": SIZES})


def pipelines(setting: Setting) -> list[Row]:
    """Sentences of mixed lengths, in no order; each library at its own batch size and its best."""
    model = setting.model("DistilBERT-base")
    count = setting.size(2000, 100)
    lengths = material.review_lengths(count)
    return [
        Row(
            area="pipelines",
            name=f"sentiment-analysis, DistilBERT-base, float32, {count:,} sentences",
            kind="classify",
            contestants=setting.taking_part(TFHF, TFHF_BEST, TORCH, TORCH_BEST),
            work={
                "folder": model.folder,
                "sentences": setting.sentences(model.vocab_size, lengths),
            },
            amounts={"sentences": count},
            steps=1,
            tolerance=TOLERANCES["float32"],
        )
    ]
