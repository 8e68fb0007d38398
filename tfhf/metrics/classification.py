"""Metrics of labels and of scores, by scikit-learn and SciPy, and the tasks of GLUE.

Reference: Wang et al., GLUE: A Multi-Task Benchmark and Analysis Platform, 2018.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats
from sklearn import metrics

Results = dict[str, Any]


def accuracy(predictions: list[Any], references: list[Any], **settings: Any) -> Results:
    """Return the share of right labels; settings of ``sklearn.metrics.accuracy_score``."""
    return {"accuracy": float(metrics.accuracy_score(references, predictions, **settings))}


def f1(predictions: list[Any], references: list[Any], **settings: Any) -> Results:
    """Return the F1 score, one for each class with ``average=None``."""
    return {"f1": _plain(metrics.f1_score(references, predictions, **settings))}


def precision(predictions: list[Any], references: list[Any], **settings: Any) -> Results:
    """Return the precision, one for each class with ``average=None``."""
    return {"precision": _plain(metrics.precision_score(references, predictions, **settings))}


def recall(predictions: list[Any], references: list[Any], **settings: Any) -> Results:
    """Return the recall, one for each class with ``average=None``."""
    return {"recall": _plain(metrics.recall_score(references, predictions, **settings))}


def matthews_correlation(predictions: list[Any], references: list[Any], **settings: Any) -> Results:
    """Return the correlation of labels, -1 to 1."""
    found = metrics.matthews_corrcoef(references, predictions, **settings)
    return {"matthews_correlation": float(found)}


def pearsonr(predictions: list[Any], references: list[Any]) -> Results:
    """Return the linear correlation of scores, -1 to 1."""
    return {"pearsonr": float(stats.pearsonr(references, predictions)[0])}


def spearmanr(predictions: list[Any], references: list[Any]) -> Results:
    """Return the correlation of the ranks of scores, -1 to 1."""
    return {"spearmanr": float(stats.spearmanr(references, predictions)[0])}


def _accuracy_and_f1(predictions: list[Any], references: list[Any]) -> Results:
    return accuracy(predictions, references) | f1(predictions, references)


def _correlations(predictions: list[Any], references: list[Any]) -> Results:
    pearson = pearsonr(predictions, references)["pearsonr"]
    return {"pearson": pearson} | spearmanr(predictions, references)


#: What each task of GLUE is judged by.
GLUE: dict[str | None, Callable[..., Results]] = {
    "cola": matthews_correlation,
    "mrpc": _accuracy_and_f1,
    "qqp": _accuracy_and_f1,
    "stsb": _correlations,
    "sst2": accuracy,
    "mnli": accuracy,
    "mnli_matched": accuracy,
    "mnli_mismatched": accuracy,
    "qnli": accuracy,
    "rte": accuracy,
    "wnli": accuracy,
    "hans": accuracy,
    "ax": accuracy,
}


def _plain(score: Any) -> Any:
    return np.asarray(score) if np.ndim(score) else float(score)
