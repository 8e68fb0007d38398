"""RoBERTa against PyTorch: padding id 1, positions that skip padding."""

from parity import ParityTests
from transformers import RobertaConfig

TINY = {
    "vocab_size": 29,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 17,
    "max_position_embeddings": 13,
    "type_vocab_size": 1,
}
CONFIGS = {
    "plain": TINY,
    "odd": TINY
    | {
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "hidden_act": "relu",
        "pad_token_id": 0,
        "type_vocab_size": 3,
        "layer_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "num_labels": 5,
        "classifier_dropout": 0.2,
    },
    "decoder": TINY | {"is_decoder": True, "num_labels": 3},
    "regression": TINY | {"num_labels": 1},
}


class TestRoberta(ParityTests):
    family = "Roberta"
    configs = {name: RobertaConfig(**options) for name, options in CONFIGS.items()}
