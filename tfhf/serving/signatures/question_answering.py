"""Questions and texts in, the parts of the texts that answer them out."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from transformers import PreTrainedTokenizerBase

from tfhf.modeling import TFPreTrainedModel
from tfhf.serving.signatures.signature import (
    TEXT,
    Signature,
    Tensors,
    graph_tokenizer,
    place_tokens,
    run_model,
    widen,
)
from tfhf.serving.signatures.token_text import characters_of, text_at
from tfhf.serving.signatures.word_starts import WordStarts
from tfhf.tokenization.graph import UnsupportedTokenizerError
from tfhf.tokenization.graph.assembly import InputAssembler, truncate

#: The logit of a token that can be in no answer.
IMPOSSIBLE = -10000.0
#: Pieces of contexts that the model reads at a time.
PIECES_AT_ONCE = 32


class Pieces(NamedTuple):
    """Parts of contexts, each of which the model reads with its question: int64 [pieces] each.

    Attributes:
        row: which context of the batch they are of.
        start: their first token, counted from that of the first context.
        limit: the token after their last.
    """

    row: tf.Tensor
    start: tf.Tensor
    limit: tf.Tensor


class Spans(NamedTuple):
    """Spans of tokens in pieces: vectors, one entry for each.

    Attributes:
        piece: int64, the piece.
        first: int64, the first token, counted from that of the piece.
        last: int64, the last token.
        score: float32, how likely an answer starts and ends there.
    """

    piece: tf.Tensor
    first: tf.Tensor
    last: tf.Tensor
    score: tf.Tensor


class Answers(NamedTuple):
    """Answers in the order of contexts: vectors, one entry for each.

    Attributes:
        row: int64, which context of the batch they are in.
        score: float32.
        start: int32, their first character.
        end: int32, the one after their last.
        answer: strings.
    """

    row: tf.Tensor
    score: tf.Tensor
    start: tf.Tensor
    end: tf.Tensor
    answer: tf.Tensor


def question_answering(
    model: TFPreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    top_k: int = 1,
    doc_stride: int | None = None,
    max_answer_len: int = 15,
    max_seq_len: int | None = None,
    handle_impossible_answer: bool = False,
    align_to_words: bool = True,
) -> Signature:
    """Make the signature of a model that finds answers in texts.

    ``question`` and ``context`` (strings [batch]) -> ``answer`` (strings), ``score`` (float32),
    ``start`` and ``end`` (int32, in characters of the context), all of them [batch, top_k], the
    highest score first, and ``count`` (int32 [batch]): how many answers there are. What is beyond
    that is zero or empty.

    Long contexts are read in pieces, as in `QuestionAnsweringPipeline`. A question that leaves no
    room for them, which the pipeline refuses, is cut.

    Args:
        model: a model that marks starts and ends.
        tokenizer: its tokenizer, which pads and truncates on the right.
        top_k: how many answers there may be.
        doc_stride: tokens that neighbouring pieces share; default: 128, at most half a piece.
        max_answer_len: tokens that an answer has at most.
        max_seq_len: tokens in a piece, with the question; default: 384, at most what the tokenizer
            and the model allow.
        handle_impossible_answer: let the empty answer compete, with the score of the first token.
        align_to_words: widen answers to whole words.

    Raises:
        UnsupportedTokenizerError: it does not pad and truncate on the right, or TensorFlow
            operations cannot tell exactly where its tokens or its words are.
        ValueError: a setting is impossible.
    """
    for name, value in (("top_k", top_k), ("max_answer_len", max_answer_len)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, but is {value}")
    graph = graph_tokenizer(model, tokenizer, padding=False, truncation=False)
    sides = (graph.assembler.settings.padding_side, graph.assembler.settings.truncation_side)
    if sides != ("right", "right"):
        raise UnsupportedTokenizerError("sides of padding and truncation", str(sides), "right")
    if graph.assembler.pair is None:
        raise UnsupportedTokenizerError("template for pairs", "missing", "one with both texts")
    limit = graph.assembler.max_length
    length = min(limit or 384, 384) if max_seq_len is None else max_seq_len
    stride = min(length // 2, 128) if doc_stride is None else doc_stride
    room = length - (len(graph.assembler.pair) - 2)
    if limit is not None and length > limit:
        raise ValueError(f"max_seq_len is {length}, but model and tokenizer allow {limit} tokens")
    if not 0 <= stride < room:
        raise ValueError(
            f"doc_stride must be from 0 to {room - 1}, so that pieces of {length} tokens have room "
            f"for more than what they share, but is {stride}"
        )
    pad = dataclasses.replace(graph.assembler, padding="longest")
    words = WordStarts(tokenizer) if align_to_words else None
    # Widening to words may make several spans one.
    num_spans = top_k * 2 + 10 if align_to_words else top_k

    @tf.function(autograph=False)
    def answer(question: tf.Tensor, context: tf.Tensor) -> Tensors:
        (asked,) = graph.tokenize(question)
        ids, places = place_tokens(graph, context)
        fits = asked.row_lengths() + ids.row_lengths() <= room
        most = tf.where(fits, tf.constant(room, tf.int64), room - stride - 1)
        (asked,) = truncate([asked], most, "right")
        pieces = _pieces(ids, room - asked.row_lengths(), stride)
        starts, ends, of_none = _probabilities(
            model, pad, tokenizer.cls_token_id, asked, ids, pieces
        )
        spans = _best_spans(starts, ends, num_spans, max_answer_len)
        pieces_of_spans = Pieces(*(tf.gather(value, spans.piece) for value in pieces))
        first = pieces_of_spans.start + spans.first
        last = pieces_of_spans.start + spans.last
        if words is not None:
            first, last = _widen_to_words(words(ids).values, first, last, pieces_of_spans)
        start, end = tf.gather(places.values[:, 0], first), tf.gather(places.values[:, 1], last)
        row = pieces_of_spans.row
        text = text_at(characters_of(context), row, start, end)
        answers = _join_equal(Answers(row, spans.score, start, end, text))
        batch = tf.size(context)
        of_none = tf.math.unsorted_segment_min(of_none, pieces.row, batch)
        return _rank(answers, of_none if handle_impossible_answer else None, batch, top_k)

    texts = {"question": tf.constant(["What is it?"]), "context": tf.constant(["A warm-up."])}
    return Signature(
        answer.get_concrete_function(**dict.fromkeys(texts, TEXT)),
        warmup=[texts],
        tracked=(graph,) if words is None else (graph, words),
    )


def _pieces(ids: tf.RaggedTensor, room: tf.Tensor, stride: int) -> Pieces:
    """Part contexts into pieces of `room` [batch] tokens that share `stride` with the next one."""
    length = ids.row_lengths()
    step = tf.maximum(room - stride, 1)  # a context that fits may have less room than that
    count = 1 + tf.maximum(length - room + step - 1, 0) // step
    number = tf.ragged.range(count)
    row = number.value_rowids()
    start = number.values * tf.gather(step, row)
    limit = tf.minimum(start + tf.gather(room, row), tf.gather(length, row))
    first = tf.gather(ids.row_starts(), row)
    return Pieces(row, first + start, first + limit)


def _probabilities(
    model: TFPreTrainedModel,
    pad: InputAssembler,
    cls_id: int | None,
    asked: tf.RaggedTensor,
    ids: tf.RaggedTensor,
    pieces: Pieces,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Read pieces, and return how likely an answer starts and ends at each of their tokens.

    Returns:
        float32 [pieces, tokens] for starts and for ends, 0 beyond a piece; and float32 [pieces],
        how likely there is no answer in a piece.
    """
    places = tf.ragged.range(pieces.start, pieces.limit)
    asked = tf.gather(asked, pieces.row)
    tokens = pad([asked, places.with_values(tf.gather(ids.values, places.values))])
    tokens = {name: widen(value) for name, value in tokens.items()}
    assert pad.pair is not None  # or there would be no signature
    before = next(i for i, slot in enumerate(pad.pair) if slot.text == 1) - 1
    first = before + asked.row_lengths()[:, None]
    limit = first + places.row_lengths()[:, None]
    width = tf.shape(tokens["input_ids"], tf.int64)[1]
    column = tf.range(width)
    possible = (column >= first) & (column < limit)
    if cls_id is not None:
        possible |= tokens["input_ids"] == cls_id  # where it means "no answer"
    seen = (column < limit + len(pad.pair) - 2 - before) | (column == 0)
    place = first + tf.range(tf.reduce_max(tf.concat([places.row_lengths(), [0]], axis=0)))
    # The first token starts no answer, whatever it is.
    inside = (place < limit) & (place > 0)
    probabilities = []
    for logits in _read(model, tokens):
        logits = tf.where(seen, tf.where(possible, logits, IMPOSSIBLE), -np.inf)
        probabilities.append(tf.nn.softmax(logits))
    starts, ends = (
        tf.where(inside, tf.gather(each, tf.minimum(place, width - 1), batch_dims=1), 0.0)
        for each in probabilities
    )
    return starts, ends, probabilities[0][:, 0] * probabilities[1][:, 0]


def _read(model: TFPreTrainedModel, tokens: Tensors) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the logits of starts and ends, [pieces, length] each, a few pieces at a time."""
    count, width = tf.unstack(tf.shape(tokens["input_ids"]))

    def read(done: tf.Tensor, start: tf.Tensor, end: tf.Tensor) -> tuple[tf.Tensor, ...]:
        some = {name: value[done : done + PIECES_AT_ONCE] for name, value in tokens.items()}
        outputs = run_model(model, some)
        start = tf.concat([start, tf.cast(outputs.start_logits, tf.float32)], axis=0)
        end = tf.concat([end, tf.cast(outputs.end_logits, tf.float32)], axis=0)
        return done + PIECES_AT_ONCE, start, end

    none = tf.zeros([0, width])
    of_any_length = tf.TensorShape([None, None])
    _, start, end = tf.while_loop(
        lambda done, *_: done < count,
        read,
        [tf.constant(0), none, none],
        shape_invariants=[tf.TensorShape([]), of_any_length, of_any_length],
    )
    return start, end


def _best_spans(start: tf.Tensor, end: tf.Tensor, count: int, max_answer_len: int) -> Spans:
    """Find the spans of tokens in each piece whose ends are the most likely together."""
    length = tf.shape(start)[1]
    last = tf.range(length)[:, None] + tf.range(max_answer_len)
    ends = tf.gather(tf.pad(end, [[0, 0], [0, max_answer_len]]), last, axis=1)
    num_spans = length * max_answer_len
    scores = tf.reshape(start[:, :, None] * ends, [tf.shape(start)[0], num_spans])
    score, span = tf.math.top_k(scores, tf.minimum(count, num_spans))
    found = score > 0
    piece, span = tf.where(found)[:, 0], tf.cast(tf.boolean_mask(span, found), tf.int64)
    first = span // max_answer_len
    return Spans(piece, first, first + span % max_answer_len, tf.boolean_mask(score, found))


def _widen_to_words(
    begins: tf.Tensor, first: tf.Tensor, last: tf.Tensor, pieces: Pieces
) -> tuple[tf.Tensor, tf.Tensor]:
    """Widen spans of tokens to words, or to what a piece has of them."""
    word = tf.cumsum(tf.cast(begins, tf.int64)) - 1
    starts = tf.where(begins)[:, 0]
    limits = tf.concat([starts[1:], [tf.size(begins, tf.int64)]], axis=0)
    first = tf.gather(starts, tf.gather(word, first))
    limit = tf.gather(limits, tf.gather(word, last))
    return (
        tf.maximum(first, pieces.start),
        tf.minimum(limit, pieces.limit) - 1,
    )


def _join_equal(answers: Answers) -> Answers:
    """Add the scores of what is the same text, case aside, to the first of them."""
    text = tf.strings.regex_replace(answers.answer, "\\x{0}", "\uffff")  # NUL would end it there
    text = tf.strings.lower(text, encoding="utf-8")
    key = tf.strings.join([tf.strings.as_string(answers.row), text], separator=" ")
    keys, number = tf.unique(key)
    place = tf.range(tf.size(key))
    first = tf.math.unsorted_segment_min(place, number, tf.size(keys))
    score = tf.math.unsorted_segment_sum(answers.score, number, tf.size(keys))
    return Answers(*(tf.gather(value, first) for value in answers))._replace(score=score)


def _rank(answers: Answers, of_none: tf.Tensor | None, batch: tf.Tensor, top_k: int) -> Tensors:
    """Order the answers of each context, and the empty one if it has a score, the best first."""
    count = tf.math.bincount(tf.cast(answers.row, tf.int32), minlength=batch)
    rows = {
        name: tf.RaggedTensor.from_row_lengths(value, count, validate=False)
        for name, value in answers._asdict().items()
        if name != "row"
    }
    if of_none is not None:
        rows = _with_empty(rows, of_none[:, None])
    rows = _with_empty(rows, tf.fill([batch, top_k], -1.0))  # so that there are enough
    # No contexts have no row that is as wide.
    shape = tf.stack([-1, tf.maximum(rows["score"].bounding_shape(1), top_k)])
    score, place = tf.math.top_k(rows["score"].to_tensor(-1.0, shape=shape), top_k)
    ranked = {
        name: tf.gather(row.to_tensor(shape=shape), place, batch_dims=1)
        for name, row in rows.items()
    }
    count = tf.math.count_nonzero(score >= 0, axis=1, dtype=tf.int32)
    return ranked | {"score": tf.maximum(score, 0.0), "count": count}


def _with_empty(rows: dict[str, tf.RaggedTensor], score: tf.Tensor) -> dict[str, tf.RaggedTensor]:
    """Append empty answers with these scores [batch, answers]."""
    zeros = tf.zeros_like(score, tf.int32)
    empty = {"score": score, "start": zeros, "end": zeros, "answer": tf.fill(tf.shape(score), "")}
    return {name: tf.concat([row, empty[name]], axis=1) for name, row in rows.items()}
