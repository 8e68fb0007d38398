"""The words that fit where a text has a mask."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfhf.auto import TFAutoModelForMaskedLM
from tfhf.pipelines.base import Example, Outputs, Pipeline, PipelineException, softmax

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Settings:
    top_k: int
    targets: np.ndarray | None
    tokenizer: dict[str, Any]


class FillMaskPipeline(Pipeline):
    """``"fill-mask"``: tokens in place of a mask, with scores.

    An input is a text with the tokenizer's mask token. Its result is a list of ``{"score",
    "token", "token_str", "sequence"}``, the highest score first; for several masks it is one such
    list for each, as if the others stayed.

    Options:
        top_k: how many tokens; default 5.
        targets: a word or a list of words: no others compete. Of one that is no token, the first
            token does.
        tokenizer_kwargs: a dictionary of arguments for the tokenizer.

    Example:
        >>> import tfhf
        >>> unmasker = tfhf.pipeline("fill-mask")  # doctest: +SKIP
        >>> unmasker("This is a <mask> film.", top_k=1)  # doctest: +SKIP
        [{'score': 0.05, 'token': 372, 'token_str': ' great', 'sequence': 'This is a great film.'}]
    """

    auto_class = TFAutoModelForMaskedLM
    # Scores of all tokens are large.
    default_batch_size = 8

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """Fill the masks of one text, a list, or what an iterable yields; see the class.

        Raises:
            PipelineException: a text or the tokenizer has no mask.
        """
        result = super().__call__(inputs, **options)
        return result[0] if isinstance(inputs, list) and len(inputs) == 1 else result

    def settle(
        self,
        *,
        top_k: int | None = None,
        targets: str | list[str] | None = None,
        tokenizer_kwargs: dict[str, Any] | None = None,
    ) -> _Settings:
        """Check the options."""
        if self.tokenizer.mask_token_id is None:
            raise self._exception("The tokenizer does not define a `mask_token`.")
        ids = None if targets is None else self._target_ids(targets)
        return _Settings(5 if top_k is None else top_k, ids, tokenizer_kwargs or {})

    def preprocess(self, inputs: Sequence[Any], settings: _Settings) -> list[Example]:
        """Tokenize texts, each of which must have a mask."""
        examples = [Example([row]) for row in self.tokenize(inputs, **settings.tokenizer)]
        for example, text in zip(examples, inputs):
            example.source = np.array(example.rows[0]["input_ids"])
            if self.tokenizer.mask_token_id not in example.source:
                raise self._exception(
                    f"No mask_token ({self.tokenizer.mask_token}) found on the input {text!r}"
                )
        return examples

    def read(self, outputs: Any, tokens: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Return the scores at masks [masks of the batch, vocab_size], and whose they are."""
        is_mask = tokens["input_ids"] == self.tokenizer.mask_token_id
        return {"logits": tf.boolean_mask(outputs.logits, is_mask), "row": tf.where(is_mask)[:, 0]}

    def split(self, outputs: Outputs, rows: Sequence[Any]) -> list[Outputs]:
        """Give each row the scores at its masks."""
        return [{"logits": outputs["logits"][outputs["row"] == i]} for i in range(len(rows))]

    def postprocess(self, example: Example, outputs: list[Outputs], settings: _Settings) -> Any:
        """Put the best tokens into the text."""
        places = np.flatnonzero(example.source == self.tokenizer.mask_token_id)
        probabilities = softmax(outputs[0]["logits"])
        candidates = np.arange(probabilities.shape[-1])
        if settings.targets is not None:
            candidates = settings.targets
        filled = []
        for place, scores in zip(places, probabilities[:, candidates]):
            best = np.argsort(-scores, kind="stable")[: settings.top_k]
            filled.append(
                [
                    self._proposal(example.source, int(place), int(candidates[i]), float(scores[i]))
                    for i in best
                ]
            )
        return filled[0] if len(filled) == 1 else filled

    def _proposal(self, ids: np.ndarray, place: int, token: int, score: float) -> dict[str, Any]:
        one_mask = np.count_nonzero(ids == self.tokenizer.mask_token_id) == 1
        ids = np.where(np.arange(len(ids)) == place, token, ids)
        ids = ids[ids != self.tokenizer.pad_token_id]
        return {
            "score": score,
            "token": token,
            "token_str": self.tokenizer.decode([token]),
            # Without special tokens, other masks would be missing.
            "sequence": self.tokenizer.decode(ids.tolist(), skip_special_tokens=one_mask),
        }

    def _target_ids(self, targets: str | list[str]) -> np.ndarray:
        vocabulary = self.tokenizer.get_vocab()
        ids = []
        for target in [targets] if isinstance(targets, str) else targets:
            if target in vocabulary:
                ids.append(vocabulary[target])
                continue
            first = self.tokenizer(target, add_special_tokens=False)["input_ids"][:1]
            token = self.tokenizer.convert_ids_to_tokens(first[0]) if first else None
            logger.warning(
                "The specified target token `%s` does not exist in the model vocabulary: %s",
                target,
                f"replaced with `{token}`" if first else "it is ignored",
            )
            ids.extend(first)
        if not ids:
            raise ValueError("At least one target must be provided when passed.")
        return np.array(list(set(ids)))

    def _exception(self, reason: str) -> PipelineException:
        return PipelineException("fill-mask", self.model.base_model_prefix, reason)
