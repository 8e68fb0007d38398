"""Sampling draws each token as often as its probability says, and the same ones from a seed."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from random_decoders import decoder, prompts, randomize, to_tf
from scipy import stats
from transformers import GPT2Config

import tfhf

GPT2 = "TFGPT2LMHeadModel"
DRAWS = 20_000
PROMPT = [[12, 20, 17]]
WARPED = {"do_sample": True, "top_k": 12, "top_p": 0.9, "temperature": 1.5}


@pytest.fixture
def model():
    model = decoder(GPT2)
    randomize(model, 1)
    return model


def warped(logits):
    """Return the probabilities that the settings above leave, [rows, vocab_size], in float64."""
    logits = logits.astype(np.float64) / WARPED["temperature"]
    kept = np.sort(logits)[:, ::-1][:, WARPED["top_k"] - 1 : WARPED["top_k"]]
    logits = np.where(logits < kept, -np.inf, logits)
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    for row in probabilities:  # the fewest of the likeliest that make up top_p
        order = np.argsort(-row)
        before = np.cumsum(row[order]) - row[order]
        row[order[before >= WARPED["top_p"]]] = 0
    return probabilities / probabilities.sum(axis=1, keepdims=True)


def chi_square(counts, probabilities):
    """Return the p-value of counts; cells that expect fewer than 5 are counted together."""
    expected = probabilities * counts.sum()
    assert not counts[expected == 0].any()
    rare = expected < 5
    counts = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    kept = expected > 0
    return stats.chisquare(counts[kept], expected[kept]).pvalue


def test_two_tokens_as_often_as_their_probabilities_say(model):
    ids = model.generate(
        tf.constant(PROMPT), num_return_sequences=DRAWS, max_new_tokens=2, seed=5, **WARPED
    ).numpy()
    first = warped(model(PROMPT).logits.numpy()[:, -1])[0]
    texts = np.concatenate([np.repeat(PROMPT, 29, axis=0), np.arange(29)[:, None]], axis=1)
    both = first[:, None] * warped(model(texts).logits.numpy()[:, -1])
    counts = np.zeros([29, 29])
    np.add.at(counts, (ids[:, 3], ids[:, 4]), 1)
    assert (both > 0).sum() > 20
    assert chi_square(counts.ravel(), both.ravel()) > 1e-3


def test_beam_sampling_draws_without_replacement(model):
    """Of two beams, twice two tokens are drawn, and the better of the first two is returned."""
    ids = model.generate(
        tf.repeat(tf.constant(PROMPT), DRAWS, axis=0),
        do_sample=True, num_beams=2, top_k=0, max_new_tokens=1, seed=7,
    ).numpy()  # fmt: skip
    logits = model(PROMPT).logits.numpy()[0, -1].astype(np.float64)
    p = np.exp(logits - logits.max())
    p /= p.sum()
    pairs = p[:, None] * p / (1 - p[:, None]) * (1 - np.eye(29))  # first one, then the other
    better = p[:, None] > p
    best = (pairs * better).sum(axis=1) + (pairs * better.T).sum(axis=0)
    counts = np.bincount(ids[:, -1], minlength=29)
    assert chi_square(counts, best) > 1e-3


def test_no_top_k_draws_from_all_tokens(model):
    arguments = to_tf(prompts(0)) | {"do_sample": True, "max_new_tokens": 12, "seed": 3}
    model.generation_config.top_k, own = 2, model.generation_config.top_k
    of_two, of_all = (model.generate(**arguments, **k) for k in ({}, {"top_k": None}))
    np.testing.assert_array_equal(of_all, model.generate(**arguments, top_k=0))
    assert not np.array_equal(of_all, of_two)
    model.generation_config.top_k = own


def test_same_seed_same_text(model):
    inputs = to_tf(prompts(0))

    def drawn(**more):
        return model.generate(**inputs, do_sample=True, max_new_tokens=12, **more).numpy().tolist()

    assert drawn(seed=3) == drawn(seed=3) == drawn(seed=[3, 0]) == drawn(seed=3, jit_compile=True)
    assert drawn(seed=3) != drawn(seed=4) and drawn(seed=[3, 1]) != drawn(seed=3)
    keras.utils.set_random_seed(8)
    one, another = drawn(), drawn()
    assert one != another
    keras.utils.set_random_seed(8)
    assert [drawn(), drawn()] == [one, another]


def test_same_seed_same_beams_with_xla(model):
    arguments = to_tf(prompts(0)) | {"do_sample": True, "num_beams": 3, "seed": 3}
    plain = model.generate(**arguments, max_new_tokens=8)
    np.testing.assert_array_equal(
        model.generate(**arguments, max_new_tokens=8, jit_compile=True), plain
    )


@pytest.mark.parametrize(
    ("settings", "of_queries"),
    [({}, set()), ({"do_sample": True}, set()), ({"num_beams": 3}, {"Mul", "Unpack"})],
)
def test_no_token_copies_the_cache(settings, of_queries):
    """If it did, a token would cost the more, the more there is room for.

    The keys and values of a step have the shape [rows, 5, columns, 11], as nothing else has but the
    queries of beams. The operations that return them are those that return what they are given.
    """
    config = {"n_positions": 64, "n_embd": 55, "n_layer": 2, "n_head": 5, "vocab_size": 29}
    ends = {"eos_token_id": None, "bos_token_id": None}
    model = tfhf.TFGPT2LMHeadModel(GPT2Config(**config, **ends))

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)])
    def continued(ids):
        return model.generate(ids, max_new_tokens=40, **settings)

    graph = continued.get_concrete_function().graph.as_graph_def(add_shapes=True)
    used = {
        node.op
        for function in graph.library.function
        if "while_body" in function.signature.name
        for node in function.node_def
        for shape in node.attr["_output_shapes"].list.shape
        if [axis.size for axis in shape.dim][1:] == [5, -1, 11]
    }
    assert {"Reshape"} < used <= {"Reshape", "EnsureShape", "Identity"} | of_queries
