"""Generation where something is unusual: the model, its prompt, the way it is called."""

import numpy as np
import pytest
import tensorflow as tf
from transformers import GPT2Config, LlamaConfig

import tfhf

SMALL = {"vocab_size": 29, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None}


def wild(model):
    """Give all weights values that make a difference."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign_add(0.3 * rng.normal(size=weight.shape))
    return model


def step_by_step(model, ids, new, **inputs):
    """Greedy search without a cache."""
    for _ in range(new):
        logits = model(input_ids=ids, **inputs).logits
        ids = np.concatenate([ids, np.argmax(logits[:, -1:], axis=-1)], axis=1)
    return ids


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("states", [3, 20])  # fewer and more than there will be tokens
def test_cross_attention(states, jit_compile):
    config = GPT2Config(
        **SMALL, n_embd=12, n_layer=2, n_head=2, n_positions=32, add_cross_attention=True
    )
    model = wild(tfhf.TFGPT2LMHeadModel(config))
    rng = np.random.default_rng(1)
    inputs = {
        "encoder_hidden_states": rng.normal(size=(2, states, 12)).astype(np.float32),
        "encoder_attention_mask": np.arange(states) < np.array([[states], [2]]),
    }
    inputs["encoder_attention_mask"] = inputs["encoder_attention_mask"].astype(np.int32)
    ids = rng.integers(0, 29, (2, 4))
    expected = step_by_step(model, ids, 8, **inputs)
    got = model.generate(ids, max_new_tokens=8, jit_compile=jit_compile, **inputs)
    np.testing.assert_array_equal(got, expected)


def test_what_fills_a_prompt_up_changes_no_rotation():
    rope = {"rope_type": "dynamic", "rope_theta": 100.0, "factor": 4.0}
    config = LlamaConfig(
        **SMALL,
        hidden_size=16,
        intermediate_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16,
        rope_parameters=rope,
    )
    model = wild(tfhf.TFLlamaForCausalLM(config))
    ids = np.random.default_rng(2).integers(0, 29, (2, 9))
    ways = [
        model.generate(
            ids,
            max_new_tokens=3,
            output_scores=True,
            return_dict_in_generate=True,
            jit_compile=jit_compile,
        )
        for jit_compile in (False, True)
    ]
    np.testing.assert_array_equal(ways[0].sequences, ways[1].sequences)
    for plain, compiled in zip(ways[0].scores, ways[1].scores, strict=True):
        np.testing.assert_allclose(compiled, plain, rtol=0, atol=1e-5)


def test_output_that_is_a_tuple():
    config = GPT2Config(**SMALL, n_embd=12, n_layer=1, n_head=2, n_positions=16, return_dict=False)
    model = tfhf.TFGPT2LMHeadModel(config)
    assert model.generate(tf.ones([1, 2], tf.int32), max_new_tokens=2).shape == (1, 4)


def test_kept_functions_are_bounded():
    config = GPT2Config(**SMALL, n_embd=4, n_layer=1, n_head=1, n_positions=16)
    model = tfhf.TFGPT2LMHeadModel(config)
    for temperature in np.linspace(0.5, 2, 20):
        model.generate(
            tf.ones([1, 2], tf.int32), max_new_tokens=1, do_sample=True, temperature=temperature
        )
    assert len(model.generation_functions) == 16


def test_a_keras_file_keeps_the_settings(tmp_path):
    import keras

    config = GPT2Config(**SMALL, n_embd=4, n_layer=1, n_head=1, n_positions=16)
    model = tfhf.TFGPT2LMHeadModel(config)
    model.generation_config.max_new_tokens = 7
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.generation_config.max_new_tokens == 7


def test_positions_end_in_a_graph_too():
    config = GPT2Config(**SMALL, n_embd=4, n_layer=1, n_head=1, n_positions=8)
    model = tfhf.TFGPT2LMHeadModel(config)
    signature = [tf.TensorSpec([None, None], tf.int32)]
    generate = tf.function(
        lambda ids: model.generate(ids, max_new_tokens=20), input_signature=signature
    )
    assert generate(tf.ones([1, 3], tf.int32)).shape == (1, 9)


def test_an_eager_cache_is_the_callers_own():
    config = GPT2Config(**SMALL, n_embd=12, n_layer=2, n_head=2, n_positions=16)
    model = wild(tfhf.TFGPT2LMHeadModel(config))
    ids = np.random.default_rng(3).integers(0, 29, (1, 6))
    past = model(ids[:, :4]).past_key_values
    past = tf.nest.map_structure(lambda x: tf.pad(x, [[0, 0], [0, 0], [0, 4], [0, 0]]), past)
    expected = model(ids).logits[:, 5:]
    four, five = tf.constant(4), tf.constant(5)
    first = model(ids[:, 4:5], past_key_values=past, cache_position=four).past_key_values
    model((ids[:, 4:5] + 1) % 29, past_key_values=past, cache_position=four)
    logits = model(ids[:, 5:], past_key_values=first, cache_position=five).logits
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"inputs": np.ones([1, 2]), "input_ids": np.ones([1, 2])}, "twice"),
        ({"inputs": np.ones([1, 0], int)}, "at least one column"),
    ],
)
def test_bad_prompts(inputs, message):
    config = GPT2Config(**SMALL, n_embd=4, n_layer=1, n_head=1, n_positions=8)
    with pytest.raises(ValueError, match=message):
        tfhf.TFGPT2LMHeadModel(config).generate(**inputs)


def test_noise_is_finite(monkeypatch):
    from tfhf.generation.search import gumbel

    highest = tf.fill([1, 2], tf.uint32.max)
    lowest = tf.zeros([1, 2], tf.uint32)
    for bits in (highest, lowest):
        monkeypatch.setattr(
            tf.raw_ops, "StatelessRandomUniformFullIntV2", lambda bits=bits, **_: bits
        )
        assert np.all(np.isfinite(gumbel([1, 2], tf.constant([1, 2]), tf.constant(3))))
