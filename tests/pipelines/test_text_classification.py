"""Labels for texts, against those of Transformers 4.57.6."""

import json
import shutil
from pathlib import Path

import pytest
from golden import answer, golden, load, make, parameters, same

import tfhf

TASK = "text-classification"
CASES = golden(TASK)


@pytest.mark.parametrize("case", parameters(TASK))
def test_golden(case):
    same(answer(TASK, case), case["result"])


def test_wrong_options():
    pipe = make(TASK, "bert")
    with pytest.raises(ValueError, match="must be one of sigmoid, softmax, none, not 'sofmax'"):
        pipe("Hello", function_to_apply="sofmax")
    with pytest.raises(ValueError, match="top_k must be a number or None, but is 'all'"):
        pipe("Hello", top_k="all")
    with pytest.raises(ValueError, match="pass a dictionary such as"):
        pipe([["Hello", "you"]])
    with pytest.raises(ValueError, match="a pair must be"):
        pipe({"text": "Hello", "label": 1})


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    model, tokenizer = load(TASK, "bert")
    return model.export(tmp_path_factory.mktemp("saved") / "moods", tokenizer=tokenizer)


def test_saved_model(exported):
    cases = [
        case
        for case in CASES
        if case["checkpoint"] == "bert"
        and not case["config"]
        and set(case["call"]) | set(case["options"]) <= {"top_k", "truncation"}
        and all(isinstance(text, str) for text in [case["inputs"], *case["inputs"]][1:])
        and not isinstance(case["inputs"], dict)
    ]
    assert len(cases) > 20
    pipe = tfhf.pipeline(model=Path(exported))
    assert pipe.task == TASK
    for case in cases:
        pipe.options = case["options"]
        same(pipe(case["inputs"], **case["call"]), case["result"])


def test_saved_model_streams(exported):
    pipe = tfhf.pipeline("sentiment-analysis", exported, batch_size=4)
    texts = [f"film {'moving ' * (i % 5)}{i}" for i in range(30)]
    same(list(pipe(iter(texts))), make(TASK, "bert")(texts))


def test_saved_model_wrong_use(exported, tmp_path):
    pipe = tfhf.pipeline(model=exported)
    with pytest.raises(ValueError, match="an input must be a string for text, but is"):
        pipe({"text": "a", "text_pair": "b"})
    with pytest.raises(ValueError, match="the scores of a SavedModel are final"):
        pipe("Hello", function_to_apply="none")
    with pytest.raises(TypeError, match="no option max_length: its settings are"):
        pipe("Hello", max_length=3)
    with pytest.raises(TypeError, match="copy its folder"):
        pipe.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is for text-classification, not for 'token-class"):
        tfhf.pipeline("ner", exported)
    model, _ = load(TASK, "bert")
    with pytest.raises(ValueError, match="does not say what its task is"):
        tfhf.pipeline(model=model.export(tmp_path / "tokens"))
    old = shutil.copytree(exported, tmp_path / "old")
    facts = old / "assets.extra/signatures.json"
    labels = json.loads(facts.read_text())["serving_default"]["labels"]
    assert labels == ["negative", "neutral", "mixed", "positive"]
    facts.unlink()
    with pytest.raises(ValueError, match="Export a model that has one with its tokenizer"):
        tfhf.pipeline(model=old)
