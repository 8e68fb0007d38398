"""TFBertTokenizer, as Transformers 4 had it."""

import inspect

import numpy as np
import pytest
from tokenizers import AddedToken
from transformers import BertTokenizer

from tfhf.tokenization.graph import TFBertTokenizer

TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "<s>", "</s>", "É", *"abcdef", "##s"]
TEXTS = ["É as b", "", "a b c d e f a b c d [MASK]"]


def assert_same_inputs(found, expected):
    assert set(found) == set(expected)
    for name, rows in expected.items():
        np.testing.assert_array_equal(found[name].numpy(), rows, name)


def test_signatures_of_4_57():
    constructor = list(inspect.signature(TFBertTokenizer.__init__).parameters)
    assert constructor == [
        *["self", "vocab_list", "do_lower_case", "cls_token_id", "sep_token_id", "pad_token_id"],
        *["padding", "truncation", "max_length", "pad_to_multiple_of", "return_token_type_ids"],
        *["return_attention_mask", "use_fast_bert_tokenizer", "tokenizer_kwargs"],
    ]
    assert list(inspect.signature(TFBertTokenizer.call).parameters) == [
        *["self", "text", "text_pair", "padding", "truncation", "max_length"],
        *["pad_to_multiple_of", "return_token_type_ids", "return_attention_mask"],
    ]


@pytest.mark.parametrize("do_lower_case", [False, True])
def test_vocabulary_list(do_lower_case):
    vocabulary = {token: token_id for token_id, token in enumerate(TOKENS)}
    tokenizer = BertTokenizer(
        vocabulary, do_lower_case=do_lower_case, cls_token="<s>", sep_token="</s>"
    )
    graph_tokenizer = TFBertTokenizer(TOKENS, do_lower_case, cls_token_id=5, sep_token_id=6)
    assert_same_inputs(graph_tokenizer(TEXTS), tokenizer(TEXTS, padding=True))
    assert_same_inputs(graph_tokenizer(TEXTS, TEXTS), tokenizer(TEXTS, TEXTS, padding=True))


def test_from_tokenizer_takes_everything_over():
    vocabulary = {token: token_id for token_id, token in enumerate(TOKENS)}
    tokenizer = BertTokenizer(
        vocabulary, strip_accents=False, padding_side="left", truncation_side="left"
    )
    tokenizer.add_tokens([AddedToken("as", single_word=True), "<x>"])
    texts = [*TEXTS, "as ass a<x>a é É"]
    graph_tokenizer = TFBertTokenizer.from_tokenizer(tokenizer, max_length=9)
    expected = tokenizer(texts, padding=True, truncation=True, max_length=9)
    assert_same_inputs(graph_tokenizer(texts), expected)


def test_ids_without_a_token():
    tokenizer = BertTokenizer({token: 2 * token_id for token_id, token in enumerate(TOKENS)})
    found = TFBertTokenizer.from_tokenizer(tokenizer)(TEXTS)
    assert_same_inputs(found, tokenizer(TEXTS, padding=True))
    tokenizer.add_tokens("<x>")  # takes an id in between
    with pytest.raises(ValueError, match=r"tokenizer: expected added tokens .* GraphTokenizer"):
        TFBertTokenizer.from_tokenizer(tokenizer)


def test_from_pretrained(tmp_path):
    vocabulary = {token: token_id for token_id, token in enumerate(TOKENS)}
    BertTokenizer(vocabulary, do_lower_case=False).save_pretrained(tmp_path)
    graph_tokenizer = TFBertTokenizer.from_pretrained(
        tmp_path, padding="max_length", max_length=8, local_files_only=True
    )
    expected = BertTokenizer.from_pretrained(tmp_path)(
        TEXTS, padding="max_length", max_length=8, truncation=True
    )
    assert_same_inputs(graph_tokenizer(TEXTS), expected)


def test_options_of_one_call():
    graph_tokenizer = TFBertTokenizer(TOKENS, True)
    tokenizer = BertTokenizer({token: token_id for token_id, token in enumerate(TOKENS)})
    options = {
        "padding": "max_length",
        "truncation": True,
        "max_length": 8,
        "pad_to_multiple_of": 4,
    }
    assert_same_inputs(graph_tokenizer(TEXTS, **options), tokenizer(TEXTS, **options))
    assert graph_tokenizer(TEXTS)["input_ids"].shape == (3, 13)
    assert list(
        graph_tokenizer(TEXTS, return_token_type_ids=False, return_attention_mask=False)
    ) == ["input_ids"]
    without_types = TFBertTokenizer(TOKENS, True, return_token_type_ids=False)
    assert list(without_types(TEXTS)) == ["input_ids", "attention_mask"]
    assert "token_type_ids" in without_types(TEXTS, return_token_type_ids=True)


def test_config_makes_a_copy():
    first = TFBertTokenizer(TOKENS, False, cls_token_id=5, strip_accents=True)
    copy = TFBertTokenizer(**first.get_config())
    assert_same_inputs(copy(TEXTS), {name: rows.numpy() for name, rows in first(TEXTS).items()})
