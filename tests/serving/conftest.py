"""A small model to export, and its tokenizer."""

import pytest
from transformers import BertConfig, BertTokenizer

import tfhf

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["a", "moving", "##ly", "beautiful", "film", "bad", "cafe", "zz", "##z", "!", ".", ","]
VOCABULARY = [*SPECIAL_TOKENS, *WORDS, "é", "電", "影", "🎬", "##s"]


def make_config():
    return BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=12,
        max_position_embeddings=16,
        initializer_range=0.3,
        id2label={0: "unfriendly", 1: "friendly", 2: "無"},
    )


def make_tokenizer():
    return BertTokenizer(vocab={token: index for index, token in enumerate(VOCABULARY)})


@pytest.fixture
def config():
    """A tiny BERT's."""
    return make_config()


@pytest.fixture
def tokenizer():
    """WordPiece with the vocabulary above."""
    return make_tokenizer()


@pytest.fixture
def classifier(config):
    """A tiny BERT with three labels."""
    return tfhf.TFBertForSequenceClassification(config)


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """A version folder, and the model and the tokenizer that are in it: to read, not to change."""
    model = tfhf.TFBertForSequenceClassification(make_config())
    tokenizer = make_tokenizer()
    return model.export(tmp_path_factory.mktemp("films"), tokenizer), model, tokenizer
