"""Labels of one's own, against what Transformers 4.57.6 answers."""

import pytest
from golden import answer, load, make, parameters, same

import tfhf

TASK = "zero-shot-classification"


@pytest.mark.parametrize("case", parameters(TASK))
def test_golden(case):
    same(answer(TASK, case), case["result"])


def test_labels_by_position():
    pipe = make(TASK, "bert")
    same(pipe("A film.", ["a", "b"]), pipe("A film.", candidate_labels="a, b"))
    assert sum(pipe("A film.", ["a", "b", "c"])["scores"]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (["A film."], {}, "needs at least one label"),
        (["A film.", []], {}, "needs at least one label"),
        (["A film.", " ,"], {}, "needs at least one label"),
        (["A film.", 3], {}, "candidate_labels must be a list or a text, but is 3"),
        (["A film.", "a", "b"], {}, "expected texts and then candidate_labels"),
        (["A film.", "a"], {"candidate_labels": "b"}, "expected texts and then candidate_labels"),
        (["", "a"], {}, "an input must be a text that is not empty, but is ''"),
        ([["A film.", 3], "a"], {}, "an input must be a text that is not empty, but is 3"),
        (
            ["A film.", "a"],
            {"hypothesis_template": "Yes"},
            "must have {} in the place of the label",
        ),
    ],
)
def test_wrong_use(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        make(TASK, "bert")(*arguments, **options)


def test_model_without_entailment(caplog):
    model, tokenizer = load("text-classification", "bert")
    tfhf.pipeline(TASK, model, tokenizer=tokenizer)
    assert "none of the labels" in caplog.text
    assert "begins with 'entail': the last one is taken for it" in caplog.text
