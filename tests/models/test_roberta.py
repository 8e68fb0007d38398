"""RoBERTa against PyTorch: padding id 1, positions that skip padding."""

import numpy as np
import pytest
import tensorflow as tf
from parity import ParityTests
from transformers import RobertaConfig

import tfhf

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


@pytest.mark.parametrize("padding", [0, 1, 3])
def test_positions_go_on_from_the_past(padding):
    options = {"pad_token_id": padding, "is_decoder": True, "initializer_range": 0.5}
    model = tfhf.TFRobertaModel(RobertaConfig(**TINY | options))
    ids = tf.constant([[7, 8, 9, 7, 8, 9], [4, 5, padding, 6, padding, padding]])
    vectors = model.get_input_embeddings()(ids)
    for name, whole in {"input_ids": ids, "inputs_embeds": vectors}.items():
        expected = model(**{name: whole}).last_hidden_state
        past = model(**{name: whole[:, :2]}).past_key_values
        rest = model(**{name: whole[:, 2:]}, past_key_values=past).last_hidden_state
        np.testing.assert_allclose(rest, expected[:, 2:], rtol=0, atol=1e-5)
