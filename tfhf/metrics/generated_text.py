"""Texts compared with texts: ROUGE and sacreBLEU, by the libraries that define them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu import corpus_bleu

References = list[str] | list[Sequence[str]]


def rouge(
    predictions: list[str],
    references: References,
    rouge_types: Sequence[str] = ("rouge1", "rouge2", "rougeL", "rougeLsum"),
    use_aggregator: bool = True,
    use_stemmer: bool = False,
    tokenizer: Any = None,
) -> dict[str, Any]:
    """Return the overlap of n-grams (Lin, 2004).

    Args:
        predictions: texts; for "rougeLsum" with a line for each sentence.
        references: of each a text, or several.
        rouge_types: which kinds.
        use_aggregator: return the mean over all texts, not a list. It is the mean itself; the
            ``evaluate`` library draws random samples and returns the median of their means.
        use_stemmer: compare stems of English words.
        tokenizer: a function from a text to its words; default: the package's.

    Returns:
        For each kind the F-measure, 0 to 1.
    """
    words = None if tokenizer is None else _Words(tokenizer)
    scorer = RougeScorer(list(rouge_types), use_stemmer=use_stemmer, tokenizer=words)
    found = []
    for prediction, reference in zip(predictions, references, strict=True):
        targets = [reference] if isinstance(reference, str) else reference
        found.append(scorer.score_multi(targets, prediction))
    scores = {name: [row[name].fmeasure for row in found] for name in rouge_types}
    if not use_aggregator:
        return scores
    return {name: float(np.mean(values)) for name, values in scores.items()}


class _Words:
    """A function as the package wants its tokenizers."""

    def __init__(self, tokenize: Any) -> None:
        self.tokenize = tokenize


def sacrebleu(
    predictions: list[str],
    references: References,
    smooth_method: str = "exp",
    smooth_value: float | None = None,
    force: bool = False,
    lowercase: bool = False,
    tokenize: str | None = None,
    use_effective_order: bool = False,
) -> dict[str, Any]:
    """Return BLEU of a corpus (Post, 2018).

    Args:
        predictions: texts.
        references: of each a text, or several: as many for all.
        smooth_method: what is done about n-grams that never match: "none", "floor", "add-k", "exp".
        smooth_value: of "floor" and "add-k".
        force: do not warn of texts that look tokenized.
        lowercase: ignore case.
        tokenize: "13a" by default, "zh", "intl", "char", ….
        use_effective_order: leave out orders without n-grams; for single sentences.

    Returns:
        ``score``, 0 to 100, and ``counts``, ``totals``, ``precisions``, ``bp``, ``sys_len``,
        ``ref_len``.

    Raises:
        ValueError: one text has more references than another.
    """
    several = [[text] if isinstance(text, str) else list(text) for text in references]
    if len({len(texts) for texts in several}) > 1:
        raise ValueError("references of sacrebleu must be as many for each prediction")
    options = {} if tokenize is None else {"tokenize": tokenize}
    found = corpus_bleu(
        predictions,
        [list(texts) for texts in zip(*several)],
        smooth_method=smooth_method,
        smooth_value=smooth_value,
        force=force,
        lowercase=lowercase,
        use_effective_order=use_effective_order,
        **options,
    )
    names = ("score", "counts", "totals", "precisions", "bp", "sys_len", "ref_len")
    return {name: getattr(found, name) for name in names}
