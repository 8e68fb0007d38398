"""DeBERTa v2 against PyTorch: all kinds of positions, both heads, lengths beyond the buckets."""

import numpy as np
import pytest
import tensorflow as tf
from parity import ParityTests
from transformers import DebertaV2Config

import tfhf

TINY = {
    "vocab_size": 29,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 17,
    "max_position_embeddings": 11,
    "relative_attention": True,
    "pos_att_type": ["c2p", "p2c"],
}
#: What the published v3 checkpoints have
V3 = TINY | {
    "position_buckets": 4,
    "max_relative_positions": -1,
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
    "position_biased_input": False,
    "legacy": False,
}
CONFIGS = {
    "plain": V3,
    "every option": TINY
    | {
        "embedding_size": 10,
        "num_labels": 3,
        "type_vocab_size": 3,
        "max_relative_positions": 5,
        "norm_rel_ebd": "layer_norm",
        "conv_kernel_size": 3,
        "conv_act": "gelu",
        "pooler_hidden_act": "tanh",
        "pooler_dropout": 0.2,
        "cls_dropout": 0.3,
        "layer_norm_eps": 1e-5,
    },
    "odd": TINY
    | {
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "pos_att_type": "p2c",
        "position_buckets": 5,
        "max_relative_positions": 7,
        "conv_kernel_size": 5,
        "conv_groups": 3,
        "hidden_act": "relu",
        "tie_word_embeddings": False,
    },
    "absolute": TINY | {"relative_attention": False, "num_labels": 3, "norm_rel_ebd": "layer_norm"},
    "c2p": V3 | {"pos_att_type": ["c2p"], "position_buckets": -1, "max_relative_positions": 3,
                 "num_labels": 1, "problem_type": "regression"},
    "several labels": V3 | {"num_labels": 4, "problem_type": "multi_label_classification"},
}  # fmt: skip


class TestDebertaV2(ParityTests):
    family = "DebertaV2"
    configs = {name: DebertaV2Config(**options) for name, options in CONFIGS.items()}


def test_compiled_by_xla():
    model = tfhf.TFDebertaV2Model(DebertaV2Config(**CONFIGS["every option"]))
    ids = np.random.default_rng(0).integers(0, 29, (2, 7))
    mask = np.array([[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0, 0]])
    compiled = tf.function(lambda **inputs: model(**inputs)[0], jit_compile=True)
    expected = model(input_ids=ids, attention_mask=mask)[0]
    np.testing.assert_allclose(compiled(input_ids=ids, attention_mask=mask), expected, atol=1e-5)


def test_any_length_without_absolute_positions():
    model = tfhf.TFDebertaV2Model(DebertaV2Config(**V3))
    assert model(tf.ones((1, 40), tf.int32))[0].shape == (1, 40, 12)
    with_positions = tfhf.TFDebertaV2Model(DebertaV2Config(**TINY))
    with pytest.raises(ValueError, match="max_position_embeddings = 11"):
        with_positions(tf.ones((1, 40), tf.int32))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"conv_kernel_size": 2}, "conv_kernel_size must be odd, but it is 2"),
        ({"legacy": False, "embedding_size": 10}, "they are 10 and 12"),
    ],
)
def test_bad_configurations_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        tfhf.TFDebertaV2ForMaskedLM(DebertaV2Config(**TINY | options))
