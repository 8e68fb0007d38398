"""The states that a model without a head makes of texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tfhf.auto import TFAutoModel
from tfhf.pipelines.base import Example, Outputs, Pipeline


@dataclass(frozen=True)
class _Settings:
    return_tensors: bool
    tokenizer: dict[str, Any]


class FeatureExtractionPipeline(Pipeline):
    """``"feature-extraction"``: the state of each token after the last layer.

    An input is a text. Its result is a list of numbers [1, tokens, hidden_size], special tokens
    included. `tfhf.SentenceEncoder` makes one vector of a text.

    Options:
        return_tensors: results are tensors instead of lists.
        truncation: cut texts to what the model can read.
        tokenize_kwargs: a dictionary of other arguments for the tokenizer.

    Example:
        >>> import tfhf
        >>> extractor = tfhf.pipeline("feature-extraction")  # doctest: +SKIP
        >>> extractor("A moving film.", return_tensors=True).shape  # doctest: +SKIP
        TensorShape([1, 6, 768])
    """

    auto_class = TFAutoModel
    # States of all tokens are large.
    default_batch_size = 8
    per_token = True

    def settle(
        self,
        *,
        truncation: bool | str | None = None,
        tokenize_kwargs: dict[str, Any] | None = None,
        return_tensors: bool = False,
    ) -> _Settings:
        """Check the options."""
        options = dict(tokenize_kwargs or {})
        if truncation is not None:
            if "truncation" in options:
                raise ValueError("truncation is given twice: by itself and in tokenize_kwargs")
            options["truncation"] = truncation
        return _Settings(return_tensors, options)

    def preprocess(self, inputs: Sequence[Any], settings: _Settings) -> list[Example]:
        """Tokenize texts."""
        return [Example([row]) for row in self.tokenize(inputs, **settings.tokenizer)]

    def read(self, outputs: Any, tokens: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Return the states of the last layer."""
        return {"states": outputs[0]}

    def postprocess(self, example: Example, outputs: list[Outputs], settings: _Settings) -> Any:
        """Give states the form that is asked for."""
        states = outputs[0]["states"][None]
        return tf.constant(states) if settings.return_tensors else states.tolist()
