"""Text from text, by an encoder and a decoder: what summaries and translations share."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tfhf.auto import TFAutoModelForSeq2SeqLM
from tfhf.pipelines.base import Example, Outputs, Row
from tfhf.pipelines.generation import GenerationPipeline

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """The options of a call: for tokens, for ``generate``, for results."""

    truncation: bool | str
    generate: dict[str, Any]
    return_tensors: bool
    clean_up: bool


class Text2TextGenerationPipeline(GenerationPipeline):
    """``"text2text-generation"``: what a model makes of a text.

    An input is a text. Its result is a list of ``{"generated_text"}``, one for each of
    ``num_return_sequences``; a list of texts with one each gives a list of these dictionaries.

    Options:
        return_tensors: return ``{"generated_token_ids"}`` instead.
        return_text: taken; texts are returned unless ``return_tensors``.
        clean_up_tokenization_spaces: take out spaces before punctuation; default ``False``.
        truncation: cut texts to what the tokenizer says.
        stop_sequence: a text whose first token ends a sequence.
        All others go to ``model.generate``: ``max_length``, ``num_beams``, ….

    Example:
        >>> import tfhf
        >>> generator = tfhf.pipeline("text2text-generation")  # doctest: +SKIP
        >>> generator("translate English to German: A cat sleeps.")  # doctest: +SKIP
        [{'generated_text': 'Eine Katze schläft.'}]
    """

    auto_class = TFAutoModelForSeq2SeqLM
    # That of Transformers 4, which counts the token that begins a text, too.
    default_max_length = 20
    #: What the keys of results begin with.
    return_name: ClassVar[str] = "generated"

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """Write a text for one text, a list, or what an iterable yields; see the class."""
        results = super().__call__(inputs, **options)
        if isinstance(inputs, list) and all(len(result) == 1 for result in results):
            return [result[0] for result in results]
        return results

    def settle(
        self,
        *,
        return_tensors: bool | None = None,
        return_text: bool | None = None,
        clean_up_tokenization_spaces: bool = False,
        truncation: bool | str = False,
        stop_sequence: str | None = None,
        **generate: Any,
    ) -> Settings:
        """Check the options."""
        if stop_sequence is not None:
            ids = self.tokenizer.encode(stop_sequence, add_special_tokens=False)
            if len(ids) > 1:
                logger.warning("stop_sequence has %s tokens: the first one counts", len(ids))
            generate["eos_token_id"] = ids[0]
        return Settings(truncation, generate, bool(return_tensors), clean_up_tokenization_spaces)

    def preprocess(self, inputs: Sequence[Any], settings: Settings) -> list[Example]:
        """Tokenize texts, with the prefix that the configuration asks for."""
        for each in inputs:
            if not isinstance(each, str):
                raise TypeError(f"an input must be a string, but is {each!r}")
        texts = [(self.prefix or "") + text for text in inputs]
        rows = self.tokenize(texts, truncation=settings.truncation)
        for row in rows:
            self.check_lengths(len(row["input_ids"]), settings.generate)
        return [Example([row]) for row in rows]

    def check_lengths(self, input_length: int, generate: dict[str, Any]) -> None:
        """Warn of lengths that do not fit the task."""

    def run(self, rows: Sequence[Row], settings: Settings) -> list[Outputs]:
        """Write for a batch of texts."""
        rows = [
            {name: row[name] for name in ("input_ids", "attention_mask") if name in row}
            for row in rows
        ]
        return self.generate(rows, settings.generate)

    def postprocess(self, example: Example, outputs: list[Outputs], settings: Settings) -> Any:
        """Decode sequences."""
        sequences = outputs[0]["sequences"].tolist()
        if settings.return_tensors:
            return [{f"{self.return_name}_token_ids": sequence} for sequence in sequences]
        texts = [self.tokenizer.decode(each, skip_special_tokens=True) for each in sequences]
        if settings.clean_up:
            texts = [self.tokenizer.clean_up_tokenization(text) for text in texts]
        return [{f"{self.return_name}_text": text} for text in texts]

    def limit(self, name: str, generate: dict[str, Any]) -> int:
        """Return ``max_length`` or ``min_length``, of the call or of the model."""
        return generate.get(name) or getattr(self.generation_config, name) or 0
