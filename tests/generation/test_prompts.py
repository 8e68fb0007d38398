"""Prompts that are vectors are continued as the tokens are whose vectors they are."""

import numpy as np
import pytest
import tensorflow as tf
from random_decoders import decoder, in_torch, prompts, randomize, to_tf, to_torch

from tfhf.generation import TextStreamer

GPT2 = "TFGPT2LMHeadModel"
ENDS = {"eos_token_id": [3, 4, 5, 6], "pad_token_id": 28}
WAYS = {
    "greedy": {},
    "greedy, processed": {
        "no_repeat_ngram_size": 2,
        "bad_words_ids": [[7], [8, 9]],
        "min_length": 12,
        "begin_suppress_tokens": [10, 11, 12],
        "forced_eos_token_id": 3,
        **ENDS,
    },
    "repetition penalty": {"repetition_penalty": 1.4},
    "beams": {"num_beams": 3, "num_return_sequences": 2, **ENDS},
}
OF_OURS = {
    "sampling": {"do_sample": True, "seed": 3},
    "contrastive": {"penalty_alpha": 0.6, "top_k": 4},
}


def vectors(model, inputs):
    """Return a prompt of vectors in place of one of ids."""
    embedded = model.get_input_embeddings()(tf.constant(inputs["input_ids"], tf.int32))
    return {"inputs_embeds": embedded.numpy(), "attention_mask": inputs["attention_mask"]}


@pytest.mark.oracle
@pytest.mark.parametrize("class_name", [GPT2, "TFLlamaForCausalLM", "TFGemma2ForCausalLM"])
@pytest.mark.parametrize("way", WAYS)
def test_vectors_as_pytorch(class_name, way):
    model = decoder(class_name)
    for seed in (0, 1):
        randomize(model, seed)
        inputs = prompts(seed)
        if way == "repetition penalty":  # which in PyTorch leaves as many new tokens out as padding
            inputs["attention_mask"][:] = 1
        given = vectors(model, inputs)
        expected = in_torch(model).generate(**to_torch(given), **WAYS[way], max_new_tokens=8)
        got = model.generate(**given, **WAYS[way], max_new_tokens=8)
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("way", ["beams", *OF_OURS])
def test_vectors_as_their_tokens(way, jit_compile):
    model = decoder(GPT2)
    randomize(model, 2)
    settings = (WAYS | OF_OURS)[way] | {"max_new_tokens": 8, "jit_compile": jit_compile}
    inputs = prompts(2)
    expected = model.generate(**to_tf(inputs), **settings)[:, inputs["input_ids"].shape[1] :]
    np.testing.assert_array_equal(model.generate(**vectors(model, inputs), **settings), expected)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_vectors_in_the_callers_graph(jit_compile):
    model = decoder(GPT2)
    randomize(model, 3)
    inputs = prompts(3)
    given = vectors(model, inputs)
    expected = model.generate(**given, max_new_tokens=6)

    @tf.function(jit_compile=jit_compile)
    def continued(given):
        return model.generate(**given, max_new_tokens=6)

    np.testing.assert_array_equal(continued(given), expected)


def test_no_new_function_for_another_number_of_vectors():
    model = decoder(GPT2)
    traced = []

    def spy(input_ids, scores, cur_len):
        traced.append(scores.shape)
        return scores

    for jit_compile in (False, True):
        counts = []
        for length in (3, 5, 8):
            given = vectors(model, prompts(0, longest=length))
            model.generate(
                **given, max_new_tokens=3, logits_processor=[spy], jit_compile=jit_compile
            )
            counts.append(len(traced))
        assert counts[0] == counts[-1]


def test_processors_and_streamers_of_vectors():
    """What has no id has none of the vocabulary, and is not shown."""

    class Shown(TextStreamer):
        def __init__(self):
            self.columns = []

        def put(self, value):
            self.columns.extend(value.T if value.ndim == 2 else [value])

        def end(self):
            pass

    model, shown, seen = decoder(GPT2), Shown(), []

    def spy(batch_id, input_ids):
        seen.append(input_ids.tolist())
        return range(29)

    given = vectors(model, prompts(0, rows=1, longest=4))
    ids = model.generate(
        **given, max_new_tokens=3, streamer=shown, prefix_allowed_tokens_fn=spy
    ).numpy()[0]
    assert [int(column[0]) for column in shown.columns] == ids.tolist()
    assert seen == [[-1] * 4 + ids[:i].tolist() for i in range(3)]


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"input_ids": np.ones((1, 3), int)}, "prompt twice: as input_ids and as inputs_embeds"),
        ({"inputs": np.ones((1, 3), int)}, "prompt twice: as input_ids and as inputs_embeds"),
        ({"inputs_embeds": np.zeros((1, 3))}, r"inputs_embeds must be \[batch, length, size\]"),
        ({"inputs_embeds": np.zeros((1, 0, 12))}, "of one column at least"),
        ({"inputs_embeds": np.zeros((1, 3, 5))}, r"inputs_embeds must be \[batch, length, \d+\]"),
        ({"attention_mask": np.ones((1, 4))}, "must have the shape of inputs_embeds"),
        ({"assistant_model": "small"}, "no prompt for an assistant_model"),
    ],
)
def test_vectors_that_are_no_prompt(arguments, fault):
    model = decoder(GPT2)
    given = vectors(model, {"input_ids": np.ones((1, 3), int), "attention_mask": None})
    with pytest.raises(ValueError, match=fault):
        model.generate(**(given | arguments))
