"""Contrastive search against a plain loop over PyTorch's model, which keeps nothing."""

import numpy as np
import pytest
import tensorflow as tf
from random_decoders import decoder, decoders, in_torch, prompts, randomize, to_tf

GPT2 = "TFGPT2LMHeadModel"


def contrastive_ids(theirs, prompt, new_tokens, alpha, count, ends):
    """Return the ids of one row, as the paper's equation 5 says: all is read anew each time."""
    import torch

    def read(ids):
        output = theirs(torch.tensor([ids]), output_hidden_states=True)
        states = output.hidden_states[-1][0].detach().double().numpy()
        return states, output.logits[0, -1].detach().double().numpy()

    ids = list(prompt)
    for _ in range(new_tokens):
        states, logits = read(ids)
        probabilities = np.exp(logits - logits.max())
        probabilities /= probabilities.sum()
        values = {}
        for token in np.argsort(-probabilities)[:count]:
            new = read([*ids, token])[0][-1]
            norms = np.linalg.norm(states, axis=1) * np.linalg.norm(new)
            penalty = np.max(states @ new / norms)
            values[token] = (1 - alpha) * probabilities[token] - alpha * penalty
        ids.append(int(max(values, key=values.get)))
        if ids[-1] in ends:
            break
    return ids


SETTINGS = [
    {"penalty_alpha": 0.6, "top_k": 4},
    {"penalty_alpha": 0.3, "top_k": 8, "eos_token_id": [3, 4, 5, 6], "pad_token_id": 28},
    {"penalty_alpha": 0.9, "top_k": 2, "eos_token_id": 7, "pad_token_id": 0},
]


@pytest.mark.oracle
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize(
    "class_name",
    [GPT2, *(pytest.param(n, marks=pytest.mark.slow) for n in decoders() if n != GPT2)],
)
def test_equals_a_plain_loop(class_name, settings):
    model = decoder(class_name)
    ends = np.ravel(settings.get("eos_token_id", []))
    for seed in range(3):
        randomize(model, seed)
        theirs, inputs = in_torch(model), prompts(seed)
        got = model.generate(**to_tf(inputs), **settings, max_new_tokens=7).numpy()
        for row, ids, mask in zip(got, inputs["input_ids"], inputs["attention_mask"]):
            alpha, count = settings["penalty_alpha"], settings["top_k"]
            expected = contrastive_ids(theirs, ids[mask == 1], 7, alpha, count, ends)
            row = row[mask.argmax() :]
            np.testing.assert_array_equal(row[: len(expected)], expected)
            assert np.all(row[len(expected) :] == settings.get("pad_token_id", 0))


@pytest.mark.parametrize("settings", SETTINGS[:2])
def test_xla_and_scores(settings):
    model, inputs = decoder(GPT2), to_tf(prompts(1))
    randomize(model, 1)
    flags = {"return_dict_in_generate": True, "output_scores": True, "max_new_tokens": 7}
    plain = model.generate(**inputs, **settings, **flags)
    compiled = model.generate(**inputs, **settings, **flags, jit_compile=True)
    np.testing.assert_array_equal(plain.sequences, compiled.sequences)
    np.testing.assert_allclose(plain.scores, compiled.scores, rtol=0, atol=1e-5)
    logits = model(**inputs, position_ids=positions(inputs)).logits[:, -1]
    np.testing.assert_allclose(plain.scores[0], logits, rtol=0, atol=1e-5)


def positions(inputs):
    """Return the positions of tokens behind padding."""
    return tf.maximum(tf.cumsum(inputs["attention_mask"], axis=1) - 1, 0)
