"""Answers in contexts, against those of Transformers 4.57.6."""

import numpy as np
import pytest
from golden import answer, make, parameters, same

from tfhf.pipelines.question_answering import best_spans

TASK = "question-answering"


@pytest.mark.parametrize("case", parameters(TASK))
@pytest.mark.filterwarnings("ignore:topk is deprecated")
def test_golden(case):
    same(answer(TASK, case), case["result"])


BOTH = {"question": "Who wrote it?", "context": "Marie wrote the letter."}


def test_ways_to_ask():
    pipe = make(TASK, "bert")
    one = pipe(**BOTH)
    same(pipe(BOTH), one)
    same(pipe([BOTH]), one)
    same(pipe(BOTH["question"], BOTH["context"]), one)
    same(pipe([BOTH, BOTH]), [one, one])
    same(pipe(BOTH, BOTH), [one, one])
    same(list(pipe(BOTH for _ in range(3))), [one] * 3)
    assert BOTH["context"][one["start"] : one["end"]] == one["answer"]


@pytest.mark.parametrize(
    ("arguments", "named", "error", "message"),
    [
        ([], {}, ValueError, "needs a question and a context"),
        ([], {"question": "Who?"}, ValueError, "needs a question and a context"),
        ([], {"question": ["a"], "context": ["b", "c"]}, ValueError, "1 questions and 2 contexts"),
        ([], {"question": "a", "context": ["b"]}, ValueError, "must be two texts, two lists"),
        (["Who?"], {}, ValueError, "an input must be {'question': …, 'context': …}, but is 'Who"),
        ([3], {}, ValueError, "an input must be {'question': …, 'context': …}, but is 3"),
        ([{"question": "Who?"}], {}, KeyError, "must have a 'context', but has"),
        ([{"question": "", "context": "a"}], {}, ValueError, "question must be a text that is not"),
        (
            [{"question": "a", "context": None}],
            {},
            ValueError,
            "context must be a text that is not",
        ),
        ([BOTH], {"top_k": 0}, ValueError, "top_k must be at least 1, but is 0"),
        ([BOTH], {"max_answer_len": 0}, ValueError, "max_answer_len must be at least 1, but is 0"),
        ([BOTH], {"doc_stride": 9, "max_seq_len": 8}, ValueError, "doc_stride is 9, but must not"),
        ([BOTH], {"top": 3}, TypeError, "top"),
    ],
)
def test_wrong_use(arguments, named, error, message):
    with pytest.raises(error, match=message):
        make(TASK, "bert")(*arguments, **named)


def test_a_question_that_leaves_no_room_for_pieces():
    asked = {"question": "who " * 9, "context": BOTH["context"] * 20}
    room = 64 - len(make(TASK, "bert").tokenizer("who " * 9)["input_ids"]) - 1
    options = {"max_seq_len": 64, "doc_stride": room}
    with pytest.raises(ValueError, match=f"doc_stride is {room}, but must be less than the {room}"):
        make(TASK, "bert")([BOTH, asked], **options)
    with pytest.raises(
        ValueError, match=r"less than the -\d+ tokens that a question of \d+ leaves"
    ):
        make(TASK, "bert")(asked | {"question": "who " * 90}, **options)
    short = make(TASK, "bert")(BOTH, **options | {"doc_stride": 60})  # nothing is cut
    assert short == make(TASK, "bert")(BOTH)
    assert make(TASK, "bert")(asked, **options | {"doc_stride": room - 1})


def test_spans_are_the_best():
    random = np.random.default_rng(0)
    for length, count, most in [(1, 1, 1), (5, 3, 2), (12, 20, 4), (9, 81, 9), (4, 100, 3)]:
        start, end = random.random((2, length))
        first, last, scores = best_spans(start, end, count, most)
        spans = [(i, k) for i in range(length) for k in range(i, min(length, i + most))]
        products = sorted((start[i] * end[k] for i, k in spans), reverse=True)[:count]
        np.testing.assert_allclose(scores[: len(products)], products)
        for i, k, score in zip(first, last, scores):
            assert score == (start[i] * end[k] if (i, k) in spans else 0)
