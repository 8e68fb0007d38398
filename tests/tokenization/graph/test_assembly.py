"""Truncation, special tokens and padding, against calls of Transformers tokenizers."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertTokenizer, DistilBertTokenizer

from tfhf.tokenization.graph import GraphTokenizer, UnsupportedTokenizerError
from tfhf.tokenization.graph.assembly import read_template, truncate

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghij"]
TEXTS = ["", "a", "a b c", "a b c d e f g", "[MASK] j", "a b c d e f g h i j" * 2, "b c d e"]
PAIRS = ["b", "", "d e f g", "c d", "j i h g f e d c b a" * 3, "a b c", "d c b a"]


def tokenizer_of(kind=BertTokenizer, **arguments):
    return kind({token: token_id for token_id, token in enumerate(VOCABULARY)}, **arguments)


def assert_same_inputs(tokenizer, texts, pairs=None, **options):
    found = GraphTokenizer.from_tokenizer(tokenizer, **options)(texts, pairs)
    options = {"padding": "longest", "truncation": True} | options
    expected = tokenizer(texts, pairs, return_tensors="np", **options)
    assert set(found) == set(expected)
    for name, values in expected.items():
        assert found[name].dtype == tf.int32
        np.testing.assert_array_equal(found[name].numpy(), values, name)


@pytest.mark.parametrize("padding_side", ["left", "right"])
@pytest.mark.parametrize("truncation_side", ["left", "right"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_length": 3},
        {"max_length": 8, "padding": "max_length", "pad_to_multiple_of": 4},
        {"max_length": 9},
        {"pad_to_multiple_of": 8, "truncation": False},
    ],
    ids=str,
)
def test_pairs_and_sides(padding_side, truncation_side, options):
    tokenizer = tokenizer_of(
        padding_side=padding_side, truncation_side=truncation_side, model_max_length=16
    )
    assert_same_inputs(tokenizer, TEXTS, PAIRS, **options)
    assert_same_inputs(tokenizer, TEXTS, **options)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("padding", ["longest", "max_length", False])
def test_position_ids(padding, side):
    tokenizer = tokenizer_of(padding_side=side, model_max_length=12)
    graph_tokenizer = GraphTokenizer.from_tokenizer(tokenizer, padding=padding)
    found = graph_tokenizer(TEXTS, PAIRS, return_position_ids=True)
    assert found["position_ids"].dtype == tf.int32
    assert list(found)[-1] == "position_ids"
    if not padding:
        expected = [list(range(length)) for length in found["input_ids"].row_lengths()]
        assert found["position_ids"].to_list() == expected
        return
    mask = found["attention_mask"].numpy()
    expected = np.maximum(np.cumsum(mask, axis=1) - 1, 0) * mask
    np.testing.assert_array_equal(found["position_ids"], expected)


def test_every_pair_of_lengths():
    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1, "b": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    lengths = list(itertools.product(range(10), range(10)))
    first = tf.ragged.constant([[1] * one for one, _ in lengths], dtype=tf.int32)
    second = tf.ragged.constant([[2] * two for _, two in lengths], dtype=tf.int32)
    for max_tokens in range(1, 20):
        tokenizer.enable_truncation(max_tokens)
        expected = [tokenizer.encode("a " * one, "b " * two).ids for one, two in lengths]
        found = tf.concat(truncate([first, second], max_tokens, "right"), axis=1).to_list()
        assert found == expected


def test_inputs_are_those_of_the_model():
    assert_same_inputs(tokenizer_of(DistilBertTokenizer), TEXTS, PAIRS)
    without_mask = tokenizer_of(model_input_names=["input_ids", "token_type_ids"])
    assert_same_inputs(without_mask, TEXTS, PAIRS)


def test_padding_tokens_of_the_tokenizer():
    tokenizer = tokenizer_of(pad_token="[MASK]", pad_token_type_id=3)
    assert_same_inputs(tokenizer, TEXTS, PAIRS)


def test_without_padding_rows_are_ragged():
    tokenizer = tokenizer_of(model_max_length=12)
    found = GraphTokenizer.from_tokenizer(tokenizer, padding=False)(TEXTS, PAIRS)
    expected = tokenizer(TEXTS, PAIRS, truncation=True)
    assert {name: rows.to_list() for name, rows in found.items()} == dict(expected)


def test_rows_longer_than_max_length_keep_their_tokens_without_truncation():
    tokenizer = tokenizer_of()
    graph_tokenizer = GraphTokenizer.from_tokenizer(
        tokenizer, padding="max_length", max_length=5, truncation=False
    )
    for texts in (TEXTS, ["a", ""]):
        width = max(5, *(len(row) for row in tokenizer(texts)["input_ids"]))
        expected = tokenizer(texts, padding="max_length", max_length=width)["input_ids"]
        assert graph_tokenizer(texts)["input_ids"].numpy().tolist() == expected


def test_settings_of_the_library():
    """all-MiniLM's tokenizer.json, for one, truncates and pads by itself."""
    backend = tokenizer_of().backend_tokenizer
    backend.enable_truncation(9, direction="left")
    backend.enable_padding(direction="left", pad_id=4, pad_type_id=2)
    found = GraphTokenizer.from_tokenizer(backend)(TEXTS, PAIRS)
    encodings = backend.encode_batch(list(zip(TEXTS, PAIRS)))
    assert found["input_ids"].numpy().tolist() == [encoding.ids for encoding in encodings]
    assert found["token_type_ids"].numpy().tolist() == [row.type_ids for row in encodings]
    assert found["attention_mask"].numpy().tolist() == [row.attention_mask for row in encodings]
    assert backend.truncation["max_length"] == 9, "the tokenizer itself must not change"
    assert backend.padding["pad_id"] == 4


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("strategy", ["longest_first", "only_first", "only_second"])
def test_which_text_gives_way(strategy, side):
    tokenizer = tokenizer_of(truncation_side=side)
    texts, pairs = ["a b c d e", "a b c"], ["f g h i", "f g h i j j"]
    for max_length in range(10, 14):
        assert_same_inputs(tokenizer, texts, pairs, truncation=strategy, max_length=max_length)
    backend = tokenizer_of().backend_tokenizer
    backend.enable_truncation(10, strategy=strategy, direction=side)
    found = GraphTokenizer.from_tokenizer(backend, padding=False)(texts, pairs)["input_ids"]
    encodings = backend.encode_batch(list(zip(texts, pairs)))
    assert found.to_list() == [encoding.ids for encoding in encodings]


def test_where_one_text_giving_way_is_not_enough():
    """The library raises an error then, for the whole batch."""
    tokenizer = tokenizer_of()
    options = {"padding": False, "max_length": 6}
    for strategy, texts, expected in (
        ("only_first", (["a b", "", "a"], ["c d e", "c d e f", "c"]), ["acd", "cde", "ac"]),
        ("only_second", (["c d e", "c d e f", "c"], ["a b", "", "a"]), ["cda", "cde", "ca"]),
    ):
        graph_tokenizer = GraphTokenizer.from_tokenizer(tokenizer, truncation=strategy, **options)
        ids = graph_tokenizer(*texts)["input_ids"].to_list()
        assert ["".join(VOCABULARY[index] for index in row if index > 4) for row in ids] == expected
    with pytest.raises(ValueError, match="truncation: expected text_pair for 'only_second'"):
        graph_tokenizer(["a"])


SEP, CLS = ("[SEP]", 3), ("[CLS]", 2)
POST_PROCESSORS = [
    None,
    processors.BertProcessing(SEP, CLS),
    processors.RobertaProcessing(SEP, CLS),
    processors.TemplateProcessing(
        single="$A [SEP]", pair="[CLS] $B:2 [SEP]:3 $A:1 [SEP]", special_tokens=[CLS, SEP]
    ),
    processors.ByteLevel(),
    processors.Sequence(
        [
            processors.ByteLevel(),
            processors.TemplateProcessing(
                single="[CLS] $A", pair="[CLS] $A [CLS] $B:1", special_tokens=[CLS]
            ),
        ]
    ),
]


@pytest.mark.parametrize("post_processor", POST_PROCESSORS, ids=repr)
def test_templates(post_processor):
    tokenizer = Tokenizer(models.WordPiece({token: i for i, token in enumerate(VOCABULARY)}))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if post_processor is not None:
        tokenizer.post_processor = post_processor
    graph_tokenizer = GraphTokenizer.from_tokenizer(tokenizer, padding=False)
    for inputs in (TEXTS,), (TEXTS, PAIRS):
        found = graph_tokenizer(*inputs)
        encodings = tokenizer.encode_batch(TEXTS if len(inputs) == 1 else list(zip(*inputs)))
        assert found["input_ids"].to_list() == [encoding.ids for encoding in encodings]
        assert found["token_type_ids"].to_list() == [encoding.type_ids for encoding in encodings]


def test_template_that_repeats_a_text():
    post_processor = processors.TemplateProcessing(single="$A $A", pair="$A $B")
    with pytest.raises(UnsupportedTokenizerError, match="post_processor is .* repeats a text"):
        read_template(post_processor, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"padding": "shortest"},
            "padding: expected 'longest', 'max_length' or False, got 'shortest'",
        ),
        (
            {"truncation": "only_third"},
            "truncation: expected True, False, 'longest_first', 'only_first', 'only_second', got",
        ),
        ({"max_length": 0}, "max_length: expected at least 1 token, got 0"),
        ({"pad_to_multiple_of": -8}, "pad_to_multiple_of: expected at least 1 token, got -8"),
        ({"padding": "max_length"}, "max_length: expected a number for padding='max_length'"),
        (
            {"max_length": 9, "pad_to_multiple_of": 8},
            r"a multiple of pad_to_multiple_of \(8\), got 9",
        ),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        GraphTokenizer.from_tokenizer(tokenizer_of(), **options)


def test_no_padding_token():
    with pytest.raises(ValueError, match=r"padding: expected False, since .* no padding token"):
        GraphTokenizer.from_tokenizer(tokenizer_of(pad_token=None))


def test_no_room_for_special_tokens():
    graph_tokenizer = GraphTokenizer.from_tokenizer(tokenizer_of(), max_length=2)
    assert graph_tokenizer(["a b"])["input_ids"].numpy().tolist() == [[2, 3]]
    with pytest.raises(ValueError, match=r"max_length: expected at least 3, .* got 2"):
        graph_tokenizer(["a"], ["b"])
