"""mBART equals PyTorch's; a target begins with its last token."""

import numpy as np
import pytest
import tensorflow as tf
from parity import ParityTests, randomize, to_torch
from transformers import MBartConfig, MBartForConditionalGeneration

import tfhf

TINY = {
    "vocab_size": 29,
    "max_position_embeddings": 12,
    "d_model": 12,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 3,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 17,
    "decoder_ffn_dim": 15,
}


class TestMBart(ParityTests):
    family = "MBart"
    configs = {
        "plain": MBartConfig(**TINY, decoder_start_token_id=26),
        "every option": MBartConfig(
            **TINY | {"activation_function": "relu", "encoder_layers": 1, "decoder_layers": 3},
            scale_embedding=True,
            activation_dropout=0.1,
            attention_dropout=0.1,
            classifier_dropout=0.2,
            tie_word_embeddings=False,
            pad_token_id=4,
            num_labels=3,
        ),
        "one layer, one head": MBartConfig(
            **TINY
            | {"encoder_layers": 1, "decoder_layers": 1, "d_model": 9}
            | {"encoder_attention_heads": 1, "decoder_attention_heads": 1}
        ),
        "regression": MBartConfig(**TINY, num_labels=1),
    }


@pytest.mark.oracle
def test_the_last_token_comes_first():
    from transformers.models.mbart.modeling_mbart import shift_tokens_right

    model = tfhf.TFMBartForConditionalGeneration(MBartConfig(**TINY))
    labels = np.array([[5, 6, 7, 2, 28], [9, 2, 27, -100, -100], [26, 1, 1, 1, 1]])
    expected = shift_tokens_right(**to_torch({"input_ids": labels}), pad_token_id=1)
    for dtype in (tf.int32, tf.int64):
        got = model.prepare_decoder_input_ids_from_labels(labels=tf.constant(labels, dtype))
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, expected)
    assert model.prepare_decoder_input_ids_from_labels([[1, 1], [-100, -100]]).numpy().min() == 1
    model.config.pad_token_id = None
    with pytest.raises(ValueError, match="config.pad_token_id must be set"):
        model.prepare_decoder_input_ids_from_labels(labels)


@pytest.mark.oracle
@pytest.mark.parametrize(
    "options",
    [
        {"forced_bos_token_id": 27, "decoder_start_token_id": 2, "num_beams": 3},
        {"decoder_start_token_id": 26},
    ],
)
def test_languages_in_generate(options, tmp_path):
    """That of mBART-50 follows the start, that of mBART is the start."""
    theirs = MBartForConditionalGeneration(MBartConfig(**TINY)).eval()
    randomize(theirs, 3)
    theirs.save_pretrained(tmp_path)
    ours = tfhf.TFAutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    ids = np.array([[25, 7, 8, 9, 2], [25, 9, 2, 1, 1]])
    inputs = {"input_ids": ids, "attention_mask": (ids != 1).astype(np.int64)}
    expected = theirs.generate(**to_torch(inputs), **options, max_new_tokens=6)
    got = ours.generate(**inputs, **options, max_new_tokens=6)
    np.testing.assert_array_equal(got, expected)
    assert set(got.numpy()[:, 1]) == {27} or "forced_bos_token_id" not in options
