"""generate() chooses the tokens that PyTorch's does, for every architecture and setting."""

import logging

import numpy as np
import pytest
import tensorflow as tf
from random_decoders import (
    answers_without_tfhf,
    decoder,
    decoders,
    in_torch,
    prompts,
    randomize,
    to_tf,
    to_torch,
    torch_prompt,
)
from tokenizers import Tokenizer, models
from tokenizers import decoders as decoders_of_text
from transformers import GenerationConfig, GPT2Config, PreTrainedTokenizerFast

import tfhf

GPT2 = "TFGPT2LMHeadModel"
ENDS = {"eos_token_id": [3, 4, 5, 6], "pad_token_id": 28}


def follow(batch_id, input_ids):
    """Return the tokens that may follow the last one."""
    last = int(input_ids[-1])
    return [(last * step + 1) % 29 for step in range(1, 9)] + [3]


GREEDY = {
    "plain": {},
    "one end": {"eos_token_id": 5, "pad_token_id": 0},
    "ends": ENDS,
    "repetition penalty": {"repetition_penalty": 1.4, **ENDS},
    "n-grams": {"no_repeat_ngram_size": 2},
    "bad words": {"bad_words_ids": [[7], [8, 9], [10, 11, 12]], "eos_token_id": 5},
    "min length": {"min_length": 12, **ENDS},
    "min new tokens": {"min_new_tokens": 4, **ENDS},
    "min new tokens, not min length": {"min_new_tokens": 1, "min_length": 13, **ENDS},
    "forced": {"forced_bos_token_id": 9, "forced_eos_token_id": 3, "eos_token_id": 3},
    "suppressed": {"suppress_tokens": [1, 2, 7, 8, 9], "begin_suppress_tokens": [10, 11, 12]},
    "prefixes": {"prefix_allowed_tokens_fn": follow, **ENDS},
    "biased": {"sequence_bias": [[[7], -5.0], [[8, 9], 4.0]]},
    "biased by a dictionary": {"sequence_bias": {(7,): -5.0, (8, 9): 4.0}},
    "decay": {"exponential_decay_length_penalty": (3, 1.3), **ENDS},
    "prompt": {"encoder_repetition_penalty": 1.5, "encoder_no_repeat_ngram_size": 2},
    "normalized": {"renormalize_logits": True, "remove_invalid_values": True},
    "several": {"repetition_penalty": 0.8, "no_repeat_ngram_size": 3, "min_new_tokens": 2, **ENDS},
}
BEAMS = {
    "plain": {"num_beams": 3},
    "ends": {"num_beams": 3, **ENDS},
    "all returned": {"num_beams": 4, "num_return_sequences": 4, **ENDS},
    "early": {"num_beams": 4, "early_stopping": True, "num_return_sequences": 2, **ENDS},
    "never early": {"num_beams": 3, "early_stopping": "never", "length_penalty": 0.7, **ENDS},
    "never early, canonical": {
        "num_beams": 3, "early_stopping": "never", "length_penalty": 0.0, **ENDS
    },
    "long": {"num_beams": 3, "length_penalty": 2.0, "num_return_sequences": 3, **ENDS},
    "short": {"num_beams": 3, "length_penalty": -1.5, "num_return_sequences": 3, **ENDS},
    "one end": {"num_beams": 2, "eos_token_id": 5, "pad_token_id": 28},
    "min length": {"num_beams": 3, "min_length": 12, "length_penalty": -1.0, **ENDS},
    "forced": {"num_beams": 3, "forced_eos_token_id": 3, "eos_token_id": 3, "pad_token_id": 28},
    "repetition": {"num_beams": 3, "repetition_penalty": 1.3, "no_repeat_ngram_size": 2, **ENDS},
    "bad words": {"num_beams": 3, "bad_words_ids": [[7], [8, 9]], **ENDS},
    "suppressed": {"num_beams": 3, "suppress_tokens": [1, 2, 7], "begin_suppress_tokens": [9]},
    "prefixes": {"num_beams": 2, "prefix_allowed_tokens_fn": follow, **ENDS},
    "more beams": {"num_beams": 6, "num_return_sequences": 5, "eos_token_id": [3, 4], **ENDS},
}  # fmt: skip
#: Each is another random model, with other prompts and another length.
SEEDS = range(5)


def grid(settings):
    """Return every setting with GPT-2 and, of the other architectures, one with each."""
    names, pairs = list(settings), []
    for number, class_name in enumerate(decoders()):
        for i, name in enumerate(names):
            chosen = class_name == GPT2 or i == number % len(names)
            marks = [] if chosen else [pytest.mark.slow]
            case = f"{class_name}-{name}"
            pairs.append(pytest.param(class_name, settings[name], id=case, marks=marks))
    return pairs


def assert_same_ids(class_name, settings, *, seeds=SEEDS, jit_compile=False):
    """Compare with PyTorch."""
    ours = decoder(class_name)
    for seed in seeds:
        randomize(ours, seed)
        inputs, length = prompts(seed), {"max_new_tokens": 6 + 2 * (seed % 3)}
        with np.errstate(all="ignore"):
            prompt = torch_prompt(ours, inputs)
            expected = in_torch(ours).generate(**prompt, **settings, **length)
        got = ours.generate(**to_tf(inputs), **settings, **length, jit_compile=jit_compile)
        np.testing.assert_array_equal(got, expected, err_msg=f"seed {seed}")


@pytest.mark.oracle
@pytest.mark.parametrize(("class_name", "settings"), grid(GREEDY))
def test_greedy_search(class_name, settings):
    assert_same_ids(class_name, settings)


@pytest.mark.oracle
@pytest.mark.parametrize(("class_name", "settings"), grid(BEAMS))
def test_beam_search(class_name, settings):
    assert_same_ids(class_name, settings)


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.parametrize("class_name", decoders())
@pytest.mark.parametrize("settings", [GREEDY["several"], BEAMS["all returned"]])
def test_xla_with_every_architecture(class_name, settings):
    assert_same_ids(class_name, settings, jit_compile=True)


@pytest.mark.oracle
@pytest.mark.parametrize("settings", [GREEDY["several"], BEAMS["early"]])
def test_xla(settings):
    assert_same_ids(GPT2, settings, jit_compile=True)


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("settings", "jit_compile"),
    [
        ({}, False),
        ({}, True),
        ({"num_beams": 2}, False),
        pytest.param({"num_beams": 2}, True, marks=pytest.mark.slow),
    ],
)
def test_to_the_last_position_and_one_token_behind(settings, jit_compile):
    """The last token needs no position: nobody reads it."""
    ours = decoder(GPT2)
    randomize(ours, 4)
    for length in (30, 32):
        ids = np.random.default_rng(length).integers(12, 28, (2, length))
        arguments = {"max_new_tokens": 33 - length, "pad_token_id": 0, **settings}
        expected = in_torch(ours).generate(**to_torch({"input_ids": ids}), **arguments)
        got = ours.generate(tf.constant(ids), **arguments, jit_compile=jit_compile)
        np.testing.assert_array_equal(got, expected)


@pytest.mark.oracle
@pytest.mark.parametrize("settings", [{}, {"num_beams": 3, "num_return_sequences": 2}])
def test_stop_strings(settings):
    texts = ["?", *(a + b for a in "abcd" for b in "xyzabc"), "a", "b", "c", "abcdef"]
    backend = Tokenizer(models.WordLevel({text: i for i, text in enumerate(texts)}, "?"))
    backend.decoder = decoders_of_text.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    stop = {"stop_strings": ["xa", "bc", "zc"], "tokenizer": tokenizer, **ENDS}
    assert_same_ids(GPT2, settings | stop)


@pytest.mark.oracle
@pytest.mark.parametrize("settings", [GREEDY["repetition penalty"], BEAMS["all returned"]])
def test_scores(settings):
    ours, inputs = decoder(GPT2), prompts(0)
    randomize(ours, 0)
    flags = {"return_dict_in_generate": True, "output_scores": True, "max_new_tokens": 8}
    theirs = in_torch(ours)
    expected = theirs.generate(**to_torch(inputs), **settings, **flags)
    got = ours.generate(**to_tf(inputs), **settings, **flags)
    assert len(got.scores) == len(expected.scores)
    assert set(got) == set(expected) - {"past_key_values"}
    for name in set(got) - {"scores"}:
        np.testing.assert_allclose(got[name], expected[name], rtol=0, atol=1e-5, err_msg=name)
    for ours_step, their_step in zip(got.scores, expected.scores, strict=True):
        np.testing.assert_allclose(ours_step, their_step, rtol=0, atol=2e-5)
    for normalize in (False, True):
        arguments = {name: expected.get(name) for name in ("sequences", "scores", "beam_indices")}
        transitions = theirs.compute_transition_scores(**arguments, normalize_logits=normalize)
        arguments = {name: got.get(name) for name in arguments}
        own = ours.compute_transition_scores(**arguments, normalize_logits=normalize)
        np.testing.assert_allclose(own, transitions, rtol=0, atol=1e-4)


@pytest.mark.parametrize("class_name", [GPT2, "TFLlamaForCausalLM"])
@pytest.mark.parametrize(
    "settings",
    [{}, BEAMS["ends"], {"penalty_alpha": 0.6, "top_k": 4}],
    ids=["greedy", "beams", "contrastive"],
)
def test_rows_padded_at_the_left_are_as_alone(settings, class_name):
    model = decoder(class_name)
    randomize(model, 1)
    inputs = prompts(1)
    together = model.generate(**to_tf(inputs), **settings, max_new_tokens=8)
    width = inputs["input_ids"].shape[1]
    for i, row in enumerate(inputs["input_ids"]):
        prompt = row[inputs["attention_mask"][i] == 1]
        alone = model.generate(tf.constant(prompt[None]), **settings, max_new_tokens=8)[0]
        new = alone[len(prompt) :].numpy()
        np.testing.assert_array_equal(together[i, width : width + len(new)], new)


def new_tokens_alone(model, inputs, row, **settings):
    """Return what follows one of several prompts if it is the only one."""
    prompt = inputs["input_ids"][row][inputs["attention_mask"][row] == 1]
    return model.generate(tf.constant(prompt[None]), **settings)[:, len(prompt) :].numpy()


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "settings",
    [{"num_return_sequences": 2}, pytest.param({"num_beams": 3}, marks=pytest.mark.slow)],
)
def test_rows_with_seeds_of_their_own_are_as_alone(settings, jit_compile):
    model, inputs = decoder(GPT2), prompts(1)
    randomize(model, 1)
    settings = {"do_sample": True, "max_new_tokens": 6, "jit_compile": jit_compile, **settings}
    seeds = [[5, 1], [2, 0], [5, 1], [2**31 - 1, 7]]
    together = model.generate(**to_tf(inputs), **settings, seed=seeds)
    together = together.numpy()[:, inputs["input_ids"].shape[1] :].reshape(len(seeds), -1, 6)
    for row, seed in enumerate(seeds):
        alone = new_tokens_alone(model, inputs, row, **settings, seed=seed)
        np.testing.assert_array_equal(together[row], alone)


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3, "length_penalty": 2.0}])
def test_a_criterion_of_ones_own(settings):
    """Rows that it ends are as with a limit of their own."""
    model, inputs = decoder(GPT2), prompts(2)
    randomize(model, 2)
    width, most = inputs["input_ids"].shape[1], [3, 8, 1, 5]

    def enough(input_ids, cur_len):
        copies = input_ids.shape[0] or tf.shape(input_ids)[0]
        return cur_len - width >= tf.repeat(most, copies // len(most))

    options = {"pad_token_id": 28, **settings}
    together = model.generate(
        **to_tf(inputs), **options, max_new_tokens=8, stopping_criteria=[enough]
    )
    for row, limit in enumerate(most):
        alone = new_tokens_alone(model, inputs, row, **options, max_new_tokens=limit)[0]
        np.testing.assert_array_equal(together[row, width : width + len(alone)], alone)
        assert np.all(together[row, width + limit :] == 28)


@pytest.mark.parametrize(
    ("settings", "jit_compile"),
    [
        ({}, False),
        ({}, True),
        (BEAMS["early"], False),
        pytest.param(BEAMS["early"], True, marks=pytest.mark.slow),
        ({"do_sample": True, "seed": 3}, False),
        ({"do_sample": True, "seed": 3}, True),
    ],
)
def test_in_the_callers_graph(settings, jit_compile):
    model, inputs = decoder(GPT2), to_tf(prompts(2))
    randomize(model, 2)
    expected = model.generate(**inputs, **settings, max_new_tokens=6)

    @tf.function(jit_compile=jit_compile)
    def continued(inputs):
        return model.generate(**inputs, **settings, max_new_tokens=6)

    got = continued(inputs)
    if jit_compile:  # of the greatest length
        assert got.shape[1] == 7 + 6
        got = got[:, : expected.shape[1]]
    np.testing.assert_array_equal(got, expected)


def test_in_a_saved_model_without_tfhf(tmp_path):
    model, inputs = decoder(GPT2), to_tf(prompts(3))
    randomize(model, 3)
    ways = {
        "greedy": {},
        "beams": BEAMS["early"],
        "sampling": {"do_sample": True, "seed": 3},
        "contrastive": {"penalty_alpha": 0.6, "top_k": 4},
    }
    answers = answers_without_tfhf(model, ways, inputs, tmp_path / "saved")
    for way, settings in ways.items():
        expected = model.generate(**inputs, max_new_tokens=6, **settings)
        np.testing.assert_array_equal(answers[way], expected, err_msg=way)


def test_new_lengths_are_not_traced_anew():
    model = decoder(GPT2)
    traced = []

    def spy(input_ids, scores, cur_len):
        traced.append(scores.shape)
        return scores

    for jit_compile in (False, True):
        counts = []
        for length, new in [(3, 4), (5, 9), (8, 2)]:
            ids = tf.ones([2, length], tf.int32)
            model.generate(ids, max_new_tokens=new, logits_processor=[spy], jit_compile=jit_compile)
            counts.append(len(traced))
        assert counts[0] == counts[-1]


def test_a_processor_of_ones_own():
    def forbid(input_ids, scores, cur_len):
        return scores - 1e9 * tf.cast(tf.range(29) % 2 == 0, tf.float32)

    ids = decoder(GPT2).generate(
        **to_tf(prompts(0)), max_new_tokens=8, logits_processor=[forbid], num_beams=2
    )
    assert np.all(ids[:, 7:].numpy() % 2 == 1)


def test_public_processors_do_what_the_settings_of_their_names_do():
    model, inputs = decoder(GPT2), to_tf(prompts(0))
    randomize(model, 0)
    own = tfhf.TFLogitsProcessorList(
        [
            tfhf.TFRepetitionPenaltyLogitsProcessor(1.4),
            tfhf.TFNoRepeatNGramLogitsProcessor(2),
            tfhf.TFNoBadWordsLogitsProcessor([[7], [8, 9]], eos_token_id=5),
            tfhf.TFMinLengthLogitsProcessor(11, eos_token_id=5),
        ]
    )
    settings = {
        "repetition_penalty": 1.4,
        "no_repeat_ngram_size": 2,
        "bad_words_ids": [[7], [8, 9]],
        "min_length": 11,
    }
    # Without padding, which the setting leaves out of what is repeated.
    inputs = {"input_ids": inputs["input_ids"][:1], "eos_token_id": 5, "max_new_tokens": 9}
    expected = model.generate(**inputs, **settings)
    np.testing.assert_array_equal(model.generate(**inputs, logits_processor=own), expected)
    assert not np.array_equal(model.generate(**inputs), expected)


def test_streamer_is_given_each_column():
    class Columns:
        def __init__(self):
            self.columns, self.ended = [], False

        def put(self, value):
            self.columns.extend([value] if value.ndim == 1 else value.T)

        def end(self):
            self.ended = True

    model, inputs = decoder(GPT2), to_tf(prompts(0))
    for settings in ({}, {"assistant_model": model}, {"penalty_alpha": 0.6, "top_k": 4}):
        streamer = Columns()
        ids = model.generate(**inputs, **settings, max_new_tokens=8, streamer=streamer)
        assert streamer.ended
        np.testing.assert_array_equal(np.stack(streamer.columns, axis=1), ids)


def test_token_types_go_on_as_the_prompt_ends():
    model, ids = decoder(GPT2), np.array([[12, 13, 14]])
    randomize(model, 0)
    types = np.array([[1, 1, 2]])
    for jit_compile in (False, True):
        got = model.generate(
            tf.constant(ids), token_type_ids=types, max_new_tokens=5, jit_compile=jit_compile
        )
        for i in range(5):
            shown = got[:, : 3 + i]
            more = np.concatenate([types, np.full((1, i), 2)], axis=1)
            logits = model(shown, token_type_ids=tf.constant(more)).logits
            assert got[0, 3 + i] == np.argmax(logits[0, -1])


def test_settings_may_come_in_an_object_or_from_the_model():
    model, ids = decoder(GPT2), tf.constant([[12, 13]])
    expected = model.generate(ids, num_beams=3, max_new_tokens=4)
    settings = GenerationConfig(num_beams=3, max_new_tokens=4)
    np.testing.assert_array_equal(model.generate(ids, settings), expected)
    own, model.generation_config = model.generation_config, settings
    np.testing.assert_array_equal(model.generate(ids), expected)
    model.generation_config = own
    assert model.generate(ids).shape == (1, 2 + 20)
    assert model.generate(ids, max_length=5).shape == (1, 5)
    assert model.generate(max_new_tokens=3).shape == (1, 1 + 3)


IDS = tf.constant([[12, 13, 14]])


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"inputs": tf.ones([1, 33], tf.int32)}, "input_ids has 33 tokens, .* positions for 32"),
        ({"inputs": IDS, "max_length": 3}, "Input length of input_ids is 3, but `max_length`"),
        ({"inputs": IDS, "num_beams": 2, "num_return_sequences": 3}, r"\(3\) has to be smaller"),
        ({"inputs": IDS, "num_return_sequences": 2}, "Greedy methods without beam search"),
        ({"inputs": IDS, "lenght": 3}, r"not used by the model: \['lenght'\]"),
        ({"inputs": IDS, "position_ids": IDS}, "generate takes no position_ids"),
        ({"inputs": IDS, "num_beams": 0}, "num_beams must be at least 1"),
        ({"inputs": IDS, "early_stopping": "soon"}, "early_stopping must be True, False or"),
        ({"inputs": IDS, "stop_strings": "a"}, "stop_strings needs the tokenizer"),
        ({"inputs": IDS, "num_beams": 2, "streamer": 1}, "streamer cannot be used with beam"),
        ({"inputs": IDS, "num_beam_groups": 2}, "num_beam_groups is not supported"),
        ({"inputs": IDS, "guidance_scale": 1.5}, "guidance_scale is not supported"),
        ({"inputs": IDS, "output_logits": True}, "output_logits is not supported"),
        ({"inputs": IDS, "num_assistant_tokens": 0}, "num_assistant_tokens must be at least 1"),
        ({"inputs": IDS, "seed": [1, 2, 3]}, "seed must be an integer or two"),
        ({"inputs": tf.constant([1, 2])}, r"input_ids must be integers \[batch, length\]"),
        ({"inputs": IDS, "attention_mask": [[1, 1]]}, "attention_mask must have the shape"),
        ({"inputs": IDS, "max_new_tokens": "2"}, "max_new_tokens must be an integer, but is '2'"),
        ({"inputs": IDS, "max_length": 4.0}, "max_length must be an integer, but is 4.0"),
        ({"inputs": IDS, "num_beams": 2.0}, "num_beams must be an integer, but is 2.0"),
        ({"inputs": IDS, "temperature": "hot"}, "temperature must be a number, but is 'hot'"),
        ({"inputs": IDS, "top_p": [0.5]}, r"top_p must be a number, but is \[0.5\]"),
        ({"inputs": IDS, "eos_token_id": "."}, "eos_token_id must be a token id or a list of them"),
        (
            {"inputs": IDS, "forced_eos_token_id": [3, 4], "suppress_tokens": [4, 3]},
            r"forced_eos_token_id must not be among suppress_tokens, but is \[3, 4\]",
        ),
        ({"inputs": IDS, "seed": "lucky"}, "seed must be an integer or two, but is 'lucky'"),
        ({"inputs": IDS, "output_attentions": True}, "call the model with output_attentions=True"),
        ({"inputs": IDS, "output_hidden_states": True}, "output_hidden_states is not supported by"),
        ({"bos_token_id": None}, "`bos_token_id` has to be defined when no `input_ids`"),
    ],
)
def test_bad_arguments(arguments, fault):
    with pytest.raises(ValueError, match=fault):
        decoder(GPT2).generate(**arguments)


def test_a_function_that_xla_cannot_call():
    arguments = {"inputs": IDS, "prefix_allowed_tokens_fn": follow, "max_new_tokens": 2}
    fault = "prefix_allowed_tokens_fn is a Python function, which XLA cannot call"
    with pytest.raises(ValueError, match=fault):
        decoder(GPT2).generate(**arguments, jit_compile=True)
    with pytest.raises(ValueError, match=fault):
        tf.function(lambda: decoder(GPT2).generate(**arguments), jit_compile=True)()


def test_a_class_that_cannot_generate():
    config = GPT2Config(n_layer=1, n_embd=4, n_head=1, vocab_size=9)
    with pytest.raises(TypeError, match="TFGPT2Model cannot generate.*TFAutoModelForCausalLM"):
        tfhf.TFGPT2Model(config).generate(IDS)


def test_warnings(caplog):
    model = decoder(GPT2)
    with caplog.at_level(logging.WARNING):
        model.generate(IDS, attention_mask=[[1, 1, 0]], max_new_tokens=1)
        assert "right-padding was detected" in caplog.text
        caplog.clear()
        model.generate([[12, 28], [13, 14]], pad_token_id=28, eos_token_id=28, max_new_tokens=1)
        assert "right-padding was detected" in caplog.text
        caplog.clear()
        assert model.generate(IDS, max_new_tokens=40).shape == (1, 33)
        assert "generation stops at 33, not at 43" in caplog.text
        caplog.clear()
        model.generate(IDS, max_new_tokens=2, min_new_tokens=4)
        assert "Unfeasible length constraints" in caplog.text
        caplog.clear()
        model.generate(IDS, max_new_tokens=2, min_new_tokens=1, min_length=5)
        assert "min_new_tokens=1 and min_length=5 are set; min_new_tokens counts" in caplog.text
        caplog.clear()
        model.generate(IDS, max_new_tokens=2, pad_token_id=14)
        assert not caplog.text
