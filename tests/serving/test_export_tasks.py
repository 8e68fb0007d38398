"""Each task without Python: what its pipeline says, in every family of tokenizers.

The slow tests ask exports in TensorFlow's C loader; the others ask the functions inside them.
"""

import functools
import itertools
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from golden import load, same
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import AlbertConfig, AlbertTokenizer

import tfhf
from tfhf.layers import Dense
from tfhf.serving import operations_of, signatures
from tfhf.serving.operations import lowest_tf_serving
from tfhf.serving.warmup import read_warmup_requests
from tfhf.tokenization.graph import UnsupportedTokenizerError

TEXTS = [
    "Anna Müller moved from Zürich to New York, and works for Acme Corp.",
    "The [MASK] Elbe — 東京 ist groß 🐈",
    "don't  stop\n[SEP] me",
    "x",
    "Ünï",
]
HEADS = {
    "feature-extraction": "Model",
    "fill-mask": "ForMaskedLM",
    "multiple-choice": "ForMultipleChoice",
    "question-answering": "ForQuestionAnswering",
    "sentence-embeddings": "Model",
    "text-classification": "ForSequenceClassification",
    "token-classification": "ForTokenClassification",
    "zero-shot-classification": "ForSequenceClassification",
}
LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "MISC"]
ZERO_SHOT = "zero-shot-classification"
FAMILIES = ["bert", "roberta", "albert"]


@functools.cache
def unigram_tokenizer():
    """ALBERT's, with a vocabulary of these texts."""
    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.Lowercase()])
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    backend.train_from_iterator([text.lower() for text in TEXTS * 4], trainer)
    pieces = json.loads(backend.to_str())["model"]["vocab"]
    vocab = [(piece, float(np.float32(score))) for piece, score in pieces]
    return AlbertTokenizer(vocab, model_max_length=64)


@functools.cache
def model_and_tokenizer(task, family):
    if family != "albert":
        return load(task, family)
    tokenizer = unigram_tokenizer()
    labels = LABELS if task == "token-classification" else ["contradiction", "entailment", "else"]
    config = AlbertConfig(
        vocab_size=len(tokenizer),
        embedding_size=8,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=64,
        initializer_range=0.6,
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
    )
    if task == "question-answering":
        config.num_labels = 2
    return getattr(tfhf, f"TFAlbert{HEADS[task]}")(config), tokenizer


@functools.cache
def pipe(task, family, options="{}"):
    model, tokenizer = model_and_tokenizer(task, family)
    return tfhf.pipeline(task, model, tokenizer=tokenizer, **json.loads(options))


def texts_for(task, family):
    """Return texts that fit the model whole, with the family's own mask token."""
    model, tokenizer = model_and_tokenizer(task, family)
    limit = min(model.max_length, tokenizer.model_max_length)
    texts = [text.replace("[MASK]", tokenizer.mask_token) for text in TEXTS]
    return [text for text in texts if len(tokenizer(text)["input_ids"]) <= limit]


class Direct:
    """Asks the function of a signature."""

    def __init__(self, task, family, **settings):
        self.signature = signatures.build(task, *model_and_tokenizer(task, family), settings)

    def __call__(self, **inputs):
        inputs = {name: tf.constant(value, tf.string) for name, value in inputs.items()}
        return {key: value.numpy() for key, value in self.signature.function(**inputs).items()}


class Exported:
    """Asks an export in TensorFlow's C loader."""

    def __init__(self, folder, program, task, family, **settings):
        model, tokenizer = model_and_tokenizer(task, family)
        self.version = model.export(folder, tokenizer, task, **settings)
        self.program = program

    def __call__(self, **inputs):
        inputs = {name: np.array(value, object) for name, value in inputs.items()}
        return self.program.predict(self.version, inputs)


def entries(outputs, row):
    """Return a dictionary for each entry that counts in a row of outputs."""
    found = []
    for i in range(outputs["count"][row]):
        values = {name: outputs[name][row][i] for name in outputs if name != "count"}
        found.append({name: plain(value) for name, value in values.items()})
    return found


def check_entries(outputs, row, expected):
    """Require that entries are those of a pipeline; the order of names means nothing."""
    found = [dict(sorted(entry.items())) for entry in entries(outputs, row)]
    same(found, [dict(sorted(entry.items())) for entry in expected], 1e-5)


def plain(value):
    if isinstance(value, bytes):
        return value.decode()
    return [plain(each) for each in value] if np.ndim(value) else value.item()


def check_text_classification(ask, family):
    texts = texts_for("text-classification", family)
    outputs = ask(text=texts)
    for i, expected in enumerate(pipe("text-classification", family)(texts)):
        assert outputs["label"][i].decode() == expected["label"]
        assert outputs["scores"][i].max() == pytest.approx(expected["score"], abs=1e-5)


def check_token_classification(ask, family, strategy="none"):
    texts = texts_for("token-classification", family)
    options = json.dumps({"aggregation_strategy": strategy})
    expected = pipe("token-classification", family, options)(texts)
    assert sum(map(len, expected)) > 5
    outputs = ask(text=texts)
    for i in range(len(texts)):
        check_entries(outputs, i, expected[i])


def check_question_answering(ask, family, **options):
    contexts = [*TEXTS[:3], " ".join(TEXTS * 3)]  # the last one in pieces
    questions = ["Who moved?", "Groß?", "Stop what, and why?", "Who?"]
    outputs = ask(question=questions, context=contexts)
    for i, pair in enumerate(zip(questions, contexts)):
        expected = pipe("question-answering", family, json.dumps(options))(
            question=pair[0], context=pair[1]
        )
        check_entries(outputs, i, expected if isinstance(expected, list) else [expected])


def check_fill_mask(ask, family):
    mask = model_and_tokenizer("fill-mask", family)[1].mask_token
    texts = [f"The {mask} Elbe — groß", f"{mask}", f"New {mask}, {mask}!"]
    outputs = ask(text=texts)
    assert outputs["count"].tolist() == [1, 1, 2]
    for i, text in enumerate(texts):
        expected = pipe("fill-mask", family)(text, top_k=3)
        expected = expected if isinstance(expected[0], list) else [expected]
        for k, mask in enumerate(expected):
            one = {name: value[:, k] for name, value in outputs.items() if name != "count"}
            check_entries(one | {"count": np.full(len(texts), 3)}, i, mask)


def check_feature_extraction(ask, family):
    texts = texts_for("feature-extraction", family)
    outputs = ask(text=texts)
    for i, text in enumerate(texts):
        (expected,) = pipe("feature-extraction", family)(text)
        states = outputs["embeddings"][i][outputs["attention_mask"][i] == 1]
        np.testing.assert_allclose(states, expected, atol=1e-5)


def check_zero_shot_classification(ask, family, **options):
    texts = ["Anna works.", "x", "New York"]
    labels = ["work, play ,  ,travel", "work", "a,b,c,d,a"]
    outputs = ask(text=texts, candidate_labels=labels)
    assert outputs["count"].tolist() == [3, 1, 5]
    classify = pipe("zero-shot-classification", family, json.dumps(options))
    for i, (text, some) in enumerate(zip(texts, labels)):
        expected = classify(text, some)
        count = outputs["count"][i]
        assert plain(outputs["labels"][i][:count]) == expected["labels"]
        np.testing.assert_allclose(outputs["scores"][i][:count], expected["scores"], atol=1e-5)


def check_multiple_choice(ask, family):
    model, tokenizer = model_and_tokenizer("multiple-choice", family)
    texts = TEXTS[3:]
    choices = [["a cat", "an empty story, or not", ""], ["b", "c", "d"]]
    outputs = ask(text=texts, choices=choices)
    assert outputs["scores"].shape == (2, 3)
    for i, text in enumerate(texts):
        tokens = tokenizer([text] * 3, choices[i], padding=True, return_tensors="np")
        logits = model({name: value[None] for name, value in tokens.items()}).logits
        np.testing.assert_allclose(outputs["scores"][i], tf.nn.softmax(logits)[0], atol=1e-5)
        assert outputs["label"][i] == np.argmax(logits)


EMBEDDINGS = {"pooling": ["mean", "max"], "max_length": 9}


def check_sentence_embeddings(ask, family):
    prompts = {"prompts": {"query": "query: "}, "default_prompt_name": "query"}
    encoder = tfhf.SentenceEncoder(
        *model_and_tokenizer("sentence-embeddings", family), **EMBEDDINGS, **prompts
    )
    expected = encoder.encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(ask(text=TEXTS)["embedding"], expected, atol=1e-5)


CHECKS = {
    "feature-extraction": (check_feature_extraction, {}),
    "fill-mask": (check_fill_mask, {"top_k": 3}),
    "question-answering": (check_question_answering, {}),
    "text-classification": (check_text_classification, {}),
    "token-classification": (check_token_classification, {}),
    "zero-shot-classification": (check_zero_shot_classification, {}),
}
#: What there is no pipeline for; in one family.
OTHER_CHECKS = {
    "multiple-choice": (check_multiple_choice, {}),
    "sentence-embeddings": (
        check_sentence_embeddings,
        {**EMBEDDINGS, "prompt": "query: ", "normalize": True},
    ),
}


@pytest.mark.parametrize(
    ("task", "family"),
    [
        ("feature-extraction", "albert"),
        ("fill-mask", "roberta"),
        ("multiple-choice", "albert"),
        ("question-answering", "bert"),
        ("sentence-embeddings", "albert"),
        ("token-classification", "roberta"),
        ("zero-shot-classification", "bert"),
    ],
)
def test_answers_are_the_pipelines(task, family):
    check, settings = (CHECKS | OTHER_CHECKS)[task]
    check(Direct(task, family, **settings), family)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "family"),
    [*itertools.product(CHECKS, FAMILIES), *((task, "albert") for task in OTHER_CHECKS)],
)
def test_answers_without_python(tmp_path, program, task, family):
    check, settings = (CHECKS | OTHER_CHECKS)[task]
    ask = Exported(tmp_path / "served", program, task, family, **settings)
    check(ask, family)
    assert lowest_tf_serving(ask.version) in ("2.12", "2.13")
    content = b"".join(file.read_bytes() for file in files_of(ask.version))
    for foreign in (b"_Xla", b"PyFunc", bytes(tmp_path), sys.prefix.encode(), os.getcwd().encode()):
        assert foreign not in content
    assert_empty_batch_is_answered(ask)


def files_of(version):
    return [file for file in Path(version).rglob("*") if file.is_file()]


def assert_empty_batch_is_answered(ask):
    (name, inputs), *_ = read_warmup_requests(ask.version)
    assert name == "serving_default"
    outputs = ask(**{key: value[:0] for key, value in inputs.items()})
    assert {value.shape[0] for value in outputs.values()} == {0}


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("strategy", ["simple", "first", "average", "max"])
def test_aggregation(strategy, family):
    ask = Direct("token-classification", family, aggregation_strategy=strategy)
    check_token_classification(ask, family, strategy)


def test_labels_that_do_not_count():
    model, tokenizer = model_and_tokenizer("token-classification", "bert")
    ignored = sorted(model.config.id2label.values())[1:]
    ask = Direct("token-classification", "bert", ignore_labels=ignored)
    expected = tfhf.pipeline("ner", model, tokenizer=tokenizer, ignore_labels=ignored)(TEXTS[:2])
    outputs = ask(text=TEXTS[:2])
    check_entries(outputs, 0, expected[0])
    check_entries(outputs, 1, expected[1])
    assert outputs["entity"].shape[1] == max(map(len, expected)) < 20


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "options",
    [
        {"top_k": 3},
        {"top_k": 4, "align_to_words": False},
        {"top_k": 2, "handle_impossible_answer": True, "max_seq_len": 40, "doc_stride": 8},
        {"max_answer_len": 2, "max_seq_len": 30, "doc_stride": 0},
    ],
)
def test_question_answering_settings(family, options):
    check_question_answering(Direct("question-answering", family, **options), family, **options)


def test_questions_that_leave_no_room():
    """They are cut; the other requests of the batch are not disturbed, nor are empty ones."""
    ask = Direct("question-answering", "bert")
    questions = ["Who? " * 100, "Who?", "", "?"]
    contexts = [" ".join(TEXTS * 2), TEXTS[0], TEXTS[0], ""]
    together = ask(question=questions, context=contexts)
    assert together["count"].tolist() == [1, 1, 1, 0]
    assert together["answer"][3].tolist() == [b""]
    for i in range(4):
        alone = ask(question=questions[i : i + 1], context=contexts[i : i + 1])
        check_entries(alone, 0, entries(together, i))


@pytest.mark.slow
def test_zero_shot_settings():
    options = {"multi_label": True, "hypothesis_template": "It is {}!"}
    ask = Direct("zero-shot-classification", "bert", **options)
    check_zero_shot_classification(ask, "bert", **options)
    labels = ["one, two", "three"]  # with a comma, and with no input for them
    ask = Direct("zero-shot-classification", "bert", candidate_labels=labels)
    (text,) = TEXTS[3:4]
    expected = pipe("zero-shot-classification", "bert")(text, labels)
    outputs = ask(text=[text])
    assert plain(outputs["labels"][0]) == expected["labels"]
    np.testing.assert_allclose(outputs["scores"][0], expected["scores"], atol=1e-5)


def test_zero_shot_cuts_texts_and_no_hypotheses():
    _, tokenizer = model_and_tokenizer(ZERO_SHOT, "bert")
    label = "far"
    while len(tokenizer(label)["input_ids"]) < 0.6 * tokenizer.model_max_length:
        label += " away"
    text, labels = "moved " * 100, f"x,{label}"
    expected = pipe(ZERO_SHOT, "bert")(text, labels)
    outputs = Direct(ZERO_SHOT, "bert")(text=[text], candidate_labels=[labels])
    assert plain(outputs["labels"][0]) == expected["labels"]
    np.testing.assert_allclose(outputs["scores"][0], expected["scores"], atol=1e-5)


def test_pairs():
    ask = Direct("text-classification", "bert", pairs=True)
    outputs = ask(text=TEXTS[3:], text_pair=TEXTS[2:4])
    pairs = [{"text": a, "text_pair": b} for a, b in zip(TEXTS[3:], TEXTS[2:4])]
    for i, expected in enumerate(pipe("text-classification", "bert")(pairs)):
        assert outputs["label"][i].decode() == expected["label"]
        assert outputs["scores"][i].max() == pytest.approx(expected["score"], abs=1e-5)


def test_no_mask_and_no_text():
    """Nothing to fill is no error, and does not disturb other requests."""
    outputs = Direct("fill-mask", "bert", top_k=2)(text=["none", "[MASK] is here", ""])
    assert outputs["count"].tolist() == [0, 1, 0]
    assert outputs["token_str"][0].tolist() == [[b"", b""]]
    assert outputs["token_str"][1][0][0] != b""


def test_a_sentence_encoder(tmp_path, program):
    """The layer after the model is in its export, too."""
    model, tokenizer = model_and_tokenizer("feature-extraction", "bert")
    dense = Dense(model.config.hidden_size, 3, activation=tf.tanh)
    dense.build()
    encoder = tfhf.SentenceEncoder(
        model,
        tokenizer,
        pooling=["lasttoken"],
        after=[dense],
        max_length=9,
        prompts={"query": "query: "},
        default_prompt_name="query",
    )
    served = program.predict(encoder.export(tmp_path), {"text": np.array(TEXTS, object)})
    assert served["embedding"].shape == (len(TEXTS), 3)
    np.testing.assert_allclose(served["embedding"], encoder.encode(TEXTS), atol=1e-5)


def test_extra_signatures(tmp_path, program, classifier, tokenizer):
    pairs = functools.partial(signatures.text_classification, pairs=True)
    version = classifier.export(
        tmp_path / "films",
        tokenizer,
        "zero-shot-classification",
        candidate_labels=["good", "bad"],
        signatures={"classify": "sentiment-analysis", "pairs": pairs},
        figures={"accuracy": 0.91234567, "evaluated on": "400 films"},
        batch_sizes=[1, 3],
    )
    facts = json.loads(Path(version, "assets.extra/signatures.json").read_text())
    assert {name: fact.get("task") for name, fact in facts.items()} == {
        "tokens": None,
        "serving_default": "zero-shot-classification",
        "classify": "text-classification",
        "pairs": None,
    }
    text = np.array(["a film", "bad"], object)
    assert set(program.predict(version, {"text": text})) == {"labels", "scores", "count"}
    inputs = {"text": text, "text_pair": text}
    assert set(program.predict(version, inputs, "pairs")) == {"label", "scores"}
    sizes = {name: [] for name in facts}
    for name, inputs in read_warmup_requests(version):
        sizes[name].append(len(next(iter(inputs.values()))))
    assert sizes == {name: [1, 3] for name in facts}

    card = Path(version, "README.md").read_text()
    assert "# films" in card and "| accuracy | 0.9123 |" in card and "400 films" in card
    assert "Versions 2.12 to 2.20" in card
    assert all(f"`{operation}`" in card for operation in operations_of(version))
    batching = Path(version, "batching_params.pbtxt").read_text()
    assert "max_batch_size { value: 3 }\nallowed_batch_sizes: 1\nallowed_batch_sizes: 3" in batching
    assert 'name: "films"' in Path(version, "models.config").read_text()


def test_wrong_use(tmp_path, classifier, config, tokenizer):
    def refused(error, match, model=classifier, tokenizer=tokenizer, **options):
        with pytest.raises(error, match=match):
            model.export(tmp_path / "served", tokenizer, **options)

    refused(KeyError, "'sentiment' is none of .*fill-mask", task="sentiment")
    refused(
        TypeError,
        "question-answering needs a model with its head.*TFBertForSequenceClassification",
        task="question-answering",
    )
    refused(TypeError, "zero-shot-classification has no setting top_k", top_k=3, task=ZERO_SHOT)
    refused(TypeError, "expected a tokenizer for ner", tokenizer=None, task="ner")
    refused(ValueError, "signatures: 'tokens' is there", signatures={"tokens": "ner"})
    refused(ValueError, r"batch_sizes must ascend.*\[2, 1\]", batch_sizes=[2, 1])
    refused(ValueError, "must have {}", hypothesis_template="It is.", task=ZERO_SHOT)
    refused(ValueError, "candidate_labels must have a label", candidate_labels=[], task=ZERO_SHOT)
    tagger = tfhf.TFBertForTokenClassification(config)
    refused(ValueError, "aggregation_strategy must be", tagger, aggregation_strategy="most")
    refused(TypeError, "no setting stride; .*tfhf.pipeline, in Python", tagger, stride=4)
    filler = tfhf.TFBertForMaskedLM(config)
    refused(TypeError, "no setting targets; .*tfhf.pipeline, in Python", filler, targets=["a"])
    pair = type(config).from_dict(config.to_dict() | {"num_labels": 2})
    reader = tfhf.TFBertForQuestionAnswering(pair)
    refused(ValueError, "top_k must be at least 1, but is 0", reader, top_k=0)
    refused(ValueError, "max_seq_len is 99, but .* allow 16", reader, max_seq_len=99)
    refused(ValueError, "doc_stride must be from 0 to 12", reader, doc_stride=13)
    tokenizer.padding_side = "left"
    refused(UnsupportedTokenizerError, "sides of padding", reader)
    refused(ValueError, "top_k must be from 1 to", filler, top_k=0)
    assert not (tmp_path / "served").exists()


@pytest.mark.slow
@pytest.mark.parametrize("task", CHECKS)
def test_pipelines_of_exports(tmp_path, task):
    """``tfhf.pipeline`` takes a version folder, and answers as it does for the model."""
    settings = CHECKS[task][1]
    model, tokenizer = model_and_tokenizer(task, "bert")
    served = tfhf.pipeline(task, model.export(tmp_path / "served", tokenizer, task, **settings))
    if task == "question-answering":
        inputs, options = [{"question": "Who?", "context": text} for text in TEXTS], {}
    elif task == "fill-mask":
        inputs, options = ["[MASK] a [MASK]", "an [MASK]"], {"top_k": 3}
    else:
        inputs, options = texts_for(task, "bert"), {}
    if task == ZERO_SHOT:
        options = {"candidate_labels": ["a", "b c"]}
    expected = pipe(task, "bert")(inputs, **options)
    call = options if task == ZERO_SHOT else {}
    same(served(inputs, **call), expected, 1e-5)
    same(list(served(iter(inputs), **call)), expected, 1e-5)
    with pytest.raises(TypeError, match="a SavedModel has no option batch"):
        served(inputs, batch=3)
    with pytest.raises(ValueError, match=f"is for {task}, not for 'summarization'"):
        tfhf.pipeline("summarization", tmp_path / "served" / "1")
