"""What XLA compiles of a search, how often, and what it reads of bfloat16 weights."""

import numpy as np
import pytest
import tensorflow as tf
from random_decoders import config_of, randomize
from transformers import Qwen2Config

import tfhf

GPT2 = "TFGPT2LMHeadModel"


def compiled(model):
    """Return the one search that a model keeps."""
    (search,) = model.generation_functions.values()
    return search


def test_prompts_of_other_lengths_compile_nothing():
    model = tfhf.TFGPT2LMHeadModel(config_of(GPT2))
    for length in (3, 9, 4, 1):
        prompt = tf.ones([2, length], tf.int32)
        model.generate(prompt, max_new_tokens=5, jit_compile=True)
    assert compiled(model).rest.experimental_get_tracing_count() == 1
    assert compiled(model).start.experimental_get_tracing_count() == 1


def test_a_streamer_and_xla_compile_one_step():
    model = tfhf.TFGPT2LMHeadModel(config_of(GPT2))
    heard = []

    class Streamer:
        def put(self, value):
            heard.extend(np.ravel(value))

        def end(self):
            heard.append("end")

    for prompt in ([[5, 6, 7]], [[8, 9, 10, 11]]):
        ids = model.generate(tf.constant(prompt), max_new_tokens=4, jit_compile=True)
        heard.clear()
        model.generate(tf.constant(prompt), max_new_tokens=4, jit_compile=True, streamer=Streamer())
        assert heard == [*np.ravel(ids), "end"]
    assert compiled(model).step.experimental_get_tracing_count() == 1


def barriers(model, rows, **settings):
    """Return how many barriers the loop has that XLA compiled, to generate after some prompts."""
    model.generate(tf.ones([rows, 4], tf.int32), max_new_tokens=8, jit_compile=True, **settings)
    (traced,) = compiled(model).rest._list_all_concrete_functions()
    functions = traced.graph.as_graph_def().library.function
    operations = [node.op for function in functions for node in function.node_def]
    assert "MatMul" in operations
    return operations.count("XlaOptimizationBarrier")


@pytest.mark.parametrize(
    ("dtype", "rows", "settings", "expected"),
    [
        ("bfloat16", 1, {}, 1),
        ("bfloat16", 2, {}, 0),
        ("bfloat16", 1, {"num_beams": 2}, 0),
        ("float32", 1, {}, 0),
        ("mixed_bfloat16", 1, {}, 0),
    ],
)
def test_one_row_alone_reads_bfloat16_matrices(dtype, rows, settings, expected):
    model = tfhf.TFGPT2LMHeadModel(config_of(GPT2), dtype=dtype)
    assert barriers(model, rows, **settings) == expected


UNTIED = Qwen2Config(
    vocab_size=29, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=False, bos_token_id=1,
    eos_token_id=None,
)  # fmt: skip


@pytest.mark.parametrize(
    ("class_name", "config"), [(GPT2, config_of(GPT2)), ("TFQwen2ForCausalLM", UNTIED)]
)
def test_scores_of_bfloat16_matrices_are_as_near_to_float32(class_name, config):
    """Under XLA as without."""
    model = getattr(tfhf, class_name)(config, dtype="bfloat16")
    randomize(model, 3)
    exact = getattr(tfhf, class_name)(config)
    exact.set_weights([np.asarray(weight, np.float32) for weight in model.get_weights()])
    errors = []
    for jit_compile in (False, True):
        found = model.generate(
            tf.constant([[3, 17, 5]]), max_new_tokens=12, jit_compile=jit_compile,
            return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
        expected = exact(found.sequences[:, :-1]).logits[0, 2:].numpy()
        scores = np.concatenate([step.numpy() for step in found.scores])
        errors.append(np.abs(scores - expected).max())
    without, under = errors
    assert 0 < under <= 1.5 * without
