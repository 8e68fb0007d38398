"""BERT against PyTorch: tiny random configurations, each with something odd."""

from parity import ParityTests
from transformers import BertConfig

TINY = {
    "vocab_size": 29,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 17,
    "max_position_embeddings": 11,
}


class TestBert(ParityTests):
    family = "Bert"
    configs = {
        "plain": BertConfig(**TINY),
        "odd": BertConfig(
            **TINY | {"num_hidden_layers": 1, "num_attention_heads": 1, "type_vocab_size": 5},
            hidden_act="gelu_new",
            layer_norm_eps=1e-5,
            num_labels=5,
            classifier_dropout=0.3,
            tie_word_embeddings=False,
        ),
        "decoder": BertConfig(**TINY, is_decoder=True, hidden_act="silu", num_labels=3),
        "regression": BertConfig(**TINY, num_labels=1),
        "several labels": BertConfig(
            **TINY, num_labels=4, problem_type="multi_label_classification"
        ),
    }
