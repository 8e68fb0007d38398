"""Text in, answer out, from a SavedModel: as a server answers, a request after the other."""

import numpy as np

from benchmarks import material
from benchmarks.areas.setting import TFHF, TOLERANCES, TORCH, Setting
from benchmarks.contest import Contestant, Row

# What TF Serving is built on; its requests and answers go through a pipe here.
C_LOADER = Contestant("SavedModel, C loader", "tfhf", {"loader": "C"})
PYTHON_LOADER = Contestant("SavedModel, in Python", "tfhf", {"loader": "Python"})
ONNX = Contestant("ONNX Runtime, tokenizers", "torch", {"onnx": True})


def serve(setting: Setting) -> list[Row]:
    """Labels of sentences, and texts that go on."""
    return [*_labels(setting), *_texts(setting)]


def _labels(setting: Setting) -> list[Row]:
    """Requests of as many sentences of mixed lengths as the batch size says."""
    model = setting.model("DistilBERT-base")
    sentences = setting.sentences(model.vocab_size, material.review_lengths(512))
    return [
        Row(
            area="serve",
            name=f"sentences to labels, DistilBERT-base, float32, batch {size}",
            kind="serve labels",
            contestants=setting.taking_part(C_LOADER, PYTHON_LOADER, TORCH, ONNX),
            work={"folder": model.folder, "sentences": sentences},
            turn={"batch_size": size},
            amounts={"sentences": size},
            tolerance=TOLERANCES["float32"],
        )
        for size in (1, 8, 32)
    ]


def _texts(setting: Setting) -> list[Row]:
    """Greedy continuations; ``tfhf`` is its pipeline."""
    model = setting.model("GPT-2")
    tokenizer = setting.byte_level_tokenizer(model.vocab_size)
    # Three words of five digits: of one length, for which the pipeline, too, generates once.
    prompts = setting.sentences(100_000, np.full(64, 5), first_id=10_000)
    new_tokens = setting.size(64, 8)
    return [
        Row(
            area="serve",
            name=f"texts to texts, GPT-2, float32, batch {size}, {new_tokens} new tokens",
            kind="serve texts",
            contestants=setting.taking_part(C_LOADER, PYTHON_LOADER, TFHF, TORCH),
            work={
                "folder": model.folder,
                "tokenizer": tokenizer,
                "sentences": prompts,
                "new_tokens": new_tokens,
            },
            turn={"batch_size": size},
            amounts={"tokens": size * new_tokens},
            steps=1,
            tolerance=TOLERANCES["float32"],
        )
        for size in (1, 8)
    ]
