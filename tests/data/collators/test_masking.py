"""Collators of language modelling: exact rules exactly, chances within five standard deviations."""

import copy
import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf
import transformers

from tfhf.data.collators import (
    DataCollatorForLanguageModeling,
    DataCollatorForPermutationLanguageModeling,
    DataCollatorForWholeWordMask,
)

PAD, CLS, SEP, MASK = 0, 2, 3, 4
FIRST_WORD, FIRST_PIECE, VOCABULARY = 5, 17, 22


def assert_share(count, total, share):
    """A binomial count lies within five standard deviations of what is expected."""
    assert abs(count - total * share) <= 5 * np.sqrt(total * share * (1 - share)) + 1e-9


def random_rows(random, count=200, longest=60, first=FIRST_WORD):
    rows = []
    for length in random.integers(1, longest, count):
        ids = random.integers(first, VOCABULARY, length)
        rows.append({"input_ids": np.array([CLS, *ids, SEP])})
    return rows


def pad(tokenizer, rows):
    return tokenizer.pad(copy.deepcopy(rows), return_tensors="np")["input_ids"]


@pytest.mark.parametrize(
    ("probability", "replace", "randomize"), [(0.15, 0.8, 0.1), (0.4, 0.5, 0.5), (0.3, 0.0, 0.6)]
)
def test_masked_shares(tokenizer, probability, replace, randomize):
    rows = random_rows(np.random.default_rng(0), count=800)
    original = pad(tokenizer, rows)
    collator = DataCollatorForLanguageModeling(
        tokenizer,
        mlm_probability=probability,
        mask_replace_prob=replace,
        random_replace_prob=randomize,
        seed=3,
    )
    batch = {name: tensor.numpy() for name, tensor in collator(rows).items()}
    inputs, labels = batch["input_ids"], batch["labels"]
    assert inputs.dtype == labels.dtype == np.int64
    np.testing.assert_array_equal(batch["attention_mask"], original != PAD)

    chosen = labels != -100
    plain = ~np.isin(original, [PAD, CLS, SEP])
    assert not chosen[~plain].any()
    np.testing.assert_array_equal(labels[chosen], original[chosen])
    np.testing.assert_array_equal(inputs[~chosen], original[~chosen])
    total = chosen.sum()
    assert_share(total, plain.sum(), probability)
    assert_share((inputs[chosen] == MASK).sum(), total, replace + randomize / VOCABULARY)
    kept = (inputs[chosen] == original[chosen]).sum()
    assert_share(kept, total, 1 - replace - randomize + randomize / VOCABULARY)


def test_random_tokens_are_uniform_over_the_vocabulary(tokenizer):
    rows = [{"input_ids": [FIRST_WORD] * 100}] * 300
    collator = DataCollatorForLanguageModeling(
        tokenizer, mlm_probability=1.0, mask_replace_prob=0.0, random_replace_prob=1.0, seed=0
    )
    counts = np.bincount(collator(rows)["input_ids"].numpy().ravel(), minlength=VOCABULARY)
    assert len(counts) == VOCABULARY
    expected = 30_000 / VOCABULARY
    chi_square = ((counts - expected) ** 2 / expected).sum()
    degrees = VOCABULARY - 1
    assert chi_square < degrees + 5 * np.sqrt(2 * degrees)


def test_probabilities_zero_and_one(tokenizer):
    rows = random_rows(np.random.default_rng(1))
    original = pad(tokenizer, rows)
    batch = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.0)(rows, "np")
    assert (batch["labels"] == -100).all()
    np.testing.assert_array_equal(batch["input_ids"], original)
    batch = DataCollatorForLanguageModeling(
        tokenizer, mlm_probability=1.0, mask_replace_prob=1.0, random_replace_prob=0.0
    )(rows, "np")
    plain = ~np.isin(original, [PAD, CLS, SEP])
    np.testing.assert_array_equal(batch["input_ids"], np.where(plain, MASK, original))
    np.testing.assert_array_equal(batch["labels"], np.where(plain, original, -100))


def test_special_tokens_mask_decides_if_given(tokenizer):
    rows = [
        {"input_ids": [CLS, 7, 8, SEP], "special_tokens_mask": [0, 1, 0, 0]},
        {"input_ids": [CLS, 9], "special_tokens_mask": [1, 0]},
    ]
    batch = DataCollatorForLanguageModeling(tokenizer, mlm_probability=1.0)(rows, "np")
    expected = [[CLS, -100, 8, SEP], [-100, 9, -100, -100]]
    assert batch["labels"].tolist() == expected
    assert set(batch) == {"input_ids", "attention_mask", "labels"}


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("options", [{}, {"pad_to_multiple_of": 16}])
def test_causal(tokenizer, side, options):
    tokenizer.padding_side = side
    rows = random_rows(np.random.default_rng(2), count=9)
    oracle = transformers.DataCollatorForLanguageModeling(
        tokenizer, mlm=False, return_tensors="np", **options
    )
    collator = DataCollatorForLanguageModeling(tokenizer, mlm=False, **options)
    expected, batch = oracle(copy.deepcopy(rows)), collator(rows)
    assert set(batch) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(batch[name], array)
    bare = collator([row["input_ids"] for row in rows])
    assert set(bare) == {"input_ids", "labels"}
    np.testing.assert_array_equal(bare["labels"], expected["labels"])


def test_causal_without_padding_token(tokenizer):
    tokenizer.pad_token = tokenizer.mask_token = None
    collator = DataCollatorForLanguageModeling(tokenizer, mlm=False)
    batch = collator([[5, 0, 7], [8, 9, 5]], "np")
    assert batch["labels"].tolist() == [[5, 0, 7], [8, 9, 5]]


@pytest.mark.parametrize("kind", [DataCollatorForLanguageModeling, DataCollatorForWholeWordMask])
def test_seeds(tokenizer, kind):
    rows = random_rows(np.random.default_rng(3))

    def labels(collator):
        return [collator(rows, "np")["labels"].tolist() for _ in range(2)]

    first, second = labels(kind(tokenizer, seed=5))
    assert first != second
    np.random.random()
    assert labels(kind(tokenizer, seed=5)) == [first, second]
    assert labels(pickle.loads(pickle.dumps(kind(tokenizer, seed=5)))) == [first, second]
    keras.utils.set_random_seed(1)
    unseeded = labels(kind(tokenizer))
    assert unseeded[0] != unseeded[1] and unseeded[0] != first
    keras.utils.set_random_seed(1)
    assert labels(kind(tokenizer)) == unseeded


def words_of(ids):
    """The places of each word's tokens: the definition, one token at a time."""
    words, last = [], None
    for place, token in enumerate(ids):
        if token in (PAD, CLS, SEP):
            last = None
        elif token >= FIRST_PIECE and last is not None:
            last.append(place)
        else:
            last = [place]
            words.append(last)
    return words


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("probability", [0.15, 0.5])
def test_whole_words(tokenizer, side, probability):
    tokenizer.padding_side = side
    rows = random_rows(np.random.default_rng(4), count=300)
    original = pad(tokenizer, rows)
    collator = DataCollatorForWholeWordMask(tokenizer, mlm_probability=probability, seed=1)
    batch = {name: tensor.numpy() for name, tensor in collator(rows).items()}
    assert set(batch) == {"input_ids", "attention_mask", "labels"}
    chosen = batch["labels"] != -100
    np.testing.assert_array_equal(batch["labels"][chosen], original[chosen])
    np.testing.assert_array_equal(batch["input_ids"][~chosen], original[~chosen])
    assert_share((batch["input_ids"][chosen] == MASK).sum(), chosen.sum(), 0.8 + 0.1 / VOCABULARY)
    for ids, picked in zip(original, chosen):
        budget = max(1, round(int((ids != PAD).sum()) * probability))
        words = words_of(ids)
        taken = [word for word in words if picked[word].all()]
        assert sum(map(len, taken)) == picked.sum()  # no word in part, nothing outside words
        left = budget - picked.sum()
        assert left >= 0
        assert all(len(word) > left for word in words if word not in taken)


def test_words_of_equal_length_have_equal_chances(tokenizer):
    rows = [{"input_ids": [CLS, *range(FIRST_WORD, FIRST_WORD + 8), SEP]}] * 4000
    collator = DataCollatorForWholeWordMask(tokenizer, mlm_probability=0.2, seed=2)
    counts = (collator(rows, "np")["labels"] != -100).sum(axis=0)
    assert counts.sum() == 4000 * 2
    for count in counts[1:-1]:
        assert_share(count, 4000, 2 / 8)


@pytest.mark.parametrize("side", ["right", "left"])
def test_word_ids_and_offsets_give_the_same_words(tokenizer, side):
    tokenizer.padding_side = side
    texts = ["the unbelievable dog walked", "lazy foxs", "jumping dogy over a walking fox"]
    encoded = [tokenizer(text, return_offsets_mapping=True) for text in texts]
    plain = [{"input_ids": row["input_ids"]} for row in encoded]
    with_words = [{**row, "word_ids": e.word_ids()} for row, e in zip(plain, encoded)]
    with_offsets = [
        {**row, "offset_mapping": e["offset_mapping"]} for row, e in zip(plain, encoded)
    ]
    batches = [
        DataCollatorForWholeWordMask(tokenizer, mlm_probability=0.5, seed=6)(rows, "np")
        for rows in (plain, with_words, with_offsets)
    ]
    assert (batches[0]["labels"] != -100).any()
    for batch in batches[1:]:
        assert set(batch) == {"input_ids", "attention_mask", "labels"}
        np.testing.assert_array_equal(batch["labels"], batches[0]["labels"])


def test_word_ids_count_where_the_vocabulary_says_nothing():
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "a": 5, "b": 6}
    tokenizer = transformers.BertTokenizer(vocab=vocabulary)
    collator = DataCollatorForWholeWordMask(tokenizer, mlm_probability=0.5, seed=0)
    ids = [5, 6, 5, 6]
    for words in ([0, 0, 1, 1], [None, 0, 0, 1]):
        for _ in range(20):
            picked = collator([{"input_ids": ids, "word_ids": words}], "np")["labels"][0] != -100
            assert picked[words.index(0)] == picked[words.index(0) + 1]
    with pytest.raises(ValueError, match="no piece of its vocabulary starts with '##'"):
        collator([{"input_ids": ids}])


def test_whole_words_of_rows_without_any(tokenizer):
    batch = DataCollatorForWholeWordMask(tokenizer)([[CLS, SEP], [CLS, SEP]], "np")
    assert (batch["labels"] == -100).all() and batch["input_ids"].tolist() == [[CLS, SEP]] * 2


def test_permutation(tokenizer):
    random = np.random.default_rng(7)
    rows = [[CLS, *random.integers(FIRST_WORD, VOCABULARY, 38), SEP] for _ in range(300)]
    rows[0] = rows[0][:11]
    original = pad(tokenizer, [{"input_ids": row} for row in rows])
    collator = DataCollatorForPermutationLanguageModeling(tokenizer)
    batch = {name: tensor.numpy() for name, tensor in collator(rows).items()}
    inputs, labels, hidden = batch["input_ids"], batch["labels"], batch["perm_mask"]
    assert inputs.dtype == labels.dtype == np.int64
    assert hidden.dtype == batch["target_mapping"].dtype == np.float32
    np.testing.assert_array_equal(batch["target_mapping"], np.tile(np.eye(40), (300, 1, 1)))

    chosen = labels != -100
    special = np.isin(original, [PAD, CLS, SEP])
    assert not chosen[special].any()
    np.testing.assert_array_equal(inputs, np.where(chosen, MASK, original))
    np.testing.assert_array_equal(labels[chosen], original[chosen])
    # A stretch of span / p tokens has one span; the stretch that the row's end cuts has less.
    assert 0.10 < chosen.sum() / (~special).sum() < 1 / 6 + 0.02

    for picked, functional, mask in zip(chosen, special, hidden):
        assert not mask[:, ~picked].any()  # everyone sees what is not predicted
        assert mask[np.ix_(~picked & ~functional, picked)].all()  # plain tokens see no target
        places = np.nonzero(picked)[0]
        among = mask[np.ix_(places, places)]
        assert among.diagonal().all()  # no target sees itself
        pairs = among + among.T
        assert (pairs[~np.eye(len(places), dtype=bool)] == 1).all()  # one of two sees the other
        ranks = among.sum(axis=1)
        assert sorted(ranks) == list(range(1, len(places) + 1))  # a total order
        assert mask[np.ix_(places[places < 20], places[places >= 20])].all()


def test_permutation_has_one_span_per_stretch(tokenizer):
    rows = [{"input_ids": [FIRST_WORD] * 60, "labels": 1}] * 2000
    collator = DataCollatorForPermutationLanguageModeling(
        tokenizer, plm_probability=0.25, max_span_length=1
    )
    stretches = (collator(rows, "np")["labels"] != -100).reshape(-1, 4)
    assert (stretches.sum(axis=1) == 1).all()
    for count in stretches.sum(axis=0):
        assert_share(count, len(stretches), 0.25)


@pytest.mark.oracle
def test_permutation_spans_lie_where_those_of_transformers_lie(tokenizer):
    rows = [[FIRST_WORD] * 40] * 1500
    options = {"plm_probability": 0.25, "max_span_length": 3}
    oracle = transformers.DataCollatorForPermutationLanguageModeling(tokenizer, **options)
    expected = (oracle(rows)["labels"].numpy() != -100).mean(axis=0)
    ours = DataCollatorForPermutationLanguageModeling(tokenizer, **options)(rows, "np")
    found = (ours["labels"] != -100).mean(axis=0)
    deviation = np.sqrt(2 * expected * (1 - expected) / 1500)
    assert (np.abs(found - expected) < 5 * deviation).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mlm_probability": 1.5}, "mlm_probability: expected 0 to 1, got 1.5"),
        ({"mask_replace_prob": -0.1}, "mask_replace_prob: expected 0 to 1"),
        ({"random_replace_prob": 0.3}, "at most 1, got 0.8 [+] 0.3"),
    ],
)
def test_bad_probabilities(tokenizer, options, message):
    for kind in (DataCollatorForLanguageModeling, DataCollatorForWholeWordMask):
        with pytest.raises(ValueError, match=message):
            kind(tokenizer, **options)


def test_bad_arguments(tokenizer):
    with pytest.raises(ValueError, match="padded length must be even, got 3"):
        DataCollatorForPermutationLanguageModeling(tokenizer)([[5, 6, 7], [5]])
    with pytest.raises(ValueError, match="plm_probability: expected 0 to 1, got 0"):
        DataCollatorForPermutationLanguageModeling(tokenizer, plm_probability=0)
    with pytest.raises(ValueError, match="mlm=True"):
        DataCollatorForWholeWordMask(tokenizer, mlm=False)
    tokenizer.mask_token = None
    for kind in (
        DataCollatorForLanguageModeling,
        DataCollatorForWholeWordMask,
        DataCollatorForPermutationLanguageModeling,
    ):
        with pytest.raises(ValueError, match="BertTokenizer has no mask token"):
            kind(tokenizer)
    assert isinstance(
        DataCollatorForLanguageModeling(tokenizer, mlm=False)([[5, 6]])["labels"], tf.Tensor
    )
