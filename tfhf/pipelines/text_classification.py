"""Labels for texts: sentiment, topic, whether two sentences say the same."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfhf.auto import TFAutoModelForSequenceClassification
from tfhf.pipelines.base import Example, Outputs, Pipeline, softmax


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-logits))


def _identity(logits: np.ndarray) -> np.ndarray:
    return logits


FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sigmoid": _sigmoid,
    "softmax": softmax,
    "none": _identity,
}


@dataclass(frozen=True)
class ClassificationSettings:
    """The options of a call: how many labels, in which order, from which scores."""

    top_k: int | None
    sort: bool
    to_scores: Callable[[np.ndarray], np.ndarray]
    tokenizer: dict[str, Any]


class TextClassificationPipeline(Pipeline):
    """``"text-classification"``, also ``"sentiment-analysis"``: labels with scores.

    An input is a text, or ``{"text": …, "text_pair": …}`` for two. Its result is
    ``{"label": …, "score": …}``, in a list where there was one text alone; with ``top_k`` it is a
    list of these, the highest score first.

    Options:
        top_k: how many labels; ``None``: all.
        function_to_apply: what makes scores of logits: ``"softmax"``, ``"sigmoid"`` or ``"none"``.
            By default what fits ``config.problem_type``; where that is open, the sigmoid for a
            model with one label, and else the softmax.
        return_all_scores: the old name of ``top_k``: ``True`` for all labels in their own order.
        All others go to the tokenizer: ``truncation=True``, ``max_length=128``.

    Example:
        >>> import tfhf
        >>> classifier = tfhf.pipeline("sentiment-analysis")  # doctest: +SKIP
        >>> classifier("A moving film.")  # doctest: +SKIP
        [{'label': 'POSITIVE', 'score': 0.999}]
    """

    auto_class = TFAutoModelForSequenceClassification

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """Classify one text, a list, or what an iterable yields; see the class."""
        result = super().__call__(inputs, **options)
        return [result] if isinstance(inputs, str) and "top_k" not in options else result

    def settle(
        self,
        *,
        top_k: int | str | None = "",
        function_to_apply: str | None = None,
        return_all_scores: bool | None = None,
        **tokenizer: Any,
    ) -> ClassificationSettings:
        """Check the options."""
        if return_all_scores is None:
            return_all_scores = getattr(self.model.config, "return_all_scores", None)
        return classification_settings(
            top_k,
            function_to_apply or _usual_function(self.model.config),
            return_all_scores,
            tokenizer,
        )

    def preprocess(self, inputs: Sequence[Any], settings: ClassificationSettings) -> list[Example]:
        """Tokenize texts and pairs."""
        texts = [text_and_pair(each) for each in inputs]
        examples: list[Example] = [Example([])] * len(texts)
        for paired in (False, True):
            places = [i for i, (_, pair) in enumerate(texts) if (pair is not None) == paired]
            rows = self.tokenize(
                [texts[i][0] for i in places],
                [texts[i][1] for i in places] if paired else None,
                **settings.tokenizer,
            )
            for i, row in zip(places, rows):
                examples[i] = Example([row])
        return examples

    def postprocess(
        self, example: Example, outputs: list[Outputs], settings: ClassificationSettings
    ) -> Any:
        """Name the labels."""
        scores = settings.to_scores(outputs[0]["logits"])
        return named_scores(scores, self.model.config.id2label, settings)


def classification_settings(
    top_k: int | str | None,
    function_to_apply: str,
    return_all_scores: bool | None,
    tokenizer: dict[str, Any],
) -> ClassificationSettings:
    """Check what a model and a SavedModel have in common."""
    if str(function_to_apply).lower() not in FUNCTIONS:
        raise ValueError(
            f"function_to_apply must be one of {', '.join(FUNCTIONS)}, not {function_to_apply!r}"
        )
    sort = isinstance(top_k, int) or top_k is None
    if not sort:
        if top_k != "":
            raise ValueError(f"top_k must be a number or None, but is {top_k!r}")
        if return_all_scores is not None:
            warnings.warn(
                "return_all_scores is deprecated: use top_k=None for all scores, top_k=1 for one",
                UserWarning,
                stacklevel=2,
            )
        top_k = None if return_all_scores else 1
    return ClassificationSettings(top_k, sort, FUNCTIONS[str(function_to_apply).lower()], tokenizer)  # type: ignore[arg-type]


def named_scores(
    scores: np.ndarray, id2label: Mapping[int, str], settings: ClassificationSettings
) -> Any:
    """Return the labels of scores [num_labels] as the options want them."""
    if settings.top_k == 1 and not settings.sort:
        return {"label": id2label[int(scores.argmax())], "score": float(scores.max())}
    order = np.argsort(-scores, kind="stable") if settings.sort else np.arange(len(scores))
    return [{"label": id2label[int(i)], "score": float(scores[i])} for i in order[: settings.top_k]]


def _usual_function(config: Any) -> str:
    if config.problem_type == "regression":
        return "none"
    several = config.problem_type == "multi_label_classification"
    return "sigmoid" if several or config.num_labels == 1 else "softmax"


def text_and_pair(each: Any) -> tuple[Any, Any]:
    """Return the text and the other text, if there is one."""
    if isinstance(each, Mapping):
        unknown = set(each) - {"text", "text_pair"}
        if unknown or "text" not in each:
            raise ValueError(f"a pair must be {{'text': …, 'text_pair': …}}, but is {dict(each)!r}")
        return each["text"], each.get("text_pair")
    if isinstance(each, list | tuple):
        if len(each) == 1 and isinstance(each[0], list | tuple) and len(each[0]) == 2:
            return each[0][0], each[0][1]  # pairs as they once were
        raise ValueError(
            "an input must be a text; for two of them, pass a dictionary such as "
            f"{{'text': 'My text', 'text_pair': 'My pair'}}, not {each!r}"
        )
    return each, None
