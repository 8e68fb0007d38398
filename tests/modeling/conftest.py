"""Tiny models, without dropout and with weights large enough to matter."""

import numpy as np
import pytest
from transformers import BertConfig

import tfhf

TINY = {
    "vocab_size": 20,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 16,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "initializer_range": 0.3,
}


@pytest.fixture(scope="session")
def make_config():
    """Return a tiny BERT's configuration, with what is given instead."""
    return lambda **changes: BertConfig(**TINY | {"num_labels": 3} | changes)


@pytest.fixture
def make_classifier(make_config):
    """Return a classifier; all have the same weights."""

    def make(dtype=None, **changes):
        model = tfhf.TFBertForSequenceClassification(make_config(**changes), dtype=dtype)
        rng = np.random.default_rng(0)
        for weight in model.weights:
            weight.assign(rng.normal(0, 0.3, weight.shape))
        return model

    return make


@pytest.fixture(scope="session")
def sentences():
    """Twelve padded sentences."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 8, (12, 1))
    mask = (np.arange(7) < lengths).astype(np.int64)
    ids = rng.integers(1, 20, (12, 7)) * mask
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": ids % 2}


@pytest.fixture(scope="session")
def labels(sentences):
    """A class for each sentence, which its first word gives away."""
    return sentences["input_ids"][:, 0] % 3
