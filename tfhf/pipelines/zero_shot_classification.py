"""Labels for texts that no model was trained for, by way of sentences that follow from a text."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfhf.auto import TFAutoModelForSequenceClassification
from tfhf.pipelines.base import Example, Outputs, Pipeline, Row, softmax

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Settings:
    labels: list[str]
    hypotheses: list[str]
    multi_label: bool


class ZeroShotClassificationPipeline(Pipeline):
    """``"zero-shot-classification"``: which of any labels fit a text.

    A model for natural language inference says how far a text entails "This example is LABEL."
    (Yin et al., 2019, https://arxiv.org/abs/1909.00161). An input is a text; its result is
    ``{"sequence", "labels", "scores"}``, the best label first.

    Options:
        candidate_labels: a list, or a text with commas between labels; also by position.
        hypothesis_template: the sentence, with ``{}`` for the label.
        multi_label: whether several labels may fit: scores are then entailment against
            contradiction for each label; else they sum to 1.
        multi_class: the old name of ``multi_label``.

    Example:
        >>> import tfhf
        >>> classifier = tfhf.pipeline("zero-shot-classification")  # doctest: +SKIP
        >>> classifier("A course.", ["education", "sport"])  # doctest: +SKIP
        {'sequence': 'A course.', 'labels': ['education', 'sport'], 'scores': [0.9, 0.1]}
    """

    auto_class = TFAutoModelForSequenceClassification

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.entailment_id == -1:
            logger.warning(
                "none of the labels %s begins with 'entail': the last one is taken for it; see "
                "config.label2id",
                [label for _, label in sorted(self.model.config.id2label.items())],
            )

    def __call__(  # type: ignore[override]  # the first argument's name is that of Transformers
        self, sequences: Any, *labels: Any, **options: Any
    ) -> Any:
        """Classify one text, a list, or what an iterable yields; see the class.

        Raises:
            ValueError: there are no labels or no texts, or the template has no place for a label.
        """
        if labels:
            if len(labels) > 1 or "candidate_labels" in options:
                raise ValueError(
                    f"expected texts and then candidate_labels, but got also {labels!r}"
                )
            options["candidate_labels"] = labels[0]
        return super().__call__(sequences, **options)

    @property
    def entailment_id(self) -> int:
        """The number of the label that says that a text entails another; -1: there is none."""
        named = self.model.config.label2id.items()
        return next((i for label, i in named if label.lower().startswith("entail")), -1)

    def settle(
        self,
        *,
        candidate_labels: str | Sequence[str] = (),
        hypothesis_template: str = "This example is {}.",
        multi_label: bool = False,
        multi_class: bool | None = None,
    ) -> _Settings:
        """Check the options."""
        if multi_class is not None:
            logger.warning("multi_class is deprecated: use multi_label")
            multi_label = multi_class
        if isinstance(candidate_labels, str):
            stripped = (label.strip() for label in candidate_labels.split(","))
            candidate_labels = [label for label in stripped if label]
        if not isinstance(candidate_labels, Iterable):
            raise ValueError(
                f"candidate_labels must be a list or a text, but is {candidate_labels!r}"
            )
        labels = list(candidate_labels)
        hypotheses = [hypothesis_template.format(label) for label in labels]
        if hypothesis_template in hypotheses[:1]:
            raise ValueError(
                f"hypothesis_template must have {{}} in the place of the label, but is "
                f"{hypothesis_template!r}"
            )
        return _Settings(labels, hypotheses, multi_label)

    def preprocess(self, inputs: Sequence[Any], settings: _Settings) -> list[Example]:
        """Tokenize each text with each hypothesis."""
        if not settings.labels:
            raise ValueError(
                "zero-shot-classification needs at least one label: pass "
                'candidate_labels=["politics", "sport"]'
            )
        for text in inputs:
            if not isinstance(text, str) or not text:
                raise ValueError(f"an input must be a text that is not empty, but is {text!r}")
        pairs = [(text, hypothesis) for text in inputs for hypothesis in settings.hypotheses]
        rows = self._tokenize_pairs(pairs)
        count = len(settings.hypotheses)
        return [Example(rows[i * count : (i + 1) * count], text) for i, text in enumerate(inputs)]

    def postprocess(self, example: Example, outputs: list[Outputs], settings: _Settings) -> Any:
        """Order the labels by how far they follow from the text."""
        logits = np.stack([output["logits"] for output in outputs])
        entailment = self.entailment_id
        if settings.multi_label or len(outputs) == 1:
            contradiction = -1 if entailment == 0 else 0
            scores = softmax(logits[:, [contradiction, entailment]])[:, 1]
        else:
            scores = softmax(logits[:, entailment])
        best_first = scores.argsort()[::-1]
        return {
            "sequence": example.source,
            "labels": [settings.labels[i] for i in best_first],
            "scores": scores[best_first].tolist(),
        }

    def _tokenize_pairs(self, pairs: list[tuple[str, str]]) -> list[Row]:
        """Cut texts where need be, but no hypothesis; leave alone what cannot be cut so."""
        texts, hypotheses = ([pair[k] for pair in pairs] for k in (0, 1))
        try:
            return self.tokenize(texts, hypotheses, truncation="only_first")
        except Exception as error:  # tokenizers has no type of its own for it
            if "too short" not in str(error):
                raise
        if len(pairs) == 1:
            return self.tokenize(texts, hypotheses)
        return [row for pair in pairs for row in self._tokenize_pairs([pair])]
