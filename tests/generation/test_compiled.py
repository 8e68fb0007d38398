"""What XLA compiles of a search, how often, and what it reads of bfloat16 weights."""

import numpy as np
import pytest
import tensorflow as tf
from random_decoders import config_of, randomize
from transformers import Qwen2Config

import tfhf
from tfhf.generation import compiled as compiled_module

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


def matrices_laid_out(function):
    """Whether the loop of a traced function multiplies with matrices laid out for few rows."""
    functions = function.graph.as_graph_def().library.function
    bodies = [f.node_def for f in functions if "while_body" in f.signature.name]
    assert bodies
    found = {any(node.op == "MatMul" for node in body) for body in bodies}
    return sorted(not plain for plain in found)


WAYS = {
    "greedy": {},
    "sampling": {"do_sample": True, "seed": 3, "top_k": 7},
    "beams": {"num_beams": 3, "num_return_sequences": 2},
    "contrastive": {"penalty_alpha": 0.6, "top_k": 3},
    "processed": {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2},
}


#: With a bias, from an encoder, with groups of queries, with scores of their own.
PACKED = [(GPT2, way) for way in WAYS] + [
    ("TFT5ForConditionalGeneration", "beams"),
    ("TFLlamaForCausalLM", "greedy"),
    ("TFGemma2ForCausalLM", "sampling"),
]


@pytest.mark.parametrize(("class_name", "way"), PACKED)
def test_matrices_laid_out_for_few_rows_write_the_same(class_name, way, monkeypatch):
    model = getattr(tfhf, class_name)(config_of(class_name))
    randomize(model, 5)
    prompt = tf.constant([[3, 17, 5], [4, 4, 9]])
    settings = {"max_new_tokens": 9, "return_dict_in_generate": True, "output_scores": True}

    def write():
        found = model.generate(prompt, **settings, **WAYS[way])
        (function,) = compiled(model).whole._list_all_concrete_functions()
        model.generation_functions.clear()
        return found, matrices_laid_out(function)

    monkeypatch.setattr(compiled_module, "STEPS", 9)
    plain, laid_out = write()  # the model is too small
    assert laid_out == [False]
    monkeypatch.setattr(compiled_module, "SMALLEST", 0)
    packed, laid_out = write()
    assert laid_out == [True]
    np.testing.assert_array_equal(packed.sequences, plain.sequences)
    for got, expected in zip(packed.scores, plain.scores, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("rows", "settings", "pays"),
    [
        (1, {}, False),
        (4, {}, True),
        (5, {}, False),
        (1, {"num_beams": 4}, True),
        pytest.param(2, {}, True, marks=pytest.mark.slow),
        pytest.param(2, {"num_beams": 3}, False, marks=pytest.mark.slow),
        pytest.param(
            2, {"do_sample": True, "num_return_sequences": 2}, True, marks=pytest.mark.slow
        ),
        pytest.param(2, {"max_new_tokens": 4}, False, marks=pytest.mark.slow),
    ],
)
def test_where_other_matrices_pay(rows, settings, pays, monkeypatch):
    """From two rows to `ROWS`, for `STEPS` tokens or more; the caller's graph itself decides."""
    for name, value in {"SMALLEST": 0, "STEPS": 5, "ROWS": 4}.items():
        monkeypatch.setattr(compiled_module, name, value)
    model = tfhf.TFGPT2LMHeadModel(config_of(GPT2))
    randomize(model, 2)
    prompt = tf.random.stateless_uniform([rows, 3], [1, 2], 3, 20, tf.int32)
    settings = {"max_new_tokens": 5, "seed": 7, **settings}
    expected = model.generate(prompt, **settings)
    (function,) = compiled(model).whole._list_all_concrete_functions()
    assert matrices_laid_out(function) == [pays]

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)])
    def inside(prompt):
        return model.generate(prompt, **settings)

    np.testing.assert_array_equal(inside(prompt), expected)
    assert matrices_laid_out(inside.get_concrete_function()) == [False, True]


def test_a_large_model_is_not_copied(monkeypatch):
    model = tfhf.TFGPT2LMHeadModel(config_of(GPT2))
    size = sum(weight.value.numpy().nbytes for weight in model.weights)
    monkeypatch.setattr(compiled_module, "SMALLEST", size)
    monkeypatch.setattr(compiled_module, "LARGEST", size)
    assert compiled_module.can_pack(model)
    monkeypatch.setattr(compiled_module, "LARGEST", size - 1)
    assert not compiled_module.can_pack(model)
