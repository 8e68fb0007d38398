"""TFGPT2Tokenizer, as Transformers 4 had it."""

import inspect
import json

import pytest
from transformers import GPT2Tokenizer

from tfhf.tokenization.graph import TFGPT2Tokenizer

TEXTS = ["The reference, isn't it?", "", "a<|endoftext|>\n\nb"]


@pytest.fixture(scope="module")
def parts(tokenizer_of):
    """The vocabulary and the merges of a trained tokenizer."""
    backend = tokenizer_of("GPT-2").backend_tokenizer
    model = json.loads(backend.to_str())["model"]
    return model["vocab"], [" ".join(pair) for pair in model["merges"]]


@pytest.fixture
def tokenizer(parts):
    vocab, merges = parts
    return GPT2Tokenizer(dict(vocab), [tuple(pair.split()) for pair in merges])


def test_signatures_of_4_57():
    def names_of(method):
        return list(inspect.signature(method).parameters)

    constructor = ["self", "vocab", "merges", "max_length", "pad_token_id"]
    assert names_of(TFGPT2Tokenizer.__init__) == constructor
    assert names_of(TFGPT2Tokenizer.call) == ["self", "x", "max_length"]
    assert names_of(TFGPT2Tokenizer.from_tokenizer) == ["tokenizer", "args", "kwargs"]
    assert names_of(TFGPT2Tokenizer.from_pretrained) == [
        *["pretrained_model_name_or_path", "init_inputs", "kwargs"]
    ]
    assert names_of(TFGPT2Tokenizer.from_config) == ["config"]


def test_ragged_without_padding(parts, tokenizer):
    found = TFGPT2Tokenizer(*parts)(TEXTS)
    expected = tokenizer(TEXTS)
    assert list(found) == ["attention_mask", "input_ids"]
    assert {name: rows.to_list() for name, rows in found.items()} == dict(expected)
    cut = TFGPT2Tokenizer(*parts, max_length=3)(TEXTS)["input_ids"]
    assert cut.to_list() == [row[:3] for row in expected["input_ids"]]


def test_padded(tokenizer):
    graph_tokenizer = TFGPT2Tokenizer.from_tokenizer(tokenizer, max_length=9, pad_token_id=5)
    tokenizer.pad_token_id = 5
    for length, options in ((9, {}), (4, {"max_length": 4})):
        expected = tokenizer(TEXTS, padding="max_length", truncation=True, max_length=length)
        found = graph_tokenizer(TEXTS, **options)
        assert {name: rows.numpy().tolist() for name, rows in found.items()} == dict(expected)


def test_from_pretrained_and_config(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    first = TFGPT2Tokenizer.from_pretrained(
        tmp_path, max_length=8, pad_token_id=0, local_files_only=True
    )
    copy = TFGPT2Tokenizer.from_config(json.loads(json.dumps(first.get_config())))
    assert copy.get_config() == first.get_config()
    for name, rows in first(TEXTS).items():
        assert rows.shape == (3, 8)
        assert copy(TEXTS)[name].numpy().tolist() == rows.numpy().tolist()


def test_what_vocabulary_and_merges_do_not_tell(parts, tokenizer):
    with_space = GPT2Tokenizer(
        dict(parts[0]), [tuple(pair.split()) for pair in parts[1]], add_prefix_space=True
    )
    tokenizer.add_tokens(["<x>"])
    for other in (with_space, tokenizer):
        with pytest.raises(ValueError, match=r"tokenizer: expected one of vocab.* GraphTokenizer"):
            TFGPT2Tokenizer.from_tokenizer(other)
