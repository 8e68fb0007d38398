"""The settings of generation come with a checkpoint, wherever it keeps them."""

import json

import pytest
import tensorflow as tf
from transformers import GenerationConfig, GPT2Config

import tfhf


@pytest.fixture
def folder(tmp_path):
    """A checkpoint without generation_config.json."""
    config = GPT2Config(n_layer=1, n_embd=4, n_head=1, vocab_size=9, n_positions=24, eos_token_id=7)
    tfhf.TFGPT2LMHeadModel(config).save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").unlink()
    return tmp_path


def write(folder, **values):
    """Add values to config.json."""
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_old_repositories_keep_settings_in_config_json(folder):
    write(folder, num_beams=3, max_length=11, length_penalty=0.5, eos_token_id=6, vocab_size=9)
    write(folder, task_specific_params={"text-generation": {"do_sample": True, "max_length": 5}})
    model = tfhf.TFGPT2LMHeadModel.from_pretrained(folder)
    settings = model.generation_config
    assert (settings.num_beams, settings.max_length, settings.length_penalty) == (3, 11, 0.5)
    assert settings.eos_token_id == 6 and not settings.do_sample
    ids = tf.constant([[1, 2]])
    expected = model.generate(
        ids, GenerationConfig(num_beams=3, max_length=11, length_penalty=0.5, eos_token_id=6)
    )
    tf.debugging.assert_equal(model.generate(ids), expected)


def test_what_the_configuration_says_by_default_counts_too(folder):
    config = json.loads((folder / "config.json").read_text())
    del config["eos_token_id"]
    (folder / "config.json").write_text(json.dumps(config | {"num_beams": 2}))
    settings = tfhf.TFGPT2LMHeadModel.from_pretrained(folder).generation_config
    assert (settings.num_beams, settings.eos_token_id) == (2, GPT2Config().eos_token_id)


def test_generation_config_json_counts_more(folder):
    write(folder, num_beams=3, max_length=11)
    GenerationConfig(max_length=13).save_pretrained(folder)
    settings = tfhf.TFGPT2LMHeadModel.from_pretrained(folder).generation_config
    assert (settings.num_beams, settings.max_length) == (None, 13)


def test_settings_are_saved_where_transformers_reads_them(folder, tmp_path):
    write(folder, num_beams=3, max_length=11)
    tfhf.TFGPT2LMHeadModel.from_pretrained(folder).save_pretrained(tmp_path / "again")
    settings = GenerationConfig.from_pretrained(tmp_path / "again")
    assert (settings.num_beams, settings.max_length) == (3, 11)


def test_flags_of_calls_are_none_of_generate(folder):
    write(folder, output_hidden_states=True, output_attentions=True)
    model = tfhf.TFGPT2LMHeadModel.from_pretrained(folder)
    assert model.generate(tf.constant([[1, 2]]), max_new_tokens=2).sequences.shape == (1, 4)
    with pytest.raises(ValueError, match="output_hidden_states is not supported"):
        model.generate(tf.constant([[1, 2]]), output_hidden_states=True)
