"""Summaries of texts."""

from __future__ import annotations

import logging
from typing import Any

from tfhf.pipelines.text2text import Text2TextGenerationPipeline

logger = logging.getLogger(__name__)


class SummarizationPipeline(Text2TextGenerationPipeline):
    """``"summarization"``: the gist of a text.

    Inputs and options are those of `Text2TextGenerationPipeline`; results are ``{"summary_text"}``
    or ``{"summary_token_ids"}``.

    Example:
        >>> import tfhf
        >>> summarizer = tfhf.pipeline("summarization")  # doctest: +SKIP
        >>> summarizer("A long article …", min_length=5, max_length=20)  # doctest: +SKIP
        [{'summary_text': 'a short one'}]
    """

    return_name = "summary"

    def check_lengths(self, input_length: int, generate: dict[str, Any]) -> None:
        """Warn of summaries that may be longer than the text."""
        longest, shortest = (self.limit(name, generate) for name in ("max_length", "min_length"))
        if longest < shortest:
            logger.warning("min_length is %s, but max_length only %s", shortest, longest)
        if input_length < longest:
            logger.warning(
                "the text has %s tokens, and its summary may have max_length=%s: for a shorter one "
                "pass max_length=%s",
                input_length,
                longest,
                input_length // 2,
            )
