"""BERT against PyTorch: tiny random configurations, each with something odd."""

import pytest
import tensorflow as tf
from parity import ParityTests
from transformers import BertConfig

import tfhf

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


def test_an_encoder_writes_no_text():
    model = tfhf.TFBertLMHeadModel(BertConfig(**TINY))
    ids = tf.constant([[1, 2]])
    with pytest.raises(ValueError, match=r"`TFBertLMHeadModel` as .*, add `is_decoder=True.`"):
        model.generate(ids, max_new_tokens=2)
    assert "past_key_values" not in model(ids, use_cache=True)
    decoder = tfhf.TFBertLMHeadModel(BertConfig(**TINY, is_decoder=True))
    with pytest.raises(ValueError, match="past_key_values needs config.is_decoder=True"):
        model(ids, past_key_values=decoder(ids).past_key_values)
