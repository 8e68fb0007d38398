"""Named entities: how many were found, whole and of the right type.

The rules of CoNLL's own script and of the seqeval package (its default mode), which cannot be
installed today without help: it is built with tools of 2020.
Reference: Tjong Kim Sang and De Meulder, Introduction to the CoNLL-2003 Shared Task, 2003.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

Entity = tuple[int, str, int, int]  # sequence, type, first token, last token


def seqeval(
    predictions: list[list[str]],
    references: list[list[str]],
    suffix: bool = False,
    zero_division: float = 0.0,
) -> dict[str, Any]:
    """Compare sequences of tags such as "B-PER", "I-PER" and "O".

    Args:
        predictions: for each text a list of tags.
        references: as many lists, each of the same length.
        suffix: whether tags end in their prefix: "PER-B".
        zero_division: what a ratio is whose denominator is 0.

    Returns:
        For each type of entity ``precision``, ``recall``, ``f1`` and ``number`` (of entities in the
        references); ``overall_precision``, ``overall_recall``, ``overall_f1``, of all entities
        together; ``overall_accuracy``, of tags.

    Raises:
        ValueError: a text has more or fewer predicted tags than tags.
    """
    for i, (predicted, true) in enumerate(zip(predictions, references, strict=True)):
        if len(predicted) != len(true):
            raise ValueError(
                f"predictions[{i}] has {len(predicted)} tags, references[{i}] has {len(true)}: "
                "expected one for each token"
            )
    found = {entity for i, tags in enumerate(predictions) for entity in _entities(i, tags, suffix)}
    true_ones = {
        entity for i, tags in enumerate(references) for entity in _entities(i, tags, suffix)
    }
    results: dict[str, Any] = {}
    for kind in sorted({entity[1] for entity in found | true_ones}):
        ours, theirs = ({e for e in entities if e[1] == kind} for entities in (found, true_ones))
        results[kind] = _scores(ours, theirs, zero_division) | {"number": len(theirs)}
    for name, score in _scores(found, true_ones, zero_division).items():
        results[f"overall_{name}"] = score
    pairs = [pair for tags in zip(predictions, references) for pair in zip(*tags)]
    right = sum(predicted == true for predicted, true in pairs)
    results["overall_accuracy"] = _ratio(right, len(pairs), zero_division)
    return results


def _entities(sequence: int, tags: list[str], suffix: bool) -> Iterator[Entity]:
    """Find the entities of a sequence: a tag may end one, begin one, or both."""
    first = 0
    parts = [("O", ""), *(_split(tag, suffix) for tag in tags), ("O", "")]
    for i, ((before, type_before), (tag, kind)) in enumerate(pairwise(parts)):
        other_type = type_before != kind
        if (
            before in ("E", "S")
            or (before in ("B", "I") and tag in ("B", "S", "O"))
            or (before != "O" and other_type)
        ):
            yield sequence, type_before, first, i - 1
        if (
            tag in ("B", "S")
            or (tag in ("E", "I") and before in ("E", "S", "O"))
            or (tag != "O" and other_type)
        ):
            first = i


def _split(tag: str, suffix: bool) -> tuple[str, str]:
    """Return the prefix and the type of a tag; one without a type is of the type "_"."""
    prefix, kind = (tag[-1:], tag[:-1].rpartition("-")[0]) if suffix else (tag[:1], tag[1:])
    if not suffix:
        kind = kind.partition("-")[2] if "-" in kind else kind
    return prefix, kind or "_"


def _scores(found: set[Entity], true_ones: set[Entity], zero_division: float) -> dict[str, float]:
    right = len(found & true_ones)
    precision = _ratio(right, len(found), zero_division)
    recall = _ratio(right, len(true_ones), zero_division)
    if not found and not true_ones:
        f1 = zero_division
    else:
        f1 = 2 * right / (len(found) + len(true_ones))
    return {"precision": precision, "recall": recall, "f1": f1}


def _ratio(part: int, whole: int, zero_division: float) -> float:
    return part / whole if whole else zero_division
