"""T5 equals PyTorch's: buckets, both feed-forwards, heads tied or not, overflow in float16."""

import numpy as np
import pytest
import tensorflow as tf
import transformers
from parity import ParityTests, randomize, to_torch
from transformers import AutoConfig, T5Config

import tfhf
from tfhf.layers import PreNormLayer

TINY = {
    "vocab_size": 29,
    "d_model": 12,
    "d_kv": 5,
    "d_ff": 17,
    "num_layers": 2,
    "num_heads": 3,
    "decoder_start_token_id": 0,
}


class TestT5(ParityTests):
    family = "T5"
    configs = {
        "plain": T5Config(**TINY),
        "every option": T5Config(
            **TINY | {"num_decoder_layers": 3, "num_heads": 2, "decoder_start_token_id": 3},
            feed_forward_proj="gated-gelu",
            relative_attention_num_buckets=8,
            relative_attention_max_distance=5,
            layer_norm_epsilon=1e-3,
            pad_token_id=2,
            eos_token_id=4,
            tie_word_embeddings=False,  # which says that states are not scaled
        ),
        "odd": T5Config(
            **TINY | {"num_layers": 1, "num_decoder_layers": 2, "num_heads": 1, "d_kv": 1},
            feed_forward_proj="gated-silu",
            relative_attention_num_buckets=7,
            relative_attention_max_distance=9,
        ),
        "one layer": T5Config(**TINY | {"num_layers": 1}, feed_forward_proj="gelu"),
        "regression": T5Config(**TINY, num_labels=1),
    }

    def marks(self, test, config_name):
        """Leave to the slow tests what other configurations show as well."""
        repeats = config_name in ("odd", "one layer") and test != "test_outputs"
        return [pytest.mark.slow] if repeats else super().marks(test, config_name)


def inputs():
    rng = np.random.default_rng(0)
    ids = rng.integers(2, 29, (3, 7))
    return {
        "input_ids": ids,
        "attention_mask": (np.arange(7) < [[7], [4], [1]]).astype(np.int64),
        "decoder_input_ids": rng.integers(2, 29, (3, 5)),
        "labels": rng.integers(2, 29, (3, 5)),
    }


def torch_t5(folder, *, own_head=False, more=()):
    """Return a random T5 of PyTorch's that was saved to a folder."""
    import torch

    config = T5Config(**TINY, tie_word_embeddings=not own_head)
    theirs = transformers.T5ForConditionalGeneration(config).eval()
    if own_head:
        theirs.lm_head.weight = torch.nn.Parameter(theirs.lm_head.weight.detach().clone())
    randomize(theirs, 0)
    for name, factor in more:
        theirs.get_parameter(name).data.mul_(factor)
    theirs.set_attn_implementation("eager")
    theirs.save_pretrained(folder)
    return theirs


@pytest.mark.oracle
def test_a_head_with_vectors_of_its_own(tmp_path):
    """As in T5 1.1 and Flan-T5, whatever the configuration says."""
    theirs = torch_t5(tmp_path / "theirs", own_head=True)
    assert AutoConfig.from_pretrained(tmp_path / "theirs").tie_word_embeddings
    expected = theirs(**to_torch(inputs()))
    ours = tfhf.TFT5ForConditionalGeneration.from_pretrained(tmp_path / "theirs")
    ours.save_pretrained(tmp_path / "ours")
    ours.save(tmp_path / "ours.keras")
    again = tfhf.TFT5ForConditionalGeneration.from_pretrained(tmp_path / "ours")
    keras_file = tf.keras.models.load_model(tmp_path / "ours.keras")
    for model in (ours, again, keras_file):
        assert not model.config.tie_word_embeddings and model.lm_head.decoder is not None
        got = model(inputs())
        np.testing.assert_allclose(got.logits, expected.logits.detach(), rtol=0, atol=2e-5)
        np.testing.assert_allclose(got.loss, expected.loss.item(), rtol=0, atol=2e-5)
    back, info = type(theirs).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    np.testing.assert_array_equal(back.lm_head.weight.detach(), theirs.lm_head.weight.detach())
    source = to_torch({"input_ids": inputs()["input_ids"]})["input_ids"]
    expected = theirs.generate(source, max_new_tokens=9, num_beams=3)
    got = ours.generate(source.numpy(), max_new_tokens=9, num_beams=3)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.oracle
def test_overflow_in_float16(tmp_path, monkeypatch):
    """Sums beyond float16 are cut until, behind the first feed-forward, states are float32."""
    import torch

    grown = [
        ("encoder.block.0.layer.0.layer_norm.weight", 20),
        ("encoder.block.0.layer.0.SelfAttention.o.weight", 1e5),
        ("encoder.block.0.layer.1.layer_norm.weight", 20),
        ("encoder.block.0.layer.1.DenseReluDense.wo.weight", 1e5),
        ("decoder.block.0.layer.0.layer_norm.weight", 20),
        ("decoder.block.0.layer.0.SelfAttention.o.weight", 1e5),
        ("decoder.block.0.layer.1.EncDecAttention.v.weight", 20),
        ("decoder.block.0.layer.1.EncDecAttention.o.weight", 1e5),
    ]
    theirs = torch_t5(tmp_path, more=grown)
    theirs = type(theirs).from_pretrained(tmp_path, dtype=torch.float16)
    cuts = [[], []]  # which values each cut left at a limit
    for module in [*theirs.encoder.block, *theirs.decoder.block]:
        module.layer[-1].register_forward_pre_hook(
            lambda _, args: cuts[0].append(args[0].abs().numpy() == 64512)
        )
    add = PreNormLayer.add

    def noted(layer, states, more):
        total = add(layer, states, more)
        cuts[1].append(np.abs(total) == 64512)
        return total

    with torch.no_grad():
        expected = theirs(**to_torch(inputs()), output_hidden_states=True)
    monkeypatch.setattr(PreNormLayer, "add", noted)
    ours = tfhf.TFT5ForConditionalGeneration.from_pretrained(tmp_path, dtype="float16")
    got = ours(inputs(), output_hidden_states=True)
    noted_parts = [2, 2, 3, 3]  # of each layer
    before_last = np.cumsum(noted_parts) - 2
    for theirs_cut, i in zip(cuts[0], before_last, strict=True):
        np.testing.assert_array_equal(cuts[1][i], theirs_cut)
    assert np.sum(cuts[0][0]) > 50 and np.sum(cuts[0][2]) > 20
    largest = 0
    for name in ("encoder_hidden_states", "decoder_hidden_states"):
        for a, b in zip(got[name], expected[name], strict=True):
            assert a.dtype == str(b.dtype).removeprefix("torch.")
            b = b.numpy()
            np.testing.assert_allclose(a, b, rtol=0.02, atol=0.02 * np.abs(b).max())
            largest = max(largest, np.abs(b).max())
    assert largest > 1e5  # what float16 cannot hold
    np.testing.assert_allclose(got.logits, expected.logits.float(), rtol=0, atol=0.02)
    for layer in [*ours.transformer.encoder.layer, *ours.transformer.decoder.layer]:
        layer.clip = False
    assert np.isnan(ours(inputs()).logits).any()


@pytest.mark.oracle
@pytest.mark.parametrize("head", ["ForConditionalGeneration", "ForSequenceClassification"])
def test_first_values(head):
    """Each variable's spread is PyTorch's."""
    config = T5Config(
        **TINY | {"vocab_size": 99, "d_model": 64, "d_kv": 16, "d_ff": 200, "num_heads": 8},
        initializer_factor=0.5,
        feed_forward_proj="gated-gelu",
    )
    theirs = dict(getattr(transformers, f"T5{head}")(config).named_parameters())
    ours = getattr(tfhf, f"TFT5{head}")(config)
    for binding in ours.weight_table.bind(ours):
        for name, array in zip(binding.names, binding.split(binding.variable.numpy())):
            spread = theirs[name].std().item()
            np.testing.assert_allclose(np.std(array), spread, rtol=0.35, err_msg=name)
            np.testing.assert_allclose(np.mean(array), theirs[name].mean().item(), atol=0.5)


def test_bias_of_a_step():
    """What scores get in a cache with room for more is what they get all at once."""
    stack = tfhf.TFT5Model(T5Config(**TINY)).decoder
    whole = stack.relative_bias.between(9)
    for position in range(9):
        step = stack.relative_bias.between(1, past_length=tf.constant(position), key_length=9)
        np.testing.assert_array_equal(
            step[:, :, 0, : position + 1], whole[:, :, position, : position + 1]
        )


def test_a_target_is_needed():
    with pytest.raises(ValueError, match="needs decoder_input_ids or decoder_inputs_embeds"):
        tfhf.TFT5Model(T5Config(**TINY))(tf.constant([[3, 1]]))


def test_auto_classes(tmp_path):
    config = T5Config(**TINY)
    assert isinstance(tfhf.TFAutoModel.from_config(config), tfhf.TFT5Model)
    model = tfhf.TFAutoModelForSeq2SeqLM.from_config(config)
    assert isinstance(model, tfhf.TFT5ForConditionalGeneration)
    model.save_pretrained(tmp_path)
    encoder = tfhf.TFAutoModelForTextEncoding.from_pretrained(tmp_path)
    assert isinstance(encoder, tfhf.TFT5EncoderModel)
    ids = tf.constant([[3, 4, 1]])
    np.testing.assert_allclose(
        encoder(ids).last_hidden_state,
        model(ids, decoder_input_ids=ids).encoder_last_hidden_state,
        rtol=0,
        atol=1e-6,
    )
