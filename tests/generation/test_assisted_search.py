"""With an assistant, what comes out is what the model alone chooses."""

from unittest.mock import Mock

import numpy as np
import pytest
import tensorflow as tf
from random_decoders import decoder, prompts, randomize, to_tf

import tfhf
from tfhf.generation.assisted_search import AssistedSearch

MODEL, OTHER = "TFGPT2LMHeadModel", "TFLlamaForCausalLM"
ENDS = {"eos_token_id": [3, 4], "pad_token_id": 28}


def assistants():
    """Yield models that guess always, mostly and hardly ever right."""
    model = decoder(MODEL)
    yield model
    similar = decoder(MODEL, attn_pdrop=0.0)  # another one
    for own, other in zip(model.weights, similar.weights):
        noise = np.random.default_rng(1).normal(size=own.shape)
        other.assign(own + 0.02 * noise)
    yield similar
    yield decoder(OTHER)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize(
    "settings",
    [
        {"num_assistant_tokens": 4, "assistant_confidence_threshold": 0.0},
        {"num_assistant_tokens": 5, "no_repeat_ngram_size": 3, "repetition_penalty": 1.2, **ENDS},
        {"do_sample": True, "temperature": 0.7, "seed": 5, **ENDS},
        {"do_sample": True, "num_return_sequences": 3, "seed": 6, "num_assistant_tokens": 3},
    ],
    ids=["greedy", "greedy with processors", "sampling", "several"],
)
def test_same_ids_as_alone(settings, jit_compile):
    model = decoder(MODEL)
    randomize(model, 1)
    for seed, assistant in enumerate(assistants()):
        inputs = to_tf(prompts(seed, rows=[4, 2, 1][seed]))
        for new_tokens in (1, 2, 25):
            arguments = inputs | settings | {"max_new_tokens": new_tokens}
            expected = model.generate(**arguments)
            got = model.generate(**arguments, assistant_model=assistant, jit_compile=jit_compile)
            np.testing.assert_array_equal(got, expected)


def test_the_model_reads_less_often(monkeypatch):
    """A model that guesses for itself is always right: each reading gives six tokens."""
    model = decoder(MODEL)
    randomize(model, 1)
    asked, running = [], AssistedSearch.running

    def counted(*arguments):
        asked.extend([1] if tf.executing_eagerly() else [])
        return running(*arguments)

    monkeypatch.setattr(AssistedSearch, "running", counted)
    settings = {"num_assistant_tokens": 5, "assistant_confidence_threshold": 0.0}
    model.generate(
        **to_tf(prompts(0)),
        **settings,
        assistant_model=model,
        streamer=Mock(),  # for whom the steps are taken one by one
        max_new_tokens=1 + 3 * 6,
    )
    assert len(asked) == 3 + 1


def test_scores_are_those_of_the_model():
    model = decoder(MODEL)
    randomize(model, 1)
    arguments = to_tf(prompts(0)) | {"return_dict_in_generate": True, "output_scores": True}
    alone = model.generate(**arguments, max_new_tokens=9)
    helped = model.generate(**arguments, max_new_tokens=9, assistant_model=decoder(OTHER))
    assert len(alone.scores) == len(helped.scores) == 9
    np.testing.assert_allclose(helped.scores, alone.scores, rtol=0, atol=1e-5)


def test_what_does_not_go_together():
    model, ids = decoder(MODEL), tf.constant([[12, 13]])
    for settings in ({"num_beams": 2}, {"penalty_alpha": 0.6, "top_k": 4}):
        with pytest.raises(ValueError, match="assistant_model helps greedy search and sampling"):
            model.generate(ids, assistant_model=model, **settings)
    with pytest.raises(ValueError, match="it knows 31 tokens, and the model 29"):
        model.generate(ids, assistant_model=decoder(MODEL, vocab_size=31))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_an_assistant_with_fewer_positions(jit_compile):
    model, assistant = decoder(MODEL), decoder(MODEL, n_positions=16)
    randomize(model, 1)
    randomize(assistant, 1)
    for new_tokens in (4, 9, 20):
        arguments = to_tf(prompts(0)) | {"max_new_tokens": new_tokens}
        got = model.generate(**arguments, assistant_model=assistant, jit_compile=jit_compile)
        np.testing.assert_array_equal(got, model.generate(**arguments))
    with pytest.raises(ValueError, match="input_ids has 17 tokens, but the assistant_model has"):
        model.generate(tf.ones([1, 17], tf.int32), assistant_model=assistant)


def test_models_that_keep_no_keys():
    """Transformer-XL cannot take back what it read in vain."""
    other = decoder(MODEL)
    config = {"cutoffs": [], "d_model": 8, "d_embed": 8, "n_head": 2, "d_head": 4, "n_layer": 1}
    config_class = tfhf.TFTransfoXLLMHeadModel.config_class
    model = tfhf.TFTransfoXLLMHeadModel(config_class(vocab_size=29, **config))
    ids, fault = tf.constant([[12, 13]]), "needs a model with past_key_values.*TFTransfoXLLMHead"
    for large, small in ((model, other), (other, model)):
        with pytest.raises(ValueError, match=fault):
            large.generate(ids, assistant_model=small)
    with pytest.raises(ValueError, match=f"contrastive search {fault}"):
        model.generate(ids, penalty_alpha=0.6, top_k=4)
