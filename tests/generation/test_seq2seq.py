"""generate() of encoder-decoders chooses the tokens that PyTorch's does, in every family."""

import numpy as np
import pytest
import tensorflow as tf
from random_decoders import (
    answers_without_tfhf,
    decoder,
    encoder_decoders,
    in_torch,
    randomize,
    to_tf,
)

import tfhf

BART = "TFBartForConditionalGeneration"
ENDS = {"eos_token_id": [3, 4, 5, 6], "pad_token_id": 28}
ROWS, COLUMNS = 4, 7


def sources(seed, side="right"):
    """Return texts of unequal lengths, padded at one side."""
    rng = np.random.default_rng(seed)
    lengths = np.array([COLUMNS, *rng.integers(1, COLUMNS + 1, ROWS - 1)])[:, None]
    mask = (np.arange(COLUMNS) < lengths).astype(np.int64)
    mask = mask[:, ::-1].copy() if side == "left" else mask
    return {"input_ids": rng.integers(12, 28, mask.shape) * mask, "attention_mask": mask}


def left_padded(seed, config):
    return sources(seed, "left")


def without_mask(seed, config):
    return {"input_ids": sources(seed)["input_ids"]}


def vectors(seed, config):
    states = np.random.default_rng(seed).normal(size=(ROWS, COLUMNS, config.d_model))
    mask = sources(seed)["attention_mask"]
    return {"inputs_embeds": states.astype(np.float32), "attention_mask": mask}


def states(seed, config):
    given = vectors(seed, config)
    return {"encoder_outputs": given["inputs_embeds"], "attention_mask": given["attention_mask"]}


def target(seed, config):
    ids = np.random.default_rng(seed + 1).integers(12, 28, (ROWS, 3))
    ids[:, 0] = config.decoder_start_token_id
    return sources(seed) | {"decoder_input_ids": ids}


def target_without_start(seed, config):
    given = target(seed, config)
    return given | {"decoder_input_ids": given["decoder_input_ids"][:, 1:]}


def padded_target(seed, config):
    given = target(seed, config)
    mask = (np.arange(3) >= np.array([0, 1, 2, 0])[:, None]).astype(np.int64)
    return given | {
        "decoder_input_ids": given["decoder_input_ids"] * mask,
        "decoder_attention_mask": mask,
    }


def follow(batch_id, input_ids):
    """Return the tokens that may follow the last one."""
    last = int(input_ids[-1])
    return [(last * step + 1) % 29 for step in range(1, 9)] + [3]


#: {case: (settings, inputs)}
GREEDY = {
    "plain": ({}, None),
    "ends, left padding": (ENDS, left_padded),
    "padding to be guessed": ({"eos_token_id": 5, "pad_token_id": 0}, without_mask),
    "vectors": (ENDS, vectors),
    "states of an encoder": ({"no_repeat_ngram_size": 2}, states),
    "a target's start": (ENDS, target),
    "a target without its start": ({"min_new_tokens": 4, **ENDS}, target_without_start),
    "a padded target": ({"repetition_penalty": 1.4, **ENDS}, padded_target),
    "another start": ({"decoder_start_token_id": 9, "min_length": 5, **ENDS}, None),
    "a start for each row": ({"decoder_start_token_id": [7, 8, 9, 7], **ENDS}, None),
    "forced": ({"forced_bos_token_id": 9, "forced_eos_token_id": 3, "eos_token_id": 3}, None),
    "the source": ({"encoder_repetition_penalty": 1.5, "encoder_no_repeat_ngram_size": 2}, None),
    "bad words": ({"bad_words_ids": [[7], [8, 9], [10, 11, 12]], "eos_token_id": 5}, None),
    "suppressed": ({"suppress_tokens": [1, 2, 7, 8], "begin_suppress_tokens": [10, 11]}, target),
    "prefixes": ({"prefix_allowed_tokens_fn": follow, **ENDS}, None),
    "several": ({"repetition_penalty": 0.8, "no_repeat_ngram_size": 3, **ENDS}, target),
}
#: All with another padding than 0, which PyTorch's beam search takes for none.
BEAMS = {
    "plain": ({"num_beams": 3}, None),
    "all returned": ({"num_beams": 4, "num_return_sequences": 4, **ENDS}, left_padded),
    "early": ({"num_beams": 4, "early_stopping": True, "num_return_sequences": 2, **ENDS}, target),
    "never early": (
        {"num_beams": 3, "early_stopping": "never", "length_penalty": 0.7, **ENDS}, states
    ),
    "long": ({"num_beams": 3, "length_penalty": 2.0, "num_return_sequences": 3, **ENDS}, vectors),
    "short": ({"num_beams": 3, "length_penalty": -1.5, **ENDS}, padded_target),
    "one end": ({"num_beams": 2, "eos_token_id": 5, "pad_token_id": 28}, None),
    "min length": ({"num_beams": 3, "min_length": 6, "length_penalty": -1.0, **ENDS}, None),
    "forced": (
        {"num_beams": 3, "forced_bos_token_id": 9, "forced_eos_token_id": 3, **ENDS},
        None,
    ),
    "the source": (
        {"num_beams": 3, "encoder_repetition_penalty": 1.3, "encoder_no_repeat_ngram_size": 2},
        None,
    ),
    "repetition": ({"num_beams": 3, "repetition_penalty": 1.3, "no_repeat_ngram_size": 2}, target),
    "bad words": ({"num_beams": 3, "bad_words_ids": [[7], [8, 9]], **ENDS}, None),
    "prefixes": ({"num_beams": 2, "prefix_allowed_tokens_fn": follow, **ENDS}, None),
    "more beams": ({"num_beams": 6, "num_return_sequences": 5, **ENDS}, None),
}  # fmt: skip
#: Each is another random model, with other sources and another length.
SEEDS = range(4)


FAST_GREEDY = {
    "padding to be guessed", "states of an encoder", "a padded target",
    "a target without its start", "a start for each row",
}  # fmt: skip


def grid(cases, fast):
    """Return every case with every family.

    No slow tests are ``fast`` of BART, and one case of each other family.
    """
    pairs = []
    for number, class_name in enumerate(encoder_decoders()):
        for i, name in enumerate(cases):
            first = name in fast if class_name == BART else i == number % len(cases)
            marks = [] if first else [pytest.mark.slow]
            pairs.append(
                pytest.param(class_name, cases[name], id=f"{class_name}-{name}", marks=marks)
            )
    return pairs


def as_torch(inputs):
    import torch
    from transformers.modeling_outputs import BaseModelOutput

    if "attention_mask" not in inputs:  # which Transformers 4 guessed, and 5 does not
        inputs = inputs | {"attention_mask": (inputs["input_ids"] != 0).astype(np.int64)}
    given = {name: torch.from_numpy(value) for name, value in inputs.items()}
    if "encoder_outputs" in given:
        given["encoder_outputs"] = BaseModelOutput(last_hidden_state=given["encoder_outputs"])
    return given


def assert_same_ids(class_name, case, *, seeds=SEEDS, jit_compile=False):
    """Compare with PyTorch."""
    settings, make_inputs = case
    # PyTorch's LED, reading one token, forgets what is padding: it reads all tokens again.
    forgets = "TFLED" in class_name and make_inputs is padded_target
    again = {"use_cache": False} if forgets else {}
    ours = decoder(class_name)
    for seed in seeds:
        randomize(ours, seed)
        inputs = sources(seed) if make_inputs is None else make_inputs(seed, ours.config)
        length = {"max_new_tokens": 6 + 2 * (seed % 3)}
        expected = in_torch(ours).generate(**as_torch(inputs), **settings, **length, **again)
        got = ours.generate(**inputs, **settings, **length, jit_compile=jit_compile)
        np.testing.assert_array_equal(got, expected, err_msg=f"seed {seed}")


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("class_name", "case"),
    grid(GREEDY, FAST_GREEDY),
)
def test_greedy_search(class_name, case):
    assert_same_ids(class_name, case)


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("class_name", "case"), grid(BEAMS, {"all returned", "the source", "repetition"})
)
def test_beam_search(class_name, case):
    assert_same_ids(class_name, case)


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.parametrize("class_name", encoder_decoders())
@pytest.mark.parametrize("case", [GREEDY["a padded target"], BEAMS["the source"]])
def test_xla_with_every_family(class_name, case):
    assert_same_ids(class_name, case, jit_compile=True)


@pytest.mark.oracle
def test_xla():
    assert_same_ids(BART, BEAMS["the source"], seeds=[1], jit_compile=True)


@pytest.fixture
def bart():
    model = decoder(BART)
    randomize(model, 3)
    return model


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}], ids=["greedy", "beams"])
def test_rows_are_as_alone(bart, settings):
    inputs = sources(1)
    together = bart.generate(**inputs, **settings, max_new_tokens=8)
    for i, (ids, mask) in enumerate(zip(inputs["input_ids"], inputs["attention_mask"])):
        alone = bart.generate(ids[mask == 1][None], **settings, max_new_tokens=8)[0]
        np.testing.assert_array_equal(together[i], alone)


def test_tokens_of_certain_places(bart):
    """A setting that Transformers 5 dropped."""
    forced = [[1, 9], [3, 7]]
    ids = bart.generate(**sources(1), forced_decoder_ids=forced, max_new_tokens=4).numpy()
    assert (ids[:, 1] == 9).all() and (ids[:, 3] == 7).all() and not (ids[:, 2] == 7).all()


@pytest.mark.slow
def test_the_encoder_reads_once_and_beams_share_what_it_said(bart, monkeypatch):
    body, read, caches = bart.base_model, [], []
    encode, decode = body.encode, body.decode

    def counted(*args, **kwargs):
        read.append(args)
        return encode(*args, **kwargs)

    def seen(*args, **kwargs):
        caches.append(kwargs["past_key_values"])
        return decode(*args, **kwargs)

    monkeypatch.setattr(body, "encode", counted)
    monkeypatch.setattr(body, "decode", seen)
    inputs = to_tf(sources(0))

    @tf.function
    def continued():
        return bart.generate(**inputs, max_new_tokens=5, num_beams=3)

    continued.get_concrete_function()
    assert len(read) == 1 and len(caches) == 2 and caches[0] is None
    rows = [[part.key.shape[0] for part in layer] for layer in caches[1]]
    assert rows == [[ROWS, ROWS]] * 2  # its own, and the source's
    room = 6  # the first token, and five
    assert [own.key.shape[2] for own, _ in caches[1]] == [3 * room] * 2


@pytest.mark.slow
def test_sampling_is_the_same_with_xla(bart):
    settings = {"do_sample": True, "seed": 3, "max_new_tokens": 6, "num_return_sequences": 3}
    plain = bart.generate(**sources(2), **settings)
    assert plain.shape == (3 * ROWS, 7)
    np.testing.assert_array_equal(plain, bart.generate(**sources(2), **settings, jit_compile=True))


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_an_assistant_changes_nothing(bart, jit_compile):
    assistant = tfhf.TFBartForConditionalGeneration(bart.config)
    for own, other in zip(bart.weights, assistant.weights):
        other.assign(own + 0.02 * np.random.default_rng(1).normal(size=own.shape))
    settings = {"max_new_tokens": 12, "num_assistant_tokens": 4, "jit_compile": jit_compile}
    expected = bart.generate(**sources(2), **settings)
    got = bart.generate(**sources(2), **settings, assistant_model=assistant)
    np.testing.assert_array_equal(got, expected)


def test_contrastive_search(bart):
    """Against a plain loop that reads all anew."""
    alpha, count, inputs = 0.6, 3, sources(1)
    inputs = {name: value[:2] for name, value in inputs.items()}
    got = bart.generate(**inputs, penalty_alpha=alpha, top_k=count, max_new_tokens=4).numpy()
    for row, ids, mask in zip(got, inputs["input_ids"], inputs["attention_mask"]):
        source = ids[mask == 1][None]

        def read(target, source=source):
            output = bart(source, decoder_input_ids=np.array([target]), output_hidden_states=True)
            hidden = output.decoder_hidden_states[-1][0].numpy()
            return hidden / np.linalg.norm(hidden, axis=1, keepdims=True), output.logits[0, -1]

        target = [bart.config.decoder_start_token_id]
        for _ in range(4):
            known, logits = read(target)
            probabilities = tf.nn.softmax(logits).numpy()
            values = {
                token: (1 - alpha) * probabilities[token]
                - alpha * np.max(known @ read([*target, token])[0][-1])
                for token in np.argsort(-probabilities)[:count]
            }
            target.append(int(max(values, key=values.get)))
        np.testing.assert_array_equal(row, target)


def test_in_a_saved_model_without_tfhf(bart, tmp_path):
    ways = {"greedy": {}, "beams": {"num_beams": 3, "num_return_sequences": 2, **ENDS}}
    inputs = to_tf(sources(3))
    answers = answers_without_tfhf(bart, ways, inputs, tmp_path / "saved")
    for way, settings in ways.items():
        expected = bart.generate(**inputs, max_new_tokens=6, **settings)
        np.testing.assert_array_equal(answers[way], expected, err_msg=way)


def test_new_lengths_are_not_traced_anew(bart):
    traced = []

    def spy(input_ids, scores, cur_len):
        traced.append(scores.shape)
        return scores

    for jit_compile in (False, True):
        counts = []
        for length in (3, 5, 8):
            ids = tf.ones([2, length], tf.int32)
            bart.generate(ids, max_new_tokens=4, logits_processor=[spy], jit_compile=jit_compile)
            counts.append(len(traced))
        assert counts[0] == counts[-1]


IDS = np.array([[12, 13, 14]])


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"inputs_embeds": np.zeros((1, 3, 12)), "inputs": IDS}, "source twice"),
        ({"inputs": IDS, "decoder_position_ids": IDS}, "takes no decoder_position_ids"),
        ({"inputs": IDS, "decoder_inputs_embeds": IDS}, "takes no decoder_inputs_embeds"),
        ({"inputs": IDS, "labels": IDS}, r"not used by the model: \['labels'\]"),
        ({"inputs": IDS, "attention_mask": [[1, 1]]}, "attention_mask must have the shape"),
        (
            {"inputs": IDS, "decoder_input_ids": IDS, "decoder_attention_mask": [[1]]},
            "decoder_attention_mask must have the shape of decoder_input_ids",
        ),
        (
            {"inputs": IDS, "decoder_input_ids": np.ones((2, 1), int)},
            "decoder_input_ids must have a row for each of 1 sources",
        ),
        ({"encoder_outputs": np.zeros((1, 3))}, "encoder_outputs must be, or begin with"),
        ({"inputs": np.ones((1, 40), int)}, "input_ids has 40 positions"),
        ({"inputs": IDS, "decoder_input_ids": np.ones((1, 33), int)}, "decoder_input_ids has 3"),
        (
            {"inputs": IDS, "decoder_start_token_id": None, "bos_token_id": None},
            "`decoder_start_token_id` or `bos_token_id` has to be defined",
        ),
    ],
)
def test_bad_arguments(arguments, fault):
    with pytest.raises(ValueError, match=fault):
        decoder(BART).generate(**arguments)
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="one for each of 1 sources, but are 2"
    ):
        decoder(BART).generate(IDS, decoder_start_token_id=[1, 2])


def test_what_cannot_assist(bart):
    gpt2 = decoder("TFGPT2LMHeadModel")
    with pytest.raises(ValueError, match="TFGPT2LMHeadModel cannot assist TFBart"):
        bart.generate(IDS, assistant_model=gpt2)
