"""Answers to questions, compared by their words.

Reference: Rajpurkar et al., SQuAD: 100,000+ Questions for Machine Comprehension of Text, 2016;
Know What You Don't Know: Unanswerable Questions for SQuAD, 2018.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

Row = Mapping[str, Any]


def squad(predictions: list[Row], references: list[Row]) -> dict[str, float]:
    """Compare answers, every question having one.

    Args:
        predictions: of each question ``{"id", "prediction_text"}``.
        references: ``{"id", "answers": {"text": [...], "answer_start": [...]}}``, in any order.

    Returns:
        ``exact_match`` and ``f1``, 0 to 100: the best over each question's answers, then the mean.

    Raises:
        ValueError: a question has no prediction.
    """
    answers = _by_question(predictions, references)
    scores = [
        [_best(judge, row["prediction_text"], texts) for row, texts in answers]
        for judge in (_exact, _f1)
    ]
    exact, f1 = (100 * float(np.mean(score)) for score in scores)
    return {"exact_match": exact, "f1": f1}


def squad_v2(
    predictions: list[Row], references: list[Row], no_answer_threshold: float = 1.0
) -> dict[str, float]:
    """Compare answers, where questions may have none.

    Args:
        predictions: of each question ``{"id", "prediction_text", "no_answer_probability"}``.
        references: as for :func:`squad`; one without a text has no answer.
        no_answer_threshold: above this probability, the prediction counts as no answer.

    Returns:
        ``exact``, ``f1``, ``total``, these of questions with an answer (``HasAns_exact``, …) and of
        those without (``NoAns_exact``, …), if there are any; ``best_exact``, ``best_f1`` and the
        thresholds that give them, ``best_exact_thresh``, ``best_f1_thresh``.

    Raises:
        ValueError: a question has no prediction.
    """
    answers = _by_question(predictions, references)
    answerable = np.array([bool(texts) for _, texts in answers])
    no_answer = np.array([row["no_answer_probability"] for row, _ in answers], float)
    answered = np.array([bool(row["prediction_text"]) for row, _ in answers])
    results: dict[str, float] = {}
    best: dict[str, float] = {}
    for name, judge in (("exact", _exact), ("f1", _f1)):
        raw = np.array(
            [
                _best(judge, row["prediction_text"], [t for t in texts if _words(t)] or [""])
                for row, texts in answers
            ],
            float,
        )
        scores = np.where(no_answer > no_answer_threshold, ~answerable, raw)
        for prefix, rows in (("", slice(None)), ("HasAns_", answerable), ("NoAns_", ~answerable)):
            if len(scores[rows]):
                results[f"{prefix}{name}"] = 100 * float(np.mean(scores[rows]))
                results[f"{prefix}total"] = len(scores[rows])
        # Answering all up to some probability: each adds its score, or costs an unasked answer.
        gains = np.where(answerable, raw, -1.0 * answered)
        order = np.argsort(no_answer, kind="stable")
        totals = np.concatenate([[0.0], np.cumsum(gains[order])]) + np.sum(~answerable)
        top = int(np.argmax(totals))
        best[f"best_{name}"] = 100 * float(totals[top]) / len(answers)
        best[f"best_{name}_thresh"] = float(no_answer[order[top - 1]]) if top else 0.0
    return results | best


def _by_question(predictions: list[Row], references: list[Row]) -> list[tuple[Row, list[str]]]:
    """Return each question's prediction and right answers, in the order of the predictions."""
    predicted = {row["id"]: row for row in predictions}
    answers = {row["id"]: list(row["answers"]["text"]) for row in references}
    for question in answers:
        if question not in predicted:
            raise ValueError(f"predictions have none for the question with the id {question!r}")
    return [(row, answers[question]) for question, row in predicted.items() if question in answers]


def _best(judge: Any, prediction: str, texts: list[str]) -> float:
    return max((judge(prediction, text) for text in texts), default=0.0)


def _words(text: str) -> list[str]:
    """Return a text's words: lower case, without punctuation and articles."""
    text = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", text).split()


def _exact(prediction: str, text: str) -> float:
    return float(_words(prediction) == _words(text))


def _f1(prediction: str, text: str) -> float:
    """Return the F1 score of the words in common."""
    ours, theirs = _words(prediction), _words(text)
    if not ours or not theirs:
        return float(ours == theirs)
    common = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * common / (len(ours) + len(theirs))
