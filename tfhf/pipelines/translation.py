"""Translations of texts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tfhf.pipelines.base import Example
from tfhf.pipelines.text2text import Settings, Text2TextGenerationPipeline

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Settings(Settings):
    languages: tuple[str | None, str | None]


class TranslationPipeline(Text2TextGenerationPipeline):
    """``"translation"`` and ``"translation_xx_to_yy"``: a text in another language.

    Inputs and options are those of `Text2TextGenerationPipeline`; results are
    ``{"translation_text"}`` or ``{"translation_token_ids"}``.

    Options:
        src_lang, tgt_lang: the languages, for models of many; default: those in the task's name.

    Example:
        >>> import tfhf
        >>> translator = tfhf.pipeline("translation_en_to_fr")  # doctest: +SKIP
        >>> translator("How old are you?")  # doctest: +SKIP
        [{'translation_text': 'quel âge êtes-vous?'}]
    """

    return_name = "translation"

    def settle(
        self, *, src_lang: str | None = None, tgt_lang: str | None = None, **options: Any
    ) -> _Settings:
        """Check the options."""
        languages = (src_lang, tgt_lang)
        parts = self.task.split("_")
        if languages == (None, None) and len(parts) == 4:
            languages = (parts[1], parts[3])
        shared = super().settle(**options)
        return _Settings(**vars(shared), languages=languages)

    def preprocess(self, inputs: Sequence[Any], settings: Settings) -> list[Example]:
        """Tokenize texts, with their language where the model knows many."""
        assert isinstance(settings, _Settings)
        build = getattr(self.tokenizer, "_build_translation_inputs", None)
        if build is None:
            return super().preprocess(inputs, settings)
        source, target = settings.languages
        options = {"src_lang": source, "tgt_lang": target, "return_tensors": None}
        examples = []
        for text in inputs:
            tokens = build(text, truncation=settings.truncation, **options)
            row = {name: tokens[name] for name in ("input_ids", "attention_mask")}
            examples.append(Example([row]))
            settings.generate.setdefault("forced_bos_token_id", tokens["forced_bos_token_id"])
        return examples

    def check_lengths(self, input_length: int, generate: dict[str, Any]) -> None:
        """Warn of translations that may be cut off."""
        longest = self.limit("max_length", generate)
        if input_length > 0.9 * longest:
            logger.warning(
                "the text has %s tokens, and its translation at most max_length=%s: it may be cut "
                "off; pass max_length=400, or so",
                input_length,
                longest,
            )
