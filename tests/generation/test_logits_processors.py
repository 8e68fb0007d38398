"""All processors of scores against PyTorch's, on random cases: eager, graph, XLA, SavedModel."""

import inspect

import numpy as np
import pytest
import tensorflow as tf

import tfhf
from tfhf.generation import logits_processors, logits_warpers, sequence_processors
from tfhf.generation.logits_processor_list import TFLogitsProcessorList

INF = float("inf")
BATCH, BEAMS = 3, 2
ROWS = BATCH * BEAMS


def ours(name):
    for module in (logits_processors, logits_warpers, sequence_processors):
        if hasattr(module, f"TF{name}"):
            return getattr(module, f"TF{name}")
    raise AttributeError(name)


def some(rng, vocab_size, most=3):
    return rng.integers(0, vocab_size, rng.integers(1, most + 1)).tolist()


def sequences(rng, vocab_size):
    return [rng.integers(0, vocab_size, rng.integers(1, 5)).tolist() for _ in range(12)]


def share(rng):
    return float(rng.uniform(0.02, 0.98))


def keep(rng):
    return {"min_tokens_to_keep": int(rng.integers(1, 4))}


def encoder_ids(rng, vocab_size):
    return rng.integers(0, vocab_size, (BATCH, rng.integers(1, 9)))


# Draws the arguments of a processor: its name to rng, vocab_size -> positional and keyword ones.
ARGUMENTS = {
    "MinLengthLogitsProcessor": lambda rng, v: ((int(rng.integers(0, 12)), some(rng, v)), {}),
    "MinNewTokensLengthLogitsProcessor": lambda rng, v: (
        (int(rng.integers(0, 6)), int(rng.integers(0, 6)), int(rng.integers(v))),
        {},
    ),
    "ForcedBOSTokenLogitsProcessor": lambda rng, v: ((int(rng.integers(v)),), {}),
    "ForcedEOSTokenLogitsProcessor": lambda rng, v: ((int(rng.integers(1, 12)), some(rng, v)), {}),
    "SuppressTokensLogitsProcessor": lambda rng, v: (([*some(rng, v), -1, v + 7],), {}),
    "SuppressTokensAtBeginLogitsProcessor": lambda rng, v: (
        (some(rng, v), int(rng.integers(0, 8))),
        {},
    ),
    "ExponentialDecayLengthPenalty": lambda rng, v: (
        ((int(rng.integers(0, 6)), float(rng.uniform(0.8, 1.6))), some(rng, v), 2),
        {},
    ),
    "InfNanRemoveLogitsProcessor": lambda rng, v: ((), {}),
    "LogitNormalization": lambda rng, v: ((), {}),
    "PrefixConstrainedLogitsProcessor": lambda rng, v: (
        (lambda batch, ids: [(7 * batch + len(ids) + int(sum(ids))) % v, batch % v], BEAMS),
        {},
    ),
    "RepetitionPenaltyLogitsProcessor": lambda rng, v: (
        (float(rng.uniform(0.3, 3)),),
        {"prompt_ignore_length": [None, 2, rng.integers(0, 5, ROWS)][rng.integers(3)]},
    ),
    "EncoderRepetitionPenaltyLogitsProcessor": lambda rng, v: (
        (float(rng.uniform(0.3, 3)), encoder_ids(rng, v)),
        {},
    ),
    "NoRepeatNGramLogitsProcessor": lambda rng, v: ((int(rng.integers(1, 6)),), {}),
    "EncoderNoRepeatNGramLogitsProcessor": lambda rng, v: (
        (int(rng.integers(1, 5)), encoder_ids(rng, v)),
        {},
    ),
    "SequenceBiasLogitsProcessor": lambda rng, v: (
        ({tuple(ids): float(rng.normal(0, 3)) for ids in sequences(rng, v)},),
        {},
    ),
    "NoBadWordsLogitsProcessor": lambda rng, v: (
        ([*sequences(rng, v), [0, 1]], some(rng, v)),
        {},
    ),
    "TemperatureLogitsWarper": lambda rng, v: ((float(rng.uniform(0.1, 3)),), {}),
    "TopKLogitsWarper": lambda rng, v: ((int(rng.integers(1, v + 4)),), keep(rng)),
    "TopPLogitsWarper": lambda rng, v: ((rng.choice([0.0, 0.5, share(rng)]),), keep(rng)),
    "TopHLogitsWarper": lambda rng, v: ((share(rng),), {}),
    "MinPLogitsWarper": lambda rng, v: ((rng.choice([0.0, 1.0, share(rng)]),), keep(rng)),
    "TypicalLogitsWarper": lambda rng, v: ((share(rng),), keep(rng)),
    "EpsilonLogitsWarper": lambda rng, v: ((share(rng) / 5,), keep(rng)),
    "EtaLogitsWarper": lambda rng, v: ((share(rng) / 5,), keep(rng)),
}
IN_GRAPH = sorted(ARGUMENTS.keys() - {"PrefixConstrainedLogitsProcessor"})


def draw(name, seed):
    """A processor's arguments, and what it is called with."""
    rng = np.random.default_rng([seed, *name.encode()])
    vocab_size = int(rng.choice([3, 9, 40, 300]))
    arguments, options = ARGUMENTS[name](rng, vocab_size)
    max_length = int(rng.choice([1, 3, 9, 30]))
    cur_len = int(rng.integers(1, max_length + 1))
    # Few tokens, so that n-grams repeat; padding at the left; tokens that have no score.
    ids = rng.integers(0, rng.choice([2, 3, vocab_size]), (ROWS, max_length))
    ids[rng.random((ROWS, max_length)) < 0.05] = vocab_size + 1
    ids[np.arange(max_length) < rng.integers(0, cur_len, (ROWS, 1))] = 0
    scores = rng.normal(0, rng.choice([1, 6]), (ROWS, vocab_size))
    if rng.random() < 0.2:  # ties, as of bfloat16
        scores = np.round(scores)
    if rng.random() < 0.5:
        scores[rng.random(scores.shape) < 0.2] = -INF
        scores[:, 1] = 1.0
    if name == "InfNanRemoveLogitsProcessor":
        scores[rng.random(scores.shape) < 0.2] = rng.choice([INF, np.nan])
    return arguments, options, ids.astype(np.int32), scores.astype(np.float32), cur_len


def pytorch(name, arguments, options, ids, scores, cur_len):
    import torch
    from transformers.generation import logits_process

    tensor = lambda value: torch.tensor(value) if isinstance(value, np.ndarray) else value  # noqa: E731
    arguments = [tensor(value) for value in arguments]
    options = {key: tensor(value) for key, value in options.items()}
    processor = getattr(logits_process, name)(*arguments, **options)
    ids = torch.tensor(ids[:, :cur_len], dtype=torch.int64)
    return processor(ids, torch.tensor(scores)).numpy()


def equal(got, expected):
    got = np.asarray(got)
    assert got.shape == expected.shape and got.dtype == np.float32
    np.testing.assert_array_equal(np.isneginf(got), np.isneginf(expected))
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.oracle
@pytest.mark.parametrize("name", ARGUMENTS)
def test_equals_pytorch(name):
    changed = 0
    for seed in range(60):
        arguments, options, ids, scores, cur_len = draw(name, seed)
        expected = pytorch(name, arguments, options, ids, scores, cur_len)
        ids[:, cur_len:] = seed % 3 - 1  # not real
        for length in (cur_len, tf.constant(cur_len)):
            processor = ours(name)(*arguments, **options)
            got = processor(tf.constant(ids), tf.constant(scores), length)
            if np.array_equal(scores, np.round(scores)):  # which of equal scores stay is open
                got, expected = np.sort(got), np.sort(expected)
            equal(got, expected)
        changed += not np.array_equal(expected, scores)
    assert changed >= 5


@pytest.mark.parametrize("name", IN_GRAPH)
@pytest.mark.parametrize("xla", [False, True])
def test_one_graph_serves_all_lengths(name, xla):
    """The numbers are the eager ones, nothing is traced twice, and shapes stay known."""
    arguments, options, ids, scores, _ = draw(name, 3)
    ids = np.resize(ids, (ROWS, 7))
    processor = ours(name)(*arguments, **options)
    traced = []

    @tf.function(jit_compile=xla)
    def process(input_ids, scores, cur_len):
        result = processor(input_ids, scores, cur_len)
        traced.append(result.shape)
        return result

    for length in (1, 4, 7):
        got = process(tf.constant(ids), tf.constant(scores), tf.constant(length))
        equal(got, processor(tf.constant(ids), tf.constant(scores), length).numpy())
    assert traced == [scores.shape]


def test_unknown_number_of_rows():
    """As a SavedModel has it, loaded again, inside a loop."""
    vocab_size, length = 11, 6
    rng = np.random.default_rng(1)
    names = [name for name in IN_GRAPH if "Encoder" not in name]
    arguments = {name: ARGUMENTS[name](rng, vocab_size) for name in names}
    arguments["RepetitionPenaltyLogitsProcessor"] = ((1.5,), {})
    arguments["ForcedEOSTokenLogitsProcessor"] = ((length, 1), {})
    every = TFLogitsProcessorList(
        ours(name)(*positional, **options) for name, (positional, options) in arguments.items()
    )

    class Decoder(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, vocab_size])])
        def __call__(self, scores):
            def step(cur_len, ids, scores):
                scores = every(ids, scores, cur_len)
                tokens = tf.argmax(scores, -1, output_type=tf.int32)
                here = tf.range(length) == cur_len
                return cur_len + 1, tf.where(here, tokens[:, None], ids), scores

            ids = tf.fill([tf.shape(scores)[0], length], 3)
            ids.set_shape([None, length])
            return tf.while_loop(lambda cur_len, *_: cur_len < length, step, (1, ids, scores))[1:]

    scores = tf.constant(rng.normal(size=(4, vocab_size)), tf.float32)
    expected = Decoder()(scores)
    eager_scores, ids = scores, np.full((4, length), 3, np.int32)
    for cur_len in range(1, length):
        eager_scores = every(tf.constant(ids), eager_scores, cur_len)
        ids[:, cur_len] = tf.argmax(eager_scores, -1)
    np.testing.assert_array_equal(expected[0], ids)
    equal(expected[1], eager_scores.numpy())


def test_saved_model(tmp_path):
    module = tf.Module()
    nucleus, no_repeat = ours("TopPLogitsWarper")(0.6), ours("NoRepeatNGramLogitsProcessor")(2)
    both = TFLogitsProcessorList([no_repeat, nucleus])
    module.process = tf.function(
        both,
        input_signature=[
            tf.TensorSpec([None, None], tf.int32),
            tf.TensorSpec([None, 2000]),
            tf.TensorSpec([], tf.int32),
        ],
    )
    tf.saved_model.save(module, tmp_path)
    ids = tf.constant([[3, 4, 3, 0]] * 2)
    # A flat row, whose nucleus is larger than the candidates, and a steep one.
    scores = tf.constant(np.outer([0.0001, 1], np.arange(2000.0)), tf.float32)
    got = tf.saved_model.load(tmp_path).process(ids, scores, tf.constant(3))
    equal(got, both(ids, scores, 3).numpy())
    assert np.isneginf(got[:, 4]).all()
    kept = np.isfinite(got).sum(-1)
    assert kept[0] > nucleus.CANDIDATES and kept[1] == 1


@pytest.mark.oracle
@pytest.mark.parametrize("spread", [0.01, 3.0])
@pytest.mark.parametrize("name", ["TopPLogitsWarper", "TypicalLogitsWarper", "TopHLogitsWarper"])
def test_large_vocabulary(name, spread):
    """More tokens than are looked at first; the flat distribution needs them all.

    Where a cut falls among 50,000 tokens, rounding decides about some that are about equal."""
    rng = np.random.default_rng(0)
    scores = rng.normal(0, spread, (ROWS, 50_257)).astype(np.float32)
    ids = np.zeros((ROWS, 2), np.int32)
    got = ours(name)(0.9)(tf.constant(ids), tf.constant(scores), 2).numpy()
    expected = pytorch(name, (0.9,), {}, ids, scores, 2)
    different = np.isneginf(got) != np.isneginf(expected)
    assert different.sum(-1).max() <= (25 if spread < 1 else 1)
    kept = np.isfinite(expected).sum(-1)
    assert (kept > 1024).all() if name != "TopHLogitsWarper" else (kept < 100).all()


def test_nucleus_of_round_numbers():
    """Shares that add up exactly, and ties, of which no more stay than needed."""
    probabilities = [[0.3, 0.1, 0.1, 0.5], [0.15, 0.3, 0.3, 0.25], [0.25, 0.25, 0.25, 0.25]]
    scores = tf.constant(np.log(probabilities), tf.float32)
    for top_p, expected in {0.5: [1, 2, 2], 0.8: [2, 3, 4], 0.0: [1, 1, 1]}.items():
        got = ours("TopPLogitsWarper")(top_p)(tf.zeros((3, 1), tf.int32), scores, 1)
        assert np.isfinite(got).sum(-1).tolist() == expected


@pytest.mark.parametrize("length", [1, 2, 3])
def test_texts_of_unknown_length_that_are_shorter_than_an_n_gram(length):
    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([1, 5])])
    def process(ids, scores):
        scores = ours("NoRepeatNGramLogitsProcessor")(4)(ids, scores, tf.shape(ids)[1])
        of_encoder = ours("EncoderNoRepeatNGramLogitsProcessor")(4, ids)
        return of_encoder(ids, scores, tf.shape(ids)[1])

    scores = tf.random.normal((1, 5))
    equal(process(tf.fill([1, length], 2), scores), scores.numpy())


@pytest.mark.parametrize(
    "name, argument",
    [("EncoderRepetitionPenaltyLogitsProcessor", 1.5), ("EncoderNoRepeatNGramLogitsProcessor", 2)],
)
def test_encoder_positions_without_a_token(name, argument):
    ids, scores = tf.constant([[0, 2]]), tf.random.normal((1, 5))
    short = ours(name)(argument, tf.constant([[4, 0, 2, 3]]))
    padded = ours(name)(argument, tf.constant([[4, 0, 2, 3, -1, -1]]))
    expected = short(ids, scores, 2).numpy()
    assert not np.array_equal(expected, scores)
    equal(padded(ids, scores, 2), expected)


def test_forced_tokens():
    processor = ours("ForceTokensLogitsProcessor")([[1, 4], [3, 0], [2, None]])
    scores = tf.random.normal((2, 5))
    for cur_len, token in {0: None, 1: 4, 2: None, 3: 0, 4: None}.items():
        expected = np.full((2, 5), -INF, np.float32)
        if token is None:
            expected = scores.numpy()
        else:
            expected[:, token] = 0
        for length in (cur_len, tf.constant(cur_len)):
            equal(processor(tf.zeros((2, 5), tf.int32), scores, length), expected)


def test_prefix_that_allows_nothing():
    processor = ours("PrefixConstrainedLogitsProcessor")(lambda batch, ids: [], 1)
    for process, error in (
        (processor, ValueError),
        (tf.function(processor), tf.errors.InvalidArgumentError),
    ):
        with pytest.raises(error, match="prefix_allowed_tokens_fn must allow a token"):
            process(tf.constant([[1, 2]]), tf.constant([[1.0, 2.0]]), tf.constant(1))


@pytest.mark.oracle
def test_prefix_when_every_beam_is_stuck():
    scores = np.array([[1, -INF, 2], [-INF, -INF, -INF], [1, 2, 3], [-INF, 3, 4]], np.float32)
    arguments = (lambda batch, ids: [1] if batch == 0 else [0], 2)
    ids = np.zeros((4, 1), np.int32)
    expected = pytorch("PrefixConstrainedLogitsProcessor", arguments, {}, ids, scores, 1)
    processor = ours("PrefixConstrainedLogitsProcessor")(*arguments)
    equal(processor(tf.constant(ids), tf.constant(scores), 1), expected)


def test_bad_words_that_only_end():
    scores = tf.constant([[1.0, 2.0]])
    processor = ours("NoBadWordsLogitsProcessor")([[1]], eos_token_id=[0, 1])
    equal(processor(tf.constant([[1, 1]]), scores, 2), scores.numpy())


WRONG = [
    ("MinLengthLogitsProcessor", (-1, 0), "min_length"),
    ("MinLengthLogitsProcessor", (1.5, 0), "min_length"),
    ("MinLengthLogitsProcessor", (1, 0.5), "eos_token_id"),
    ("MinNewTokensLengthLogitsProcessor", (-1, 1, 0), "prompt_length_to_skip"),
    ("MinNewTokensLengthLogitsProcessor", (1, -1, 0), "min_new_tokens"),
    ("ForcedEOSTokenLogitsProcessor", (3, [-1]), "eos_token_id"),
    ("ForcedEOSTokenLogitsProcessor", (3, 0.5), "eos_token_id"),
    ("ForceTokensLogitsProcessor", ([1, 2],), "force_token_map"),
    ("SuppressTokensLogitsProcessor", (["a"],), "suppress_tokens"),
    ("SuppressTokensAtBeginLogitsProcessor", ([0], -1), "begin_index"),
    ("ExponentialDecayLengthPenalty", ((3,), 0, 1), "exponential_decay_length_penalty"),
    ("ExponentialDecayLengthPenalty", ((3, 1.1), -1, 1), "eos_token_id"),
    ("PrefixConstrainedLogitsProcessor", ([1], 1), "prefix_allowed_tokens_fn"),
    ("RepetitionPenaltyLogitsProcessor", (0.0,), "penalty"),
    ("RepetitionPenaltyLogitsProcessor", (2,), "penalty"),
    ("RepetitionPenaltyLogitsProcessor", (1.5, -1), "prompt_ignore_length"),
    ("RepetitionPenaltyLogitsProcessor", (1.5, [[1]]), "prompt_ignore_length"),
    ("EncoderRepetitionPenaltyLogitsProcessor", (-1.0, [[1]]), "penalty"),
    ("EncoderRepetitionPenaltyLogitsProcessor", (1.5, [[[1]]]), "encoder_input_ids"),
    ("NoRepeatNGramLogitsProcessor", (0,), "ngram_size"),
    ("EncoderNoRepeatNGramLogitsProcessor", (0, [[1]]), "encoder_ngram_size"),
    ("SequenceBiasLogitsProcessor", ({},), "sequence_bias"),
    ("SequenceBiasLogitsProcessor", ({(1,): 1},), "sequence_bias"),
    ("SequenceBiasLogitsProcessor", ({1: 1.0},), "sequence_bias"),
    ("SequenceBiasLogitsProcessor", ({(): 1.0},), "sequence_bias"),
    ("SequenceBiasLogitsProcessor", ({(1, -1): 1.0},), "sequence_bias"),
    ("SequenceBiasLogitsProcessor", ([[1, 1.0]],), "sequence_bias"),
    ("NoBadWordsLogitsProcessor", ([],), "bad_words_ids"),
    ("NoBadWordsLogitsProcessor", ([1],), "bad_words_ids"),
    ("NoBadWordsLogitsProcessor", ([[]],), "bad_words_ids"),
    ("NoBadWordsLogitsProcessor", ([[-1]],), "bad_words_ids"),
    ("NoBadWordsLogitsProcessor", ([["a"]],), "bad_words_ids"),
    ("TemperatureLogitsWarper", (0.0,), "temperature"),
    ("TemperatureLogitsWarper", (-1.0,), "temperature"),
    ("TemperatureLogitsWarper", (1,), "temperature"),
    ("TopKLogitsWarper", (0,), "top_k"),
    ("TopKLogitsWarper", (2.5,), "top_k"),
    ("TopPLogitsWarper", (1.1,), "top_p"),
    ("TopPLogitsWarper", (0.5, -INF, 0), "min_tokens_to_keep"),
    ("TopHLogitsWarper", (0.0,), "top_h"),
    ("MinPLogitsWarper", (-0.1,), "min_p"),
    ("TypicalLogitsWarper", (1.0,), "typical_p"),
    ("EpsilonLogitsWarper", (0.0,), "epsilon_cutoff"),
    ("EtaLogitsWarper", (1.0,), "eta_cutoff"),
]


#: The public classes of Transformers 4.57, and what they are made with.
OF_4_57 = {
    "TFForceTokensLogitsProcessor": ["force_token_map"],
    "TFForcedBOSTokenLogitsProcessor": ["bos_token_id"],
    "TFForcedEOSTokenLogitsProcessor": ["max_length", "eos_token_id"],
    "TFLogitsProcessor": [],
    "TFLogitsWarper": [],
    "TFMinLengthLogitsProcessor": ["min_length", "eos_token_id"],
    "TFNoBadWordsLogitsProcessor": ["bad_words_ids", "eos_token_id"],
    "TFNoRepeatNGramLogitsProcessor": ["ngram_size"],
    "TFRepetitionPenaltyLogitsProcessor": ["penalty"],
    "TFSuppressTokensAtBeginLogitsProcessor": ["begin_suppress_tokens", "begin_index"],
    "TFSuppressTokensLogitsProcessor": ["suppress_tokens"],
    "TFTemperatureLogitsWarper": ["temperature"],
    "TFTopKLogitsWarper": ["top_k", "filter_value", "min_tokens_to_keep"],
    "TFTopPLogitsWarper": ["top_p", "filter_value", "min_tokens_to_keep"],
}


@pytest.mark.parametrize("name", OF_4_57)
def test_public_classes_are_made_and_called_as_in_transformers_4(name):
    public, arguments = getattr(tfhf, name), OF_4_57[name]
    taken = [*inspect.signature(public).parameters.values()]
    assert [one.name for one in taken[: len(arguments)]] == arguments
    assert all(one.default is None for one in taken[len(arguments) :])
    called_with = [*inspect.signature(public.__call__).parameters]
    assert called_with == ["self", "input_ids", "scores", "cur_len"]


def call(processor):
    return processor(tf.zeros((1, 4), tf.int32), tf.zeros((1, 5)), 1)


@pytest.mark.parametrize("name, arguments, match", WRONG)
def test_wrong_arguments(name, arguments, match):
    with pytest.raises(ValueError, match=f"^{match} must"):
        ours(name)(*arguments)


@pytest.mark.parametrize(
    "name, arguments, match",
    [
        ("ForcedBOSTokenLogitsProcessor", (5,), "bos_token_id"),
        ("ForcedEOSTokenLogitsProcessor", (3, [1, 5]), "eos_token_id"),
        ("ForceTokensLogitsProcessor", ([[0, 5]],), "force_token_map"),
        ("SequenceBiasLogitsProcessor", ({(5, 1): 1.0},), "sequence_bias"),
        ("NoBadWordsLogitsProcessor", ([[1], [2, 5]],), "bad_words_ids"),
    ],
)
def test_tokens_outside_the_vocabulary(name, arguments, match):
    with pytest.raises(ValueError, match=f"^{match} must"):
        call(ours(name)(*arguments))


def test_processor_without_call():
    class Unfinished(logits_processors.TFLogitsProcessor):
        pass

    with pytest.raises(NotImplementedError, match="Unfinished does not define __call__"):
        call(Unfinished())
