"""What a decoder is told of the tokens before: its cache, in any form, and the place in it."""

import numpy as np
import pytest
import tensorflow as tf
from transformers import BertConfig, GPT2Config, LlamaConfig

import tfhf

VOCABULARY = {"vocab_size": 29, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
SIZES = {
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 16,
}
IDS = np.array([[3, 4, 5, 6], [7, 8, 9, 1]])


def gpt2(**changes):
    config = GPT2Config(**VOCABULARY, n_embd=8, n_layer=2, n_head=2, n_positions=16, **changes)
    return tfhf.TFGPT2LMHeadModel(config)


MODELS = {
    "GPT-2": gpt2,
    "Llama": lambda: tfhf.TFLlamaForCausalLM(
        LlamaConfig(**VOCABULARY, **SIZES, num_key_value_heads=1)
    ),
    "BERT": lambda: tfhf.TFBertLMHeadModel(BertConfig(**VOCABULARY, **SIZES, is_decoder=True)),
}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


def with_room(past, more):
    """Return a cache with places for more tokens, as Transformers 4 has caches."""
    room = [[0, 0], [0, 0], [0, more], [0, 0]]
    return tuple((tf.pad(own.key, room), tf.pad(own.value, room)) for (own,) in past)


def test_a_cache_of_plain_tensors(model):
    past = model(IDS[:, :3], use_cache=True).past_key_values
    expected = model(IDS).logits[:, 3:]
    for form in (past, [tuple(own) for (own,) in past]):
        got = model(IDS[:, 3:], past_key_values=form).logits
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)
    position = {"past_key_values": with_room(past, 1), "cache_position": 3}
    np.testing.assert_allclose(model(IDS[:, 3:], **position).logits, expected, rtol=0, atol=1e-6)


def test_a_cache_of_plain_tensors_with_those_of_an_encoder():
    model = gpt2(add_cross_attention=True)
    more = {"encoder_hidden_states": np.random.default_rng(0).normal(size=(2, 5, 8))}
    past = model(IDS[:, :3], use_cache=True, **more).past_key_values
    plain = [(*own, *cross) for own, cross in past]
    got = model(IDS[:, 3:], past_key_values=plain, **more).logits
    np.testing.assert_allclose(got, model(IDS, **more).logits[:, 3:], rtol=0, atol=1e-6)


def test_a_cache_of_another_model(model):
    past = model(IDS, use_cache=True).past_key_values
    for wrong in (past[:1], past + past):
        fault = f"past_key_values must have .* for 2 layers, but has them for {len(wrong)}"
        with pytest.raises(ValueError, match=fault):
            model(IDS, past_key_values=wrong)
    with pytest.raises(ValueError, match=r"past_key_values must be a tuple .* but is \(\)"):
        model(IDS, past_key_values=())


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize(("position", "length"), [(6, 1), (4, 3), (-1, 1), (0, 7)])
def test_no_room(model, position, length, graph):
    past = with_room(model(IDS, use_cache=True).past_key_values, 2)
    ids = tf.ones((2, length), tf.int32)
    call = tf.function(model) if graph else model
    with pytest.raises(tf.errors.InvalidArgumentError, match="cache_position must leave room"):
        call(ids, past_key_values=past, cache_position=tf.constant(position))


def test_just_enough_room(model):
    past = with_room(model(IDS, use_cache=True).past_key_values, 2)
    for position, length in [(5, 1), (4, 2), (0, 6)]:
        ids = tf.ones((2, length), tf.int32)
        model(ids, past_key_values=past, cache_position=tf.constant(position))


def test_places_that_are_none(model):
    with pytest.raises(ValueError, match="cache_position needs past_key_values"):
        model(IDS, cache_position=0)
    past = with_room(model(IDS, use_cache=True).past_key_values, 2)
    with pytest.raises(ValueError, match=r"cache_position must be an int scalar, .* is \(1,\)"):
        model(IDS[:, :1], past_key_values=past, cache_position=[4])
