"""Labels for tokens, and the entities that neighbouring tokens make up."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfhf.auto import TFAutoModelForTokenClassification
from tfhf.pipelines.base import Example, Outputs, Pipeline, softmax

#: How tokens become entities; the last three first make words of tokens.
STRATEGIES = ("none", "simple", "first", "average", "max")
WORD_STRATEGIES = STRATEGIES[2:]

Entity = dict[str, Any]


@dataclass(frozen=True)
class _Settings:
    strategy: str
    ignore_labels: tuple[str, ...]
    stride: int | None
    delimiter: str | None
    offsets: Iterator[Any] | None


@dataclass
class _Text:
    """A text, and per row where its tokens are in it."""

    text: str
    offsets: list[Any]
    special: list[list[int]]


class TokenClassificationPipeline(Pipeline):
    """``"token-classification"``, also ``"ner"``: a label for every token, or entities.

    An input is a text. Its result is a list of ``{"entity", "score", "index", "word", "start",
    "end"}``, one for each token whose label counts; ``text[start:end]`` is the token. With an
    aggregation strategy, entities come in place of tokens: ``{"entity_group", "score", "word",
    "start", "end"}``. Tokens belong together if they have the same label, ``B-`` and ``I-`` aside,
    and none but the first has ``B-``.

    Options:
        aggregation_strategy: ``"none"``; ``"simple"``: entities of tokens, which may split words;
            ``"first"``, ``"average"``, ``"max"``: entities of words, whose label is that of the
            first token, that of the mean of all tokens' scores, or that of the surest token.
        ignore_labels: labels that do not count; default ``["O"]``.
        stride: read long texts in pieces, which share so many tokens; without it, they are cut.
        is_split_into_words: an input is a list of words.
        delimiter: what stands between these words for ``start`` and ``end``; default a space.
        offset_mapping: for each text the place of each token, for tokenizers that cannot tell.
        grouped_entities, ignore_subwords: older spellings of ``"simple"`` and, both, ``"first"``.

    Example:
        >>> import tfhf
        >>> ner = tfhf.pipeline("ner", aggregation_strategy="simple")  # doctest: +SKIP
        >>> ner("I work at Hugging Face.")  # doctest: +SKIP
        [{'entity_group': 'ORG', 'score': 0.99, 'word': 'Hugging Face', 'start': 10, 'end': 22}]
    """

    auto_class = TFAutoModelForTokenClassification
    per_token = True

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """Label one text, a list, or what an iterable yields; see the class."""
        if inputs is None or (isinstance(inputs, list | tuple) and not inputs):
            raise ValueError("At least one input is required.")
        mapping = options.get("offset_mapping")
        if mapping:
            if isinstance(mapping[0], tuple):
                options["offset_mapping"] = mapping = [mapping]
            if len(mapping) != (len(inputs) if isinstance(inputs, list | tuple) else 1):
                raise ValueError("offset_mapping must have the places of as many texts as inputs")
        split = options.get("is_split_into_words", self.options.get("is_split_into_words"))
        words = isinstance(inputs, list) and not all(isinstance(each, list) for each in inputs)
        return super().__call__([inputs] if split and words else inputs, **options)

    def settle(
        self,
        *,
        aggregation_strategy: str | None = None,
        ignore_labels: Sequence[str] | None = None,
        stride: int | None = None,
        is_split_into_words: bool = False,
        delimiter: str | None = None,
        offset_mapping: Any = None,
        grouped_entities: bool | None = None,
        ignore_subwords: bool | None = None,
    ) -> _Settings:
        """Check the options."""
        strategy = str(aggregation_strategy or "none").lower()
        if grouped_entities is not None or ignore_subwords is not None:
            strategy = ("first" if ignore_subwords else "simple") if grouped_entities else "none"
            warnings.warn(
                "grouped_entities and ignore_subwords are deprecated: "
                f"use aggregation_strategy={strategy!r}",
                UserWarning,
                stacklevel=3,
            )
        if strategy not in STRATEGIES:
            raise ValueError(
                f"aggregation_strategy must be one of {', '.join(STRATEGIES)}, not "
                f"{aggregation_strategy!r}"
            )
        if not self.tokenizer.is_fast and strategy in WORD_STRATEGIES:
            raise ValueError(
                f"aggregation_strategy={strategy!r} needs a fast tokenizer, which knows words: "
                'use "simple"'
            )
        if not self.tokenizer.is_fast and (stride is not None or is_split_into_words):
            raise ValueError("stride and is_split_into_words need a fast tokenizer")
        if stride is not None and stride >= self.tokenizer.model_max_length:
            raise ValueError(
                f"stride must be less than tokenizer.model_max_length, but is {stride}, not less "
                f"than {self.tokenizer.model_max_length}"
            )
        if stride is not None and strategy == "none":
            raise ValueError("stride needs an aggregation_strategy other than 'none'")
        between = " " if delimiter is None else delimiter
        return _Settings(
            strategy,
            ("O",) if ignore_labels is None else tuple(ignore_labels),
            stride,
            between if is_split_into_words else None,
            iter(offset_mapping) if offset_mapping else None,
        )

    def preprocess(self, inputs: Sequence[Any], settings: _Settings) -> list[Example]:
        """Tokenize texts, in pieces where there is a stride."""
        split = settings.delimiter is not None
        for each in inputs:
            if not isinstance(each, list if split else str):
                expected = "a list of words" if split else "a string"
                raise ValueError(
                    f"with is_split_into_words={split}, an input must be {expected}, "
                    f"but is {each!r}"
                )
        options: dict[str, Any] = {}
        if settings.stride is not None:
            options = {"return_overflowing_tokens": True, "stride": settings.stride}
        tokens = self.tokenizer(
            list(inputs),
            is_split_into_words=split,
            truncation=self.tokenizer.model_max_length > 0,
            return_special_tokens_mask=True,
            return_offsets_mapping=self.tokenizer.is_fast,
            **options,
        )
        examples = [Example([], _Text(_joined(each, settings), [], [])) for each in inputs]
        pieces = len(tokens["input_ids"])
        for i, k in enumerate(tokens.get("overflow_to_sample_mapping", range(pieces))):
            example = examples[k]
            example.rows.append({name: tokens[name][i] for name in self._signature})
            example.source.special.append(tokens["special_tokens_mask"][i])
            offsets = tokens["offset_mapping"][i] if self.tokenizer.is_fast else None
            if settings.delimiter is not None:
                offsets = _in_text(offsets, tokens.word_ids(i), inputs[k], settings.delimiter)
            if settings.offsets is not None:
                offsets = next(settings.offsets)
            example.source.offsets.append(offsets)
        return examples

    def postprocess(self, example: Example, outputs: list[Outputs], settings: _Settings) -> Any:
        """Make entities of scores, piece by piece."""
        found: list[Entity] = []
        for i, row in enumerate(example.rows):
            scores = softmax(outputs[i]["logits"])
            tokens = list(self._tokens(example.source, i, row["input_ids"], scores, settings))
            found.extend(
                entity
                for entity in self.aggregate(tokens, settings.strategy)
                if entity.get("entity", entity.get("entity_group")) not in settings.ignore_labels
            )
        return _without_overlaps(found) if len(example.rows) > 1 else found

    def aggregate(self, tokens: list[Entity], strategy: str) -> list[Entity]:
        """Make entities of tokens: dictionaries with ``scores``, ``word``, ``is_subword``, …."""
        if strategy in WORD_STRATEGIES:
            words: list[list[Entity]] = []
            for token in tokens:
                if token["is_subword"] and words:
                    words[-1].append(token)
                else:
                    words.append([token])
            return self._groups([self._word(word, strategy) for word in words])
        entities = [
            self._label(token["scores"])
            | {name: token[name] for name in ("index", "word", "start", "end")}
            for token in tokens
        ]
        return entities if strategy == "none" else self._groups(entities)

    def _tokens(
        self, source: _Text, piece: int, ids: list[int], scores: np.ndarray, settings: _Settings
    ) -> Iterator[Entity]:
        """Give the tokens of a piece that are part of the text."""
        knows_words = self._knows_words()
        if not knows_words and settings.strategy in WORD_STRATEGIES:
            warnings.warn(
                "the tokenizer does not know words: spaces tell them apart",
                UserWarning,
                stacklevel=2,
            )
        offsets = source.offsets[piece]
        for index, (token_id, special) in enumerate(zip(ids, source.special[piece])):
            if special:
                continue
            word, start, end = self.tokenizer.convert_ids_to_tokens(int(token_id)), None, None
            is_subword = False
            if offsets is not None:
                start, end = (int(place) for place in offsets[index])
                written = source.text[start:end]
                if token_id == self.tokenizer.unk_token_id:
                    word = written
                elif knows_words:
                    is_subword = len(word) != len(written)
                else:
                    is_subword = start > 0 and " " not in source.text[start - 1 : start + 1]
            yield {
                "scores": scores[index],
                "index": index,
                "word": word,
                "start": start,
                "end": end,
                "is_subword": is_subword,
            }

    def _knows_words(self) -> bool:
        """Whether tokens show that they continue a word, as BERT's ``##ing`` does."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        return bool(backend and getattr(backend.model, "continuing_subword_prefix", None))

    def _label(self, scores: np.ndarray) -> Entity:
        best = int(scores.argmax())
        return {"entity": self.model.config.id2label[best], "score": float(scores[best])}

    def _word(self, tokens: list[Entity], strategy: str) -> Entity:
        if strategy == "first":
            scores = tokens[0]["scores"]
        elif strategy == "max":
            scores = max((token["scores"] for token in tokens), key=np.max)
        else:
            scores = np.nanmean(np.stack([token["scores"] for token in tokens]), axis=0)
        return self._label(scores) | self._span(tokens)

    def _groups(self, entities: list[Entity]) -> list[Entity]:
        """Join neighbours with the same label."""
        groups: list[list[Entity]] = []
        for entity in entities:
            begins, label = _label_parts(entity["entity"])
            if groups and not begins and label == _label_parts(groups[-1][-1]["entity"])[1]:
                groups[-1].append(entity)
            else:
                groups.append([entity])
        return [
            {
                "entity_group": group[0]["entity"].split("-", 1)[-1],
                "score": float(np.nanmean([entity["score"] for entity in group])),
            }
            | self._span(group)
            for group in groups
        ]

    def _span(self, parts: list[Entity]) -> Entity:
        return {
            "word": self.tokenizer.convert_tokens_to_string([part["word"] for part in parts]),
            "start": parts[0]["start"],
            "end": parts[-1]["end"],
        }


def _joined(each: Any, settings: _Settings) -> str:
    return each if settings.delimiter is None else settings.delimiter.join(each)


def _in_text(
    offsets: Any, word_ids: list[int | None], words: list[str], delimiter: str
) -> list[tuple[int, int]]:
    """Return places in the joined text for places in words."""
    starts = np.cumsum([0, *(len(word) + len(delimiter) for word in words)])
    shifts = [0 if word is None else int(starts[word]) for word in word_ids]
    return [(start + shift, end + shift) for (start, end), shift in zip(offsets, shifts)]


def _label_parts(label: str) -> tuple[bool, str]:
    """Return whether a label begins an entity, and the label without B- or I-."""
    return label.startswith("B-"), label[2:] if label[:2] in ("B-", "I-") else label


def _without_overlaps(entities: list[Entity]) -> list[Entity]:
    """Keep the longest of entities that overlap, and of equally long ones the surest."""
    kept: list[Entity] = []
    for entity in sorted(entities, key=lambda entity: entity["start"]):
        last = kept[-1] if kept else None
        if last is None or not last["start"] <= entity["start"] < last["end"]:
            kept.append(entity)
        elif _weight(entity) > _weight(last):
            kept[-1] = entity
    return kept


def _weight(entity: Entity) -> tuple[int, float]:
    return entity["end"] - entity["start"], entity["score"]
