"""The quiz of the course's chapter 2, Using Transformers: what can be answered by running code."""

import numpy as np
import pytest
import tensorflow as tf
from golden import FIXTURES, load

import tfhf

TEXT = "The river Elbe rises in the Krkonoše Mountains."
SHORT = "Hello!"


@pytest.fixture(scope="module")
def classifier():
    """A BERT that gives texts labels, and its tokenizer."""
    return load("text-classification", "bert")


def test_order_of_the_steps():
    """In which order is a text gone on with? Tokenizer to ids, model to ids, tokenizer to text."""
    model, tokenizer = load("text-generation", "gpt2")
    generate = tfhf.pipeline("text-generation", model=model, tokenizer=tokenizer)
    answer = generate(TEXT, max_new_tokens=5, do_sample=False)[0]["generated_text"]
    ids = tokenizer(TEXT, return_tensors="tf")
    ids = model.generate(**ids, max_new_tokens=5, do_sample=False)
    assert answer == tokenizer.decode(ids[0], skip_special_tokens=True)


def test_what_a_body_returns():
    """How many dimensions have a body's states? Three: rows, tokens of a row, hidden size."""
    body = tfhf.TFAutoModel.from_pretrained(FIXTURES / "feature-extraction/bert")
    _, tokenizer = load("feature-extraction", "bert")
    tokens = tokenizer([TEXT, SHORT], padding=True, return_tensors="tf")
    states = body(tokens).last_hidden_state
    assert states.shape == (2, len(tokenizer(TEXT)["input_ids"]), body.config.hidden_size)


@pytest.mark.parametrize(
    ("task", "checkpoint", "kind"),
    [
        ("fill-mask", "bert", "WordPiece"),
        ("text-generation", "gpt2", "BPE"),
        ("summarization", "t5", "Unigram"),
    ],
)
def test_subword_tokenizers(task, checkpoint, kind):
    """Which tokenizers take subwords? WordPiece, BPE and Unigram: rare words become several."""
    tokenizer = tfhf.AutoTokenizer.from_pretrained(FIXTURES / task / checkpoint)
    assert type(tokenizer.backend_tokenizer.model).__name__ == kind
    pieces = tokenizer.tokenize("mountaineering")
    assert 1 < len(pieces) < len("mountaineering")
    assert tokenizer.convert_tokens_to_string(pieces).strip() == "mountaineering"


def test_a_head_makes_an_answer_of_states(classifier):
    """What is a head? A layer or two behind the body, from its states to what the task asks."""
    model, tokenizer = classifier
    tokens = tokenizer(TEXT, return_tensors="tf")
    pooled = model.base_model(tokens).pooler_output
    kernel, bias = model.classifier.get_weights()
    np.testing.assert_allclose(pooled @ kernel + bias, model(tokens).logits, atol=1e-6)
    assert kernel.size + bias.size < model.num_parameters() / 100


@pytest.mark.parametrize(
    ("task", "checkpoint", "expected"),
    [
        ("fill-mask", "bert", "TFBertModel"),
        ("fill-mask", "roberta", "TFRobertaModel"),
        ("text-generation", "gpt2", "TFGPT2Model"),
    ],
)
def test_the_auto_class(task, checkpoint, expected):
    """What is ``TFAutoModel``? What picks the architecture that a checkpoint is of."""
    model = tfhf.TFAutoModel.from_pretrained(FIXTURES / task / checkpoint)
    assert type(model) is getattr(tfhf, expected)


def test_rows_of_different_lengths(classifier):
    """What makes a batch of them? Padding, a mask for it, and cutting what is too long."""
    model, tokenizer = classifier
    texts = [TEXT, SHORT]
    with pytest.raises(ValueError, match="padding"):
        tokenizer(texts, return_tensors="tf")
    tokens = tokenizer(texts, padding=True, return_tensors="tf")
    alone = model(tokenizer(SHORT, return_tensors="tf")).logits[0]
    np.testing.assert_allclose(model(tokens).logits[1], alone, atol=1e-5)
    careless = model(tokens["input_ids"]).logits[1]
    assert np.abs(careless - alone).max() > 1e-4
    longest = model.config.max_position_embeddings
    cut = tokenizer("word " * 500, truncation=True, max_length=longest, return_tensors="tf")
    assert cut["input_ids"].shape == (1, longest)
    assert np.isfinite(model(cut).logits).all()


def test_what_softmax_is_for(classifier):
    """Why softmax behind the scores? It makes shares of them, from 0 to 1, which add up to 1."""
    model, tokenizer = classifier
    logits = model(tokenizer([TEXT, SHORT], padding=True, return_tensors="tf")).logits
    assert np.abs(tf.reduce_sum(logits, axis=-1) - 1).max() > 1e-3
    shares = tf.nn.softmax(logits).numpy()
    assert shares.min() > 0 and shares.max() < 1
    np.testing.assert_allclose(shares.sum(axis=-1), 1, rtol=1e-6)
    np.testing.assert_array_equal(np.argsort(shares), np.argsort(logits))


def test_a_tokenizer_is_called(classifier):
    """Which method does most? Calling the tokenizer: it does what all the others do, at once."""
    model, tokenizer = classifier
    tokens = tokenizer(TEXT)
    ids = tokenizer.convert_tokens_to_ids(tokenizer.tokenize(TEXT))
    whole = [tokenizer.cls_token_id, *ids, tokenizer.sep_token_id]
    assert tokens["input_ids"] == tokenizer.encode(TEXT) == whole
    padded = tokenizer([TEXT, SHORT], padding=True)
    assert padded.data == tokenizer.pad([tokens, tokenizer(SHORT)]).data
    assert set(tokens) <= set(model.input_names)


def test_what_tokenize_returns(classifier):
    """What does ``tokenize`` return? Strings, each a token, and no token that is special."""
    _, tokenizer = classifier
    tokens = tokenizer.tokenize(SHORT)
    assert isinstance(tokens, list) and all(isinstance(token, str) for token in tokens)
    assert "".join(token.removeprefix("##") for token in tokens) == "hello!"
    assert not set(tokens) & set(tokenizer.all_special_tokens)


def test_a_tokenizer_of_another_model(classifier):
    """What is wrong with BERT's tokenizer before GPT-2? GPT-2's words have other numbers."""
    _, tokenizer = classifier
    model, own = load("text-generation", "gpt2")
    ids = tokenizer(SHORT, return_tensors="tf")["input_ids"]
    assert np.isfinite(model(ids).logits).all()  # nothing fails
    assert own.decode(own(SHORT)["input_ids"]) == SHORT
    assert SHORT.lower() not in own.decode(ids[0]).lower()  # but it reads something else
