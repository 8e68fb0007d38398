"""Where tokens stand in texts, against Transformers' `offset_mapping`."""

import numpy as np
import pytest
import tensorflow as tf
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from tfhf.tokenization.graph import GraphTokenizer, UnsupportedTokenizerError

ADDED = [
    AddedToken("<t>", lstrip=True),
    AddedToken("<T>", rstrip=True, normalized=False),
    AddedToken("<é>", lstrip=True, rstrip=True, normalized=False),
    AddedToken("tt", single_word=True),
    AddedToken("[mask]", single_word=True, normalized=False, lstrip=True),
]


def word_piece(train, **flags):
    return PreTrainedTokenizerFast(tokenizer_object=train(**flags), pad_token="[PAD]")


def byte_level(post_processor, *, add_prefix_space):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("Ġ", "t"), ("h", "e"), ("Ġt", "he"), ("Ġ", "Ġ"), ("ĠĠ", "Ġ"), ("Ã", "©")]
    tokens = ["<pad>", "<s>", "</s>", *alphabet, *map("".join, merges)]
    vocab = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    tokenizer.post_processor = post_processor
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>")


def roberta(*, trim_offsets, add_prefix_space):
    processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 1), trim_offsets=trim_offsets, add_prefix_space=add_prefix_space
    )
    return byte_level(processor, add_prefix_space=add_prefix_space)


KINDS = {
    "uncased": lambda train: word_piece(train),
    "cased": lambda train: word_piece(train, lowercase=False),
    "no cleaning": lambda train: word_piece(train, clean_text=False, handle_chinese_chars=False),
    "trimmed": lambda _: roberta(trim_offsets=True, add_prefix_space=False),
    "trimmed prefix": lambda _: roberta(trim_offsets=True, add_prefix_space=True),
    "whole prefix": lambda _: roberta(trim_offsets=False, add_prefix_space=True),
    "trimmed, no special tokens": lambda _: byte_level(
        processors.ByteLevel(add_prefix_space=True), add_prefix_space=False
    ),
    "no post-processor": lambda _: byte_level(processors.Sequence([]), add_prefix_space=True),
}


@pytest.mark.parametrize("added", [[], ADDED], ids=["", "added tokens"])
@pytest.mark.parametrize("kind", KINDS)
def test_offsets(kind, added, train, odd_texts):
    tokenizer = KINDS[kind](train)
    if isinstance(tokenizer.backend_tokenizer.model, models.BPE):
        added = [token for token in added if not (token.lstrip and token.rstrip)]
    tokenizer.add_tokens(added)
    graph_tokenizer = GraphTokenizer.from_tokenizer(tokenizer, padding=False)
    texts = odd_texts(1000, seed=100)
    found = graph_tokenizer(texts, return_offsets_mapping=True)
    expected = tokenizer(texts, return_offsets_mapping=True)
    assert found["input_ids"].to_list() == expected["input_ids"]
    assert found["offset_mapping"].dtype == tf.int32
    rows = found["offset_mapping"].to_list()
    for text, row, offsets in zip(texts, rows, expected["offset_mapping"], strict=True):
        assert list(map(tuple, row)) == offsets, ascii(text)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["uncased", "cased", "no cleaning"])
def test_20000_texts(kind, train, odd_texts):
    """Of 20,000 texts, many of marks that are not in canonical order."""
    test_offsets(kind, ADDED, train, lambda count, seed: odd_texts(20_000, seed=102))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("max_length", [24, None])
def test_pairs_truncated_and_padded(side, max_length, train, odd_texts):
    tokenizer = word_piece(train)
    tokenizer.padding_side = tokenizer.truncation_side = side
    texts = odd_texts(200, seed=101)
    found = GraphTokenizer.from_tokenizer(tokenizer, max_length=max_length)(
        texts, texts[::-1], return_offsets_mapping=True
    )
    options = {"truncation": True, "max_length": max_length} if max_length else {}
    expected = tokenizer(
        texts,
        texts[::-1],
        padding=True,
        return_offsets_mapping=True,
        return_tensors="np",
        **options,
    )
    assert set(found) == set(expected)
    for name, rows in expected.items():
        np.testing.assert_array_equal(found[name].numpy(), rows, name)


def test_offsets_are_in_characters_not_bytes(train):
    tokenizer = word_piece(train)
    found = GraphTokenizer.from_tokenizer(tokenizer)(["é 😀 e\u0301!"], return_offsets_mapping=True)
    assert found["offset_mapping"].numpy()[0].tolist() == [
        [0, 0],
        [0, 1],
        [2, 3],
        [4, 5],
        [6, 7],
        [0, 0],
    ]


def test_empty_batch_and_empty_texts(train):
    graph_tokenizer = GraphTokenizer.from_tokenizer(word_piece(train))
    found = graph_tokenizer(tf.constant([], tf.string), return_offsets_mapping=True)
    assert found["offset_mapping"].shape == (0, 0, 2)
    found = graph_tokenizer(["", " "], return_offsets_mapping=True)
    assert found["offset_mapping"].numpy().tolist() == [[[0, 0], [0, 0]]] * 2


def test_in_a_function(train):
    graph_tokenizer = GraphTokenizer.from_tokenizer(
        word_piece(train), padding="max_length", max_length=16
    )
    dataset = tf.data.Dataset.from_tensor_slices(["a"] * 9).batch(4, drop_remainder=True)
    dataset = dataset.map(lambda text: graph_tokenizer(text, return_offsets_mapping=True))
    assert dataset.element_spec["offset_mapping"] == tf.TensorSpec([4, 16, 2], tf.int32)


def test_tokens_that_swallow_spaces_on_both_sides():
    tokenizer = roberta(trim_offsets=True, add_prefix_space=False)
    tokenizer.add_tokens([AddedToken("<x>", lstrip=True, rstrip=True)])
    graph_tokenizer = GraphTokenizer.from_tokenizer(tokenizer)
    graph_tokenizer(["a"])
    with pytest.raises(UnsupportedTokenizerError, match="with '<x>', which has lstrip and rstrip"):
        graph_tokenizer(["a"], return_offsets_mapping=True)
