"""ELECTRA against PyTorch: with and without projection, all kinds of summary."""

import pytest
import tensorflow as tf
from parity import ParityTests
from transformers import ElectraConfig

import tfhf

TINY = {
    "vocab_size": 29,
    "embedding_size": 10,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 17,
    "max_position_embeddings": 11,
}
CONFIGS = {
    "plain": TINY,
    "odd": TINY
    | {
        "embedding_size": 12,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "type_vocab_size": 5,
        "hidden_act": "gelu_new",
        "layer_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "num_labels": 5,
        "classifier_dropout": 0.3,
        "summary_type": "mean",
        "summary_use_proj": False,
    },
    "decoder": TINY
    | {
        "is_decoder": True,
        "add_cross_attention": True,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "summary_type": "last",
        "summary_activation": "",
    },
    "regression": TINY | {"num_labels": 1},
    "several labels": TINY | {"num_labels": 4, "problem_type": "multi_label_classification"},
}


class TestElectra(ParityTests):
    family = "Electra"
    configs = {name: ElectraConfig(**options) for name, options in CONFIGS.items()}


def test_unknown_summary_is_refused():
    with pytest.raises(ValueError, match=r"config.summary_type must be .* not 'attn'"):
        model = tfhf.TFElectraForMultipleChoice(ElectraConfig(**TINY, summary_type="attn"))
        model(tf.constant([[[1, 2]]]))
