"""MPNet against PyTorch: relative positions near and far, positions that skip padding."""

import numpy as np
from parity import ParityTests
from transformers import MPNetConfig

TINY = {
    "vocab_size": 29,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 17,
    "max_position_embeddings": 13,
}
CONFIGS = {
    "plain": TINY,
    "odd": TINY
    | {
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "hidden_act": "relu",
        "pad_token_id": 3,
        "relative_attention_num_buckets": 35,
        "layer_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "num_labels": 5,
    },
    "long": TINY | {"max_position_embeddings": 160, "num_hidden_layers": 1},
    "regression": TINY | {"num_labels": 1},
    "several labels": TINY | {"num_labels": 4, "problem_type": "multi_label_classification"},
}


class TestMPNet(ParityTests):
    family = "MPNet"
    configs = {name: MPNetConfig(**options) for name, options in CONFIGS.items()}

    def inputs(self, head, config, ours, seed=0):
        cases = super().inputs(head, config, ours, seed)
        if head == "Model" and config.max_position_embeddings > 150:
            rng = np.random.default_rng(seed)
            cases["far apart"] = {"input_ids": rng.integers(0, config.vocab_size, (2, 150))}
        return cases
