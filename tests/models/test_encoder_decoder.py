"""TFEncoderDecoderModel equals PyTorch's: BERT to BERT, BERT to GPT-2, RoBERTa to RoBERTa."""

import copy
import logging

import numpy as np
import pytest
import tensorflow as tf
import transformers
from parity import randomize, to_torch
from transformers import BertConfig, EncoderDecoderConfig, GPT2Config, RobertaConfig

import tfhf

BERT = {
    "vocab_size": 29,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 17,
    "max_position_embeddings": 24,
}
GPT2 = {"vocab_size": 31, "n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 24}
PARTS = {
    "bert to bert": (
        BertConfig(**BERT),
        BertConfig(**BERT | {"num_hidden_layers": 1, "vocab_size": 31}),
    ),
    "bert to gpt2": (BertConfig(**BERT), GPT2Config(**GPT2)),
    "roberta to roberta": (
        RobertaConfig(**BERT),
        RobertaConfig(**BERT | {"hidden_size": 9, "vocab_size": 31, "tie_word_embeddings": False}),
    ),
}
SPECIAL = {"decoder_start_token_id": 2, "pad_token_id": 1, "eos_token_id": 3}
ROWS, LENGTH, TARGET = 3, 7, 5
#: what generate() is told
SETTINGS = {
    "greedy": {},
    "ended": {"num_beams": 1, "repetition_penalty": 1.3, "eos_token_id": [3, 4, 5, 6]},
    "beams": {"num_beams": 3, "num_return_sequences": 2, "eos_token_id": [3, 4, 5, 6]},
    "decoder ids": {"decoder_input_ids": [[2, 7, 8], [2, 9, 9], [2, 7, 10]], "num_beams": 2},
}


@pytest.fixture(scope="module", params=PARTS)
def pair(request, tmp_path_factory):
    """Return PyTorch's model, ours with the same weights, and the folder between them."""
    config = EncoderDecoderConfig.from_encoder_decoder_configs(*PARTS[request.param], **SPECIAL)
    theirs = transformers.EncoderDecoderModel(config).eval()
    randomize(theirs, 0)
    theirs.encoder.set_attn_implementation("eager")
    theirs.decoder.set_attn_implementation("eager")
    folder = tmp_path_factory.mktemp("theirs")
    theirs.save_pretrained(folder)
    ours, info = tfhf.TFEncoderDecoderModel.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    return theirs, ours, folder


def cases():
    rng = np.random.default_rng(0)
    mask = (np.arange(LENGTH) < [[LENGTH], [4], [1]]).astype(np.int64)
    source = {"input_ids": rng.integers(2, 29, (ROWS, LENGTH)), "attention_mask": mask}
    target = {"decoder_input_ids": rng.integers(2, 31, (ROWS, TARGET))}
    labels = np.where(rng.random((ROWS, TARGET)) < 0.7, rng.integers(2, 31, (ROWS, TARGET)), -100)
    states = rng.normal(size=(ROWS, LENGTH, 12)).astype(np.float32)
    return {
        "right padding": source | target,
        "left padding": source | target | {"attention_mask": mask[:, ::-1].copy()},
        "no mask": {"input_ids": source["input_ids"], **target},
        "labels": source | target | {"labels": labels},
        "labels alone": source | {"labels": labels},
        "masked target": source
        | target
        | {"decoder_attention_mask": (np.arange(TARGET) < [[5], [2], [1]]).astype(np.int64)},
        "states of an encoder": target | {"encoder_outputs": (states,), "attention_mask": mask},
    }


@pytest.mark.oracle
@pytest.mark.parametrize("case", cases())
def test_outputs(pair, case):
    theirs, ours, _ = pair
    inputs = cases()[case]
    flags = {"output_attentions": True, "output_hidden_states": True}
    expected = theirs(**to_torch(inputs), **flags)
    got = ours(**inputs, **flags)
    names = [name for name in expected if name != "past_key_values"]
    assert {"cross_attentions", "encoder_last_hidden_state", "decoder_attentions"} <= {*names}
    for name in names:
        several = isinstance(expected[name], tuple)
        values = (got[name], expected[name]) if several else ([got[name]], [expected[name]])
        for a, b in zip(*values, strict=True):
            np.testing.assert_allclose(a, b.detach(), rtol=0, atol=2e-5, err_msg=name)


@pytest.mark.oracle
def test_gradients(pair):
    theirs, ours, _ = pair
    inputs = cases()["labels"]
    theirs.zero_grad()
    theirs(**to_torch(inputs)).loss.backward()
    with tf.GradientTape() as tape:
        loss = ours(**inputs).loss
    gradients = tape.gradient(loss, [weight.value for weight in ours.weights])
    by_id = {id(weight): gradient for weight, gradient in zip(ours.weights, gradients)}
    compared = 0
    for binding in ours.weight_table.bind(ours):
        gradient = by_id[id(binding.variable)]
        if gradient is None:
            assert "pooler" in binding.names[0]
            continue
        for name, array in zip(
            binding.names, binding.split(tf.convert_to_tensor(gradient).numpy()), strict=True
        ):
            expected = theirs.get_parameter(name).grad.numpy()
            hidden_row = getattr(theirs.get_submodule(name.rpartition(".")[0]), "padding_idx", None)
            if hidden_row is not None:
                array, expected = (
                    np.delete(each, hidden_row, axis=0) for each in (array, expected)
                )
            np.testing.assert_allclose(array, expected, rtol=0, atol=2e-5, err_msg=name)
            compared += 1
    assert compared > 20


@pytest.mark.oracle
def test_files_both_ways(pair, tmp_path):
    theirs, ours, _ = pair
    ours.save_pretrained(tmp_path / "ours")
    again, info = type(theirs).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"], info
    inputs = cases()["labels"]
    expected = theirs(**to_torch(inputs)).logits.detach()
    got = again.eval()(**to_torch(inputs)).logits.detach()
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-6)
    ours.save(tmp_path / "ours.keras")
    keras_file = tf.keras.models.load_model(tmp_path / "ours.keras")
    np.testing.assert_allclose(keras_file(**inputs).logits, expected, rtol=0, atol=2e-5)


@pytest.mark.oracle
@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_generate(pair, settings, jit_compile):
    theirs, ours, _ = pair
    source = cases()["right padding"]
    del source["decoder_input_ids"]
    settings = {"max_new_tokens": 9, "eos_token_id": None} | settings
    given = {"decoder_input_ids": np.array(settings.pop("decoder_input_ids", None) or [[2]] * ROWS)}
    expected = theirs.generate(**to_torch(source | given), **settings)
    got = ours.generate(**source, **given, **settings, jit_compile=jit_compile)
    np.testing.assert_array_equal(got, expected)
    if given["decoder_input_ids"].shape[1] == 1:  # the token that is meant to be first
        got = ours.generate(**source, **settings, jit_compile=jit_compile)
        np.testing.assert_array_equal(got, expected)


@pytest.mark.oracle
@pytest.mark.parametrize("jit_compile", [False, True])
def test_generate_with_token_types(pair, jit_compile):
    theirs, ours, _ = pair
    source = cases()["right padding"]
    columns = source["input_ids"].shape[1]
    source["token_type_ids"] = np.tile(np.arange(columns) >= columns // 2, (ROWS, 1)).astype(int)
    source["decoder_input_ids"] = np.full((ROWS, 1), 2)
    settings = {"max_new_tokens": 9, "eos_token_id": None}
    expected = theirs.generate(**to_torch(source), **settings)
    got = ours.generate(**source, **settings, jit_compile=jit_compile)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.oracle
@pytest.mark.parametrize("parts", ["bert to bert", "bert to gpt2"])
def test_a_decoder_with_a_head_of_its_own(parts, tmp_path):
    """Where a file has one, whatever the configuration says."""
    import torch

    config = EncoderDecoderConfig.from_encoder_decoder_configs(*PARTS[parts], **SPECIAL)
    assert config.decoder.tie_word_embeddings
    theirs = transformers.EncoderDecoderModel(config).eval()
    head = theirs.decoder.get_output_embeddings()
    head.weight = torch.nn.Parameter(torch.randn_like(head.weight))
    theirs.save_pretrained(tmp_path / "theirs")
    ours = tfhf.TFEncoderDecoderModel.from_pretrained(tmp_path / "theirs")
    ours.save_pretrained(tmp_path / "ours")
    again = tfhf.TFEncoderDecoderModel.from_pretrained(tmp_path / "ours")
    inputs = cases()["right padding"]
    expected = theirs(**to_torch(inputs)).logits.detach()
    for model in (ours, again):
        assert not model.config.decoder.tie_word_embeddings
        np.testing.assert_allclose(model(**inputs).logits, expected, rtol=0, atol=2e-5)
    back = type(theirs).from_pretrained(tmp_path / "ours").decoder.get_output_embeddings()
    np.testing.assert_array_equal(back.weight.detach(), head.weight.detach())


@pytest.mark.slow
def test_inputs_of_both_parts(tmp_path):
    config = EncoderDecoderConfig.from_encoder_decoder_configs(*PARTS["bert to gpt2"], **SPECIAL)
    model = tfhf.TFEncoderDecoderModel(config)
    inputs = cases()["right padding"]
    served = tf.saved_model.load(model.export(tmp_path)).signatures["tokens"]
    assert {"decoder_input_ids", "decoder_attention_mask"} < set(model.input_signature)
    given = inputs | {
        "decoder_attention_mask": np.ones_like(inputs["decoder_input_ids"]),
        "token_type_ids": np.zeros_like(inputs["input_ids"]),
    }
    got = served(**{name: tf.constant(value, tf.int32) for name, value in given.items()})
    np.testing.assert_allclose(got["logits"], model(**inputs).logits, rtol=0, atol=1e-5)


@pytest.mark.oracle
def test_bfloat16(pair):
    theirs, _, folder = pair
    ours = tfhf.TFEncoderDecoderModel.from_pretrained(folder, dtype="bfloat16")
    inputs = cases()["right padding"]
    exact = theirs(**to_torch(inputs)).logits.detach().numpy()
    assert {weight.dtype for weight in ours.weights} == {"bfloat16"}
    np.testing.assert_allclose(
        ours(**inputs).logits, exact, rtol=0, atol=0.03 * np.abs(exact).max()
    )


def make_parts(tmp_path):
    encoder, decoder = copy.deepcopy(PARTS["bert to gpt2"])
    decoder.is_decoder = decoder.add_cross_attention = False
    tfhf.TFBertModel(encoder).save_pretrained(tmp_path / "encoder")
    tfhf.TFGPT2LMHeadModel(decoder).save_pretrained(tmp_path / "decoder")
    return tmp_path / "encoder", tmp_path / "decoder"


def test_from_two_checkpoints(tmp_path, caplog):
    folders = make_parts(tmp_path)
    with caplog.at_level(logging.WARNING):
        model = tfhf.TFEncoderDecoderModel.from_encoder_decoder_pretrained(
            *folders, encoder_hidden_act="relu", decoder_attn_pdrop=0.5, **SPECIAL
        )
    assert "crossattention" in caplog.text and "random values" in caplog.text
    config = model.config
    assert config.encoder.hidden_act == "relu" and config.decoder.attn_pdrop == 0.5
    assert config.decoder.is_decoder and config.decoder.add_cross_attention
    assert config.pad_token_id == 1 and model.enc_to_dec_proj.kernel.shape == (12, 8)
    assert model.decoder.config is config.decoder and model.encoder.config is config.encoder
    for part, folder in zip(("encoder", "decoder"), folders):
        auto = tfhf.TFAutoModel if part == "encoder" else tfhf.TFAutoModelForCausalLM
        np.testing.assert_array_equal(
            getattr(model, part).get_input_embeddings().embeddings,
            auto.from_pretrained(folder).get_input_embeddings().embeddings,
        )
    model.save_pretrained(tmp_path / "both")
    again = tfhf.TFAutoModelForSeq2SeqLM.from_pretrained(tmp_path / "both")
    assert isinstance(again, tfhf.TFEncoderDecoderModel)
    inputs = cases()["labels"]
    np.testing.assert_array_equal(again(**inputs).logits, model(**inputs).logits)


@pytest.mark.slow
def test_training():
    """Fit learns, with the labels of a dataset alone, and changes both parts."""
    encoder, decoder = PARTS["bert to gpt2"]
    config = EncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder, **SPECIAL)
    model = tfhf.TFEncoderDecoderModel(config)
    inputs = cases()["labels alone"]
    before = [np.array(weight) for weight in model.trainable_weights]
    model.compile(tf.keras.optimizers.Adam(0.01))
    losses = model.fit(inputs, batch_size=ROWS, epochs=15, verbose=0).history["loss"]
    assert losses[-1] < 0.8 * losses[0]
    still = [
        weight.path
        for weight, old in zip(model.trainable_weights, before)
        if np.array_equal(weight, old)
    ]
    assert all("pooler" in path for path in still), still


def test_what_cannot_be_joined(tmp_path):
    encoder, decoder = PARTS["bert to gpt2"]
    with pytest.raises(ValueError, match="config, or an encoder and a decoder"):
        tfhf.TFEncoderDecoderModel(encoder=tfhf.TFBertModel(encoder))
    with pytest.raises(ValueError, match="encoder must be a model without a head"):
        tfhf.TFEncoderDecoderModel(
            encoder=tfhf.TFGPT2LMHeadModel(decoder), decoder=tfhf.TFGPT2LMHeadModel(decoder)
        )
    opt = transformers.OPTConfig(
        hidden_size=4, num_hidden_layers=1, num_attention_heads=1, ffn_dim=4, vocab_size=9
    )
    with pytest.raises(ValueError, match="cross-attention, which TFOPTForCausalLM cannot"):
        tfhf.TFEncoderDecoderModel(
            encoder=tfhf.TFBertModel(encoder), decoder=tfhf.TFOPTForCausalLM(opt)
        )
    with pytest.raises(ValueError, match="give decoder_pretrained_model_name_or_path"):
        tfhf.TFEncoderDecoderModel.from_encoder_decoder_pretrained(make_parts(tmp_path)[0])
    config = EncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder.add_cross_attention = False
    with pytest.raises(ValueError, match="needs config.add_cross_attention=True"):
        tfhf.TFEncoderDecoderModel(config)
    config.decoder.add_cross_attention = True
    model = tfhf.TFEncoderDecoderModel(config)
    with pytest.raises(NotImplementedError, match="model.decoder.resize_token_embeddings"):
        model.resize_token_embeddings(40)
    with pytest.raises(ValueError, match="config.decoder_start_token_id must be set"):
        model(**cases()["labels alone"])
