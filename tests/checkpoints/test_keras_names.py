"""Keras names and layouts, as models of Transformers 4 have them -> PyTorch's."""

import numpy as np
import pytest

from tfhf.checkpoints.checkpoint import TensorEntry
from tfhf.checkpoints.keras_names import torch_entry, torch_name, without_model_scope


@pytest.mark.parametrize(
    ("keras", "torch"),
    [
        ("tf_bert_model/bert/pooler/dense/kernel:0", "bert.pooler.dense.weight"),
        (
            "tf_bert_for_pre_training/nsp___cls/seq_relationship/bias:0",
            "cls.seq_relationship.bias",
        ),
        (
            "tf_bert_for_pre_training/mlm___cls/predictions/transform/dense/kernel:0",
            "cls.predictions.transform.dense.weight",
        ),
        (
            "tf_distil_bert_model/distilbert/transformer/layer_._0/sa_layer_norm/gamma:0",
            "distilbert.transformer.layer.0.sa_layer_norm.weight",
        ),
        (
            "tf_albert_model/albert/encoder/albert_layer_groups_._0/albert_layers_._1/ffn/kernel:0",
            "albert.encoder.albert_layer_groups.0.albert_layers.1.ffn.weight",
        ),
        ("m/transformer/h_._3/attn/c_attn/weight:0", "transformer.h.3.attn.c_attn.weight"),
        ("tf_gpt2lm_head_model/transformer/wpe/embeddings:0", "transformer.wpe.weight"),
        ("shared/shared/weight:0", "shared.weight"),
        (
            "tf_t5_for_conditional_generation/decoder/block_._0/layer_._0/SelfAttention/"
            "relative_attention_bias/embeddings:0",
            "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        ),
        ("final_logits_bias:0", "final_logits_bias"),
        ("m/transformer/layer_._0/rel_attn/r_w_bias:0", "transformer.layer.0.rel_attn.r_w_bias"),
        ("m/a___b/c___d/norm/beta:0", "b.d.norm.bias"),
        ("m//a/kernel:0", "a.weight"),
        ("m/norm/moving_mean:0", "norm.running_mean"),
        ("m/norm/moving_variance:0", "norm.running_var"),
        ("m/gamma/kernel:0", "gamma.weight"),
        ("m/key_conv/depthwise_kernel:0", "key_conv.depthwise.weight"),
        ("m/key_conv/pointwise_kernel:0", "key_conv.pointwise.weight"),
    ],
)  # fmt: skip
def test_names(keras, torch):
    assert torch_name(without_model_scope(keras)) == torch


def converted(name, array):
    entry = TensorEntry(name, array.shape, array.dtype, lambda: array)
    result = torch_entry(name, entry)
    value = result.read()
    assert value.shape == result.shape
    assert value.dtype == result.dtype
    return value


def test_matrices():
    matrix = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(converted("a/kernel:0", matrix), matrix.T)
    np.testing.assert_array_equal(converted("emb/emb_projs_._0:0", matrix), matrix.T)
    np.testing.assert_array_equal(converted("a/weight:0", matrix), matrix)  # GPT-2's Conv1D.
    np.testing.assert_array_equal(converted("a/embeddings:0", matrix), matrix)


def test_the_bias_of_gpt2_loses_an_axis_and_that_of_bart_does_not():
    bias = np.arange(3).reshape(1, 3)
    np.testing.assert_array_equal(converted("attn/c_attn/bias:0", bias), [0, 1, 2])
    np.testing.assert_array_equal(converted("final_logits_bias:0", bias), bias)
    assert converted("rel/bias:0", np.zeros((2, 3))).shape == (2, 3)


def test_other_variables_stay():
    for shape in [(), (3,), (2, 3), (2, 3, 4)]:
        value = np.asarray(np.random.rand(*shape))
        np.testing.assert_array_equal(converted("a/r_w_bias:0", value), value)


@pytest.mark.oracle
def test_convolutions_compute_the_same():
    import keras
    import torch

    sequence = np.random.randn(2, 9, 4).astype("float32")
    picture = np.random.randn(2, 9, 7, 4).astype("float32")

    def check(layer, inputs, convolve):
        expected = np.moveaxis(layer(inputs).numpy(), -1, 1)
        weights = [
            torch.tensor(converted(f"conv/{v.name}:0", v.numpy()).copy()) for v in layer.weights
        ]
        actual = convolve(torch.tensor(np.moveaxis(inputs, -1, 1).copy()), *weights)
        np.testing.assert_allclose(actual.numpy(), expected, atol=1e-5)

    functional = torch.nn.functional
    check(keras.layers.Conv1D(5, 3), sequence, functional.conv1d)
    check(keras.layers.Conv2D(5, (3, 2)), picture, functional.conv2d)
    check(
        keras.layers.SeparableConv1D(5, 3, use_bias=False),
        sequence,
        lambda x, depthwise, pointwise: functional.conv1d(
            functional.conv1d(x, depthwise, groups=4), pointwise
        ),
    )
