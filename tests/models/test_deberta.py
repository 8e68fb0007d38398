"""DeBERTa against PyTorch: all kinds of positions, both heads, lengths beyond the distances."""

import pytest
from parity import ParityTests
from transformers import DebertaConfig

import tfhf

TINY = {
    "vocab_size": 29,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 17,
    "max_position_embeddings": 11,
}
#: What the published checkpoints have
BASE = TINY | {
    "relative_attention": True,
    "pos_att_type": ["c2p", "p2c"],
    "position_biased_input": False,
    "legacy": False,
}
CONFIGS = {
    "plain": BASE,
    "every option": BASE
    | {
        "embedding_size": 10,
        "num_labels": 3,
        "type_vocab_size": 3,
        "max_relative_positions": 5,
        "position_biased_input": True,
        "pooler_hidden_act": "tanh",
        "pooler_dropout": 0.2,
        "cls_dropout": 0.3,
        "layer_norm_eps": 1e-5,
        "legacy": True,
    },
    "odd": TINY
    | {
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "relative_attention": True,
        "pos_att_type": "p2c",
        "max_relative_positions": 3,
        "hidden_act": "relu",
        "tie_word_embeddings": False,
    },
    "absolute": TINY | {"num_labels": 3},
    "c2p": BASE | {"pos_att_type": ["c2p"], "num_labels": 1, "problem_type": "regression"},
}


class TestDeberta(ParityTests):
    family = "Deberta"
    configs = {name: DebertaConfig(**options) for name, options in CONFIGS.items()}


def test_talking_heads_are_refused():
    with pytest.raises(ValueError, match="talking_head=True is not supported"):
        tfhf.TFDebertaModel(DebertaConfig(**TINY, talking_head=True))
