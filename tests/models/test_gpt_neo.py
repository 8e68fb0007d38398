"""GPT-Neo equals PyTorch's: global and local layers, in any order."""

from parity import ParityTests
from transformers import GPTNeoConfig

TINY = {
    "vocab_size": 29,
    "max_position_embeddings": 24,
    "hidden_size": 12,
    "num_layers": 2,
    "num_heads": 3,
    "attention_types": [[["global", "local"], 1]],
    "window_size": 3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


class TestGPTNeo(ParityTests):
    family = "GPTNeo"
    configs = {
        "plain": GPTNeoConfig(**TINY),
        "every option": GPTNeoConfig(
            **TINY
            | {
                "num_layers": 3,
                "num_heads": 2,
                "attention_types": [[["local"], 2], [["global"], 1]],
                "window_size": 5,
            },
            intermediate_size=17,
            activation_function="gelu",
            layer_norm_epsilon=1e-3,
            tie_word_embeddings=False,
            num_labels=2,
        ),
        "one layer": GPTNeoConfig(
            **TINY | {"num_layers": 1, "num_heads": 1, "attention_types": [[["local"], 1]]},
            num_labels=3,
        ),
        "regression": GPTNeoConfig(**TINY, num_labels=1),
    }

    def inputs(self, head, config, ours, seed=0):
        cases = super().inputs(head, config, ours, seed)
        # There, padding that sees no text in its window sees something else than here: let there
        # be text in all windows. Left padding is in the tests of the cache, without what it sees.
        del cases["left padding"]
        for case in cases.values():
            if "attention_mask" in case:
                case["attention_mask"] = case["attention_mask"].copy()
                case["attention_mask"][:, :5] = 1
        return cases
