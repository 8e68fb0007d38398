"""Marian equals PyTorch's: one vocabulary or two, positions that files need not have."""

import json

import numpy as np
import pytest
import transformers
from parity import ParityTests, randomize, to_torch
from safetensors.numpy import save_file
from transformers import MarianConfig

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
    "pad_token_id": 3,
    "decoder_start_token_id": 3,
    "activation_function": "swish",
}


class TestMarian(ParityTests):
    family = "Marian"
    configs = {
        "plain": MarianConfig(**TINY),
        "two vocabularies": MarianConfig(
            **TINY | {"decoder_layers": 1, "activation_function": "relu"},
            share_encoder_decoder_embeddings=False,
            decoder_vocab_size=31,
            scale_embedding=True,
            activation_dropout=0.1,
            attention_dropout=0.1,
        ),
        "nothing tied": MarianConfig(
            **TINY | {"encoder_layers": 1, "d_model": 9, "decoder_attention_heads": 1},
            tie_word_embeddings=False,
        ),
        "two vocabularies, own head": MarianConfig(
            **TINY | {"encoder_layers": 1, "decoder_layers": 1},
            share_encoder_decoder_embeddings=False,
            decoder_vocab_size=30,
            tie_word_embeddings=False,
        ),
    }


SEPARATE = TINY | {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": 31}


def inputs():
    rng = np.random.default_rng(0)
    return {
        "input_ids": rng.integers(4, 29, (2, 6)),
        "attention_mask": (np.arange(6) < [[6], [3]]).astype(np.int64),
        "decoder_input_ids": rng.integers(4, 29, (2, 5)),
    }


def saved(folder, config):
    """Return a random model of PyTorch's that was saved to a folder."""
    theirs = transformers.MarianMTModel(config).eval()
    randomize(theirs, 0)
    theirs.save_pretrained(folder)
    return theirs


@pytest.mark.oracle
@pytest.mark.parametrize("options", [TINY, SEPARATE], ids=["one vocabulary", "two"])
def test_files_of_old(options, tmp_path):
    """They have all that is tied, and what a model may lack they lack."""
    theirs = saved(tmp_path, MarianConfig(**options))
    theirs.final_logits_bias.zero_()
    tensors = {name: value.detach().numpy() for name, value in theirs.state_dict().items()}
    removed = [name for name in tensors if "embed_positions" in name or "bias" in name[:18]]
    assert len(removed) == 3
    kept = {name: value for name, value in tensors.items() if name not in removed}
    assert "lm_head.weight" in kept and "model.encoder.embed_tokens.weight" in kept
    save_file(kept, tmp_path / "model.safetensors")
    load = tfhf.TFMarianMTModel.from_pretrained
    ours, info = load(tmp_path, output_loading_info=True)
    assert not any(info.values()) and ours.lm_head.decoder is None
    expected = theirs(**to_torch(inputs())).logits.detach()
    np.testing.assert_allclose(ours(inputs()).logits, expected, rtol=0, atol=2e-5)
    body, info = tfhf.TFMarianModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and info["unexpected_keys"] == ["lm_head.weight"]
    np.testing.assert_allclose(ours.score(body(inputs())[0]), expected, rtol=0, atol=2e-5)


@pytest.mark.oracle
def test_positions_of_the_published_sizes():
    """To the last digit, and never trained."""
    config = MarianConfig(**TINY | {"d_model": 510, "max_position_embeddings": 1024})
    expected = transformers.MarianModel(config).encoder.embed_positions.weight
    ours = tfhf.TFMarianModel(config)
    for embeddings in (ours.embeddings, ours.decoder_embeddings):
        table = embeddings.position.embeddings
        np.testing.assert_array_equal(table, expected)
        assert not any(weight is table for weight in ours.trainable_weights)


@pytest.mark.oracle
@pytest.mark.parametrize(("file", "num_beams"), [("generation_config.json", 3), ("config.json", 1)])
def test_padding_is_never_chosen(file, num_beams, tmp_path):
    """What a checkpoint says of bad words counts, also where old ones say it."""
    theirs = saved(tmp_path, MarianConfig(**TINY))
    theirs.final_logits_bias[0, TINY["pad_token_id"]] = 99.0
    theirs.save_pretrained(tmp_path)
    bad_words = {
        "bad_words_ids": [[TINY["pad_token_id"]]],
        "max_new_tokens": 5,
        "num_beams": num_beams,
    }
    if file == "config.json":
        (tmp_path / "generation_config.json").unlink()
    settings = json.loads((tmp_path / file).read_text())
    (tmp_path / file).write_text(json.dumps(settings | bad_words))
    ours = tfhf.TFMarianMTModel.from_pretrained(tmp_path)
    given = {name: inputs()[name] for name in ("input_ids", "attention_mask")}
    got = ours.generate(**given).numpy()
    np.testing.assert_array_equal(got, theirs.generate(**to_torch(given), **bad_words))
    assert (got[:, 1] != TINY["pad_token_id"]).all()


def test_resize():
    """Each vocabulary for itself, where there are two."""
    model = tfhf.TFMarianMTModel(MarianConfig(**SEPARATE))
    before = model(inputs()).logits
    assert model.resize_token_embeddings(35).input_dim == 35 == model.config.vocab_size
    np.testing.assert_array_equal(model(inputs()).logits, before)
    assert model.resize_decoder_token_embeddings(33).input_dim == 33
    assert model.config.decoder_vocab_size == 33
    after = model(inputs()).logits
    assert after.shape[-1] == 33
    np.testing.assert_allclose(after[..., :31], before, rtol=0, atol=1e-6)
    shared = tfhf.TFMarianMTModel(MarianConfig(**TINY))
    shared.resize_token_embeddings(40)
    assert shared.config.decoder_vocab_size == 40 == shared(inputs()).logits.shape[-1]
    with pytest.raises(ValueError, match="share_encoder_decoder_embeddings is true"):
        shared.resize_decoder_token_embeddings(41)


def test_a_target_is_needed():
    with pytest.raises(ValueError, match="needs decoder_input_ids or decoder_inputs_embeds"):
        tfhf.TFMarianModel(MarianConfig(**TINY))(inputs()["input_ids"])


def test_auto_classes():
    config = MarianConfig(**TINY)
    assert isinstance(tfhf.TFAutoModel.from_config(config), tfhf.TFMarianModel)
    assert isinstance(tfhf.TFAutoModelForSeq2SeqLM.from_config(config), tfhf.TFMarianMTModel)
