"""Texts in, the entities in them out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf
from transformers import PreTrainedTokenizerBase

from tfhf.modeling import TFPreTrainedModel
from tfhf.serving.signatures.signature import (
    TEXT,
    Signature,
    Tensors,
    by_row,
    first_place,
    graph_tokenizer,
    place_tokens,
    run_model,
)
from tfhf.serving.signatures.token_text import TokenText, characters_of, text_at
from tfhf.tokenization.graph import GraphTokenizer

STRATEGIES = ("none", "simple", "first", "average", "max")
WORD_STRATEGIES = STRATEGIES[2:]
SPACE = ord(" ")


class Parts(NamedTuple):
    """Parts of texts, tokens at first and then what they make up: vectors, one entry for each.

    They lie in the order of texts, and within a text from its beginning to its end.

    Attributes:
        row: int64, which text of the batch they are in.
        word: strings, how they are written.
        start: int32, their first character.
        end: int32, the one after their last.
    """

    row: tf.Tensor
    word: tf.Tensor
    start: tf.Tensor
    end: tf.Tensor


def token_classification(
    model: TFPreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    aggregation_strategy: str = "none",
    ignore_labels: Sequence[str] = ("O",),
) -> Signature:
    """Make the signature of a token classifier.

    ``text`` (strings [batch]) -> ``entity`` (strings), ``score`` (float32), ``index`` (int32, the
    number of the token), ``word`` (strings), ``start`` and ``end`` (int32, in characters), all of
    them [batch, entities], and ``count`` (int32 [batch]): how many entities a text has. What is
    beyond that is zero or empty. With an aggregation strategy, ``entity_group`` comes in place of
    ``entity``, and there is no ``index``.

    Args:
        model: a token classifier.
        tokenizer: its tokenizer.
        aggregation_strategy: how tokens become entities, as in `TokenClassificationPipeline`:
            ``"none"``, ``"simple"``, ``"first"``, ``"average"`` or ``"max"``.
        ignore_labels: labels that do not count.

    Raises:
        UnsupportedTokenizerError: TensorFlow operations cannot tell exactly where its tokens are,
            or how its decoder joins them.
        ValueError: there is no such strategy.
    """
    if aggregation_strategy not in STRATEGIES:
        raise ValueError(
            f"aggregation_strategy must be one of {', '.join(STRATEGIES)}, not "
            f"{aggregation_strategy!r}"
        )
    grouped = aggregation_strategy != "none"
    labels = [model.config.id2label[i] for i in range(model.config.num_labels)]
    names = [label.split("-", 1)[-1] for label in labels] if grouped else labels
    counts = [name not in ignore_labels for name in names]
    graph = graph_tokenizer(model, tokenizer, padding=False)
    pad = dataclasses.replace(graph.assembler, padding="longest")
    token_text = TokenText(tokenizer)

    @tf.function(autograph=False)
    def classify(text: tf.Tensor) -> Tensors:
        ids, spans = place_tokens(graph, text)
        tokens = pad([ids])
        place, index = _places(ids, tf.shape(tokens["input_ids"])[1], graph)
        logits = tf.gather_nd(run_model(model, tokens).logits, place)
        scores = tf.nn.softmax(tf.cast(logits, tf.float32))
        parts, continues = _read(characters_of(text), ids, spans, token_text)
        if aggregation_strategy in WORD_STRATEGIES:
            begins = ~continues | _changes(parts.row)
            scores = _of_words(scores, begins, aggregation_strategy)
            parts = _join(parts, begins, token_text)
        label, score = tf.argmax(scores, axis=1), tf.reduce_max(scores, axis=1)
        if grouped:
            begins = _begins_group(label, labels) | _changes(parts.row)
            score = tf.math.segment_mean(score, _number(begins))
            label = tf.boolean_mask(label, begins)
            parts = _join(parts, begins, token_text)
        values = {"entity_group" if grouped else "entity": tf.gather(tf.constant(names), label)}
        values |= {"score": score} | parts._asdict() | ({} if grouped else {"index": index})
        counted = tf.gather(tf.constant(counts), label)
        values = {name: tf.boolean_mask(value, counted) for name, value in values.items()}
        row = values.pop("row")
        return by_row(values, tf.math.bincount(tf.cast(row, tf.int32), minlength=tf.size(text)))

    return Signature(
        classify.get_concrete_function(text=TEXT),
        warmup=[{"text": tf.constant(["warm-up"])}],
        tracked=(graph, token_text),
        facts={"labels": labels, "aggregation_strategy": aggregation_strategy},
    )


def _places(
    ids: tf.RaggedTensor, width: tf.Tensor, graph: GraphTokenizer
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return where the tokens of texts are in the batch, [tokens, 2], and in their own rows."""
    num_special = len(graph.assembler.single) - 1
    index = tf.ragged.range(ids.row_lengths()).values + first_place(graph)
    row = ids.value_rowids()
    column = index
    if graph.assembler.settings.padding_side == "left":
        missing = tf.cast(width, tf.int64) - ids.row_lengths() - num_special
        column += tf.gather(missing, row)
    return tf.stack([row, column], axis=1), tf.cast(index, tf.int32)


def _read(
    characters: tf.RaggedTensor, ids: tf.RaggedTensor, spans: tf.RaggedTensor, names: TokenText
) -> tuple[Parts, tf.Tensor]:
    """Return tokens, and which of them continue a word."""
    row = ids.value_rowids()
    start, end = tf.unstack(spans.values, axis=1)
    is_unknown = ids.values == (-1 if names.unknown_id is None else names.unknown_id)
    word = tf.where(is_unknown, text_at(characters, row, start, end), names.names(ids.values))
    if names.shows_words:
        continues = names.lengths(ids.values) != end - start
    else:
        continues = (start > 0) & ~_has_space(characters, row, start)
    return Parts(row, word, start, end), continues & ~is_unknown


def _has_space(characters: tf.RaggedTensor, row: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """Say whether there is a space at a place in a text, or right before it."""
    is_space = tf.concat([characters.values == SPACE, [False]], axis=0)
    place = tf.gather(characters.row_starts(), row) + tf.cast(place, tf.int64)
    inside = place < tf.gather(characters.row_limits(), row)
    return tf.gather(is_space, place) & inside | tf.gather(is_space, tf.maximum(place - 1, 0))


def _of_words(scores: tf.Tensor, begins: tf.Tensor, strategy: str) -> tf.Tensor:
    """Return the scores [words, labels] of words, of those of their tokens."""
    if strategy == "first":
        return tf.boolean_mask(scores, begins)
    word = _number(begins)
    if strategy == "average":
        return tf.math.segment_mean(scores, word)
    surest = tf.reduce_max(scores, axis=1)
    is_surest = surest == tf.gather(tf.math.segment_max(surest, word), word)
    place = tf.range(tf.size(word))
    return tf.gather(scores, tf.math.segment_min(tf.where(is_surest, place, tf.size(word)), word))


def _begins_group(label: tf.Tensor, labels: Sequence[str]) -> tf.Tensor:
    """Say which of neighbours have another label than the one before, ``B-`` and ``I-`` aside."""
    tags = [name[2:] if name[:2] in ("B-", "I-") else name for name in labels]
    tag = tf.gather(tf.constant([tags.index(tag) for tag in tags]), label)
    is_begin = tf.gather(tf.constant([name.startswith("B-") for name in labels]), label)
    return is_begin | _changes(tag)


def _join(parts: Parts, begins: tf.Tensor, token_text: TokenText) -> Parts:
    """Join parts with those after them, up to the next one that begins something."""
    ends = tf.roll(begins, -1, axis=0)  # the first one always begins
    word = token_text.join(parts.word, _number(begins), tf.math.count_nonzero(begins))
    row, start = (tf.boolean_mask(value, begins) for value in (parts.row, parts.start))
    return Parts(row, word, start, tf.boolean_mask(parts.end, ends))


def _number(begins: tf.Tensor) -> tf.Tensor:
    """Number what begins: int32, from 0."""
    return tf.cumsum(tf.cast(begins, tf.int32)) - 1


def _changes(values: tf.Tensor) -> tf.Tensor:
    """Say which values differ from the one before; the first one does."""
    return tf.concat([tf.ones_like(values[:1], tf.bool), values[1:] != values[:-1]], axis=0)
