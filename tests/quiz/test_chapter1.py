"""The quiz of the course's chapter 1, Transformer models: what can be answered by running code."""

import numpy as np
import pytest
import tensorflow as tf
from golden import FIXTURES, load
from transformers import BertConfig, BertTokenizerFast

import tfhf

TEXT = "The river Elbe rises in the Krkonoše Mountains"
TAGS = ["O", "PER", "ORG", "LOC"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
OTHERS = ["my", "name", "is", "and", "i", "work", "at", "in", "."]
WORDS = dict.fromkeys([*SPECIAL, *OTHERS], "O")
WORDS |= {"syl": "PER", "##va": "PER", "##in": "PER"}
WORDS |= {"hugging": "ORG", "face": "ORG", "brooklyn": "LOC"}


def tagger():
    """A BERT without layers, whose tokens' vectors are their tags."""
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=len(TAGS),
        num_hidden_layers=0,
        num_attention_heads=1,
        intermediate_size=1,
        id2label=dict(enumerate(TAGS)),
        label2id={tag: i for i, tag in enumerate(TAGS)},
    )
    model = tfhf.TFBertForTokenClassification(config)
    embeddings = model.base_model.embeddings
    tags = np.eye(len(TAGS))[[TAGS.index(tag) for tag in WORDS.values()]]
    embeddings.token.set_weights([tags])
    for other in (embeddings.position, embeddings.token_type):
        other.set_weights([np.zeros(array.shape) for array in other.get_weights()])
    model.classifier.set_weights([np.eye(len(TAGS)), np.zeros(len(TAGS))])
    return model


def test_what_the_mnli_checkpoint_is_for():
    """What is roberta-large-mnli for? For classifying text: that is what its head does.

    A small RoBERTa with such a head stands in for it.
    """
    classify = tfhf.pipeline(model=str(FIXTURES / "zero-shot-classification/roberta"))
    assert classify.task == "text-classification"
    assert set(classify("A cat sleeps.")[0]) == {"label", "score"}


def test_grouped_entities():
    """What does ``ner`` with grouped entities say? Which words are a person, a group or a place."""
    tokenizer = BertTokenizerFast(vocab={word: i for i, word in enumerate(WORDS)})
    ner = tfhf.pipeline("ner", model=tagger(), tokenizer=tokenizer, grouped_entities=True)
    found = ner("My name is Sylvain and I work at Hugging Face in Brooklyn.")
    assert [(each["word"], each["entity_group"]) for each in found] == [
        ("sylvain", "PER"),
        ("hugging face", "ORG"),
        ("brooklyn", "LOC"),
    ]


@pytest.mark.parametrize("gap", ["", "<mask> ", "…"])
def test_a_gap_for_bert_must_be_its_mask(gap):
    """How is the gap written that a BERT is to fill? As ``[MASK]``, and in no other way."""
    model, tokenizer = load("fill-mask", "bert")
    fill = tfhf.pipeline("fill-mask", model=model, tokenizer=tokenizer)
    with pytest.raises(tfhf.PipelineException, match=r"No mask_token \(\[MASK\]\)"):
        fill(f"This {gap}has been waiting for you.")
    answers = fill("This [MASK] has been waiting for you.")
    assert len(answers) == 5 and "[MASK]" not in answers[0]["sequence"]


def test_zero_shot_classification_needs_labels():
    """Why does a zero-shot classifier fail on a text alone? It must be told the labels."""
    model, tokenizer = load("zero-shot-classification", "bert")
    classify = tfhf.pipeline("zero-shot-classification", model=model, tokenizer=tokenizer)
    with pytest.raises(ValueError, match="needs at least one label"):
        classify("This is a course.")
    labels = ["education", "politics"]
    assert set(classify("This is a course.", candidate_labels=labels)["labels"]) == set(labels)


def test_transfer_learning():
    """What does it pass on? The weights of a trained model, with which another one begins."""
    pretrained, _ = load("fill-mask", "bert")
    model = tfhf.TFAutoModelForSequenceClassification.from_pretrained(
        FIXTURES / "fill-mask/bert", num_labels=2
    )
    for part in ("embeddings", "encoder"):
        taken = getattr(model.base_model, part).get_weights()
        given = getattr(pretrained.base_model, part).get_weights()
        assert taken
        for ours, theirs in zip(taken, given, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_pretraining_needs_no_labels():
    """Does a language model need labels to be pretrained? No: texts are their own labels."""
    _, tokenizer = load("fill-mask", "bert")
    tokens = tokenizer(TEXT)
    collate = tfhf.DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.5)
    batch = collate([{"input_ids": tokens["input_ids"]}])
    labels = np.array(batch["labels"])[0]
    hidden = labels != -100
    assert 0 < hidden.sum() < len(labels)
    np.testing.assert_array_equal(labels[hidden], np.array(tokens["input_ids"])[hidden])


def test_architecture_and_weights():
    """What is a model made of? Functions, which are its architecture, and weights, which fit in."""
    trained, tokenizer = load("text-classification", "bert")
    tokens = tokenizer(TEXT, return_tensors="tf")
    other = type(trained).from_config(trained.config)
    assert [v.shape for v in other.weights] == [v.shape for v in trained.weights]
    assert np.abs(other(tokens).logits - trained(tokens).logits).max() > 1e-3
    other.set_weights(trained.get_weights())
    np.testing.assert_array_equal(other(tokens).logits, trained(tokens).logits)


def test_prompts_are_for_decoders():
    """Which kind of model goes on with a prompt? A decoder; an encoder has nothing to do it by."""
    decoder, tokenizer = load("text-generation", "gpt2")
    prompt = tokenizer("Who wrote", return_tensors="tf")
    text = decoder.generate(**prompt, max_new_tokens=3)
    np.testing.assert_array_equal(text[:, : prompt["input_ids"].shape[1]], prompt["input_ids"])
    encoder, tokenizer = load("text-classification", "bert")
    with pytest.raises(TypeError, match="cannot generate"):
        encoder.generate(**tokenizer("Who wrote", return_tensors="tf"))


def test_summaries_are_for_encoder_decoders():
    """Which kind of model summarizes? One that reads a text and writes another: both parts."""
    model, tokenizer = load("summarization", "bart")
    assert model.config.is_encoder_decoder
    tfhf.pipeline("summarization", model=model, tokenizer=tokenizer)
    read = tokenizer(TEXT, return_tensors="tf")
    written = tf.constant([[2, 5, 6]])
    outputs = model(**read, decoder_input_ids=written)
    assert outputs.encoder_last_hidden_state.shape[:2] == read["input_ids"].shape
    assert outputs.logits.shape == (1, 3, model.config.vocab_size)
    model, tokenizer = load("text-classification", "bert")
    with pytest.raises(TypeError):
        tfhf.pipeline("summarization", model=model, tokenizer=tokenizer)


def test_labels_are_for_encoders():
    """Which kind of model gives a text its label? An encoder: each token sees those behind it."""
    for task, name, sees_ahead in (
        ("text-classification", "bert", True),
        ("text-generation", "gpt2", False),
    ):
        body = load(task, name)[0].base_model
        first, second = (
            body(tf.constant([[5, 6, 7, last]])).last_hidden_state[0, 0] for last in (8, 9)
        )
        assert (np.abs(first - second).max() > 1e-6) == sees_ahead
