"""A small tokenizer for the tests of collators and pipelines."""

import pytest
import transformers

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["the", "a", "quick", "brown", "fox", "dog", "jump", "over", "lazy", "un", "believ", "walk"]
PIECES = ["##s", "##ed", "##ing", "##able", "##y"]


@pytest.fixture
def tokenizer():
    vocabulary = {token: number for number, token in enumerate(SPECIAL + WORDS + PIECES)}
    return transformers.BertTokenizer(vocab=vocabulary, model_max_length=24)
