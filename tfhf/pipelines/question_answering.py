"""The place in a text that answers a question."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfhf.auto import TFAutoModelForQuestionAnswering
from tfhf.pipelines.base import Example, Outputs, Pipeline

#: The logit of a token that can be in no answer.
IMPOSSIBLE = -10000.0

Answer = dict[str, Any]


@dataclass(frozen=True)
class _Settings:
    top_k: int
    doc_stride: int
    max_answer_len: int
    max_seq_len: int
    handle_impossible_answer: bool
    align_to_words: bool


@dataclass
class _Source:
    """A context, and per row its encoding and which of its tokens may be in an answer."""

    context: str
    encodings: list[Any]
    possible: list[np.ndarray]


class QuestionAnsweringPipeline(Pipeline):
    """``"question-answering"``: the part of a context that answers a question.

    An input is ``{"question": …, "context": …}``; both may also be given by name, each a text or
    a list. Its result is ``{"score", "start", "end", "answer"}``, where ``context[start:end]`` is
    the answer; it is a list of these if there are several.

    Contexts that are too long are read in pieces. The tokens of a span score as the product of
    the probabilities of its ends (Chen et al., 2017, https://arxiv.org/abs/1704.00051).

    Options:
        top_k: how many answers there may be.
        doc_stride: tokens that neighbouring pieces share; default: 128, at most half a piece.
        max_answer_len: tokens that an answer has at most.
        max_seq_len: tokens in a piece, with the question; default: 384, at most what the
            tokenizer says.
        max_question_len: taken and not needed: fast tokenizers never cut the question.
        handle_impossible_answer: let the empty answer compete, with the score of the first token.
        align_to_words: widen answers to whole words.
        padding: taken and not needed: it changes no answer.

    Example:
        >>> import tfhf
        >>> oracle = tfhf.pipeline("question-answering")  # doctest: +SKIP
        >>> oracle(question="Where do I live?", context="I live in Berlin.")  # doctest: +SKIP
        {'score': 0.98, 'start': 10, 'end': 16, 'answer': 'Berlin'}
    """

    auto_class = TFAutoModelForQuestionAnswering
    per_token = True

    def __call__(
        self,
        inputs: Any = None,
        *more: Any,
        question: str | list[str] | None = None,
        context: str | list[str] | None = None,
        **options: Any,
    ) -> Any:
        """Answer one question, a list, or what an iterable yields; see the class.

        Raises:
            KeyError: an input lacks its question or its context.
            ValueError: there is no input, or one that is empty or of another type.
        """
        if inputs is None:
            inputs = _paired(question, context)
        elif more:
            both = len(more) == 1 and isinstance(inputs, str) and isinstance(more[0], str)
            inputs = {"question": inputs, "context": more[0]} if both else [inputs, *more]
        if isinstance(inputs, list | tuple) and len(inputs) == 1:
            inputs = inputs[0]
        if not isinstance(inputs, Iterable) or isinstance(inputs, str):
            raise ValueError(f"an input must be {{'question': …, 'context': …}}, but is {inputs!r}")
        return super().__call__(inputs, **options)

    def settle(
        self,
        *,
        top_k: int | None = None,
        doc_stride: int | None = None,
        max_answer_len: int | None = None,
        max_seq_len: int | None = None,
        max_question_len: int | None = None,
        handle_impossible_answer: bool | None = None,
        align_to_words: bool | None = None,
        padding: Any = None,
        topk: int | None = None,
    ) -> _Settings:
        """Check the options."""
        if topk is not None:
            warnings.warn("topk is deprecated: use top_k", UserWarning, stacklevel=3)
            top_k = topk if top_k is None else top_k
        for name, value in (("top_k", top_k), ("max_answer_len", max_answer_len)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, but is {value}")
        if not self.tokenizer.is_fast:
            raise ValueError(
                "question-answering needs a fast tokenizer, which knows where tokens are in the "
                f"text, but {type(self.tokenizer).__name__} is none"
            )
        length = min(self.tokenizer.model_max_length, 384) if max_seq_len is None else max_seq_len
        stride = min(length // 2, 128) if doc_stride is None else doc_stride
        if stride > length:
            raise ValueError(f"doc_stride is {stride}, but must not exceed max_seq_len, {length}")
        return _Settings(
            top_k=top_k or 1,
            doc_stride=stride,
            max_answer_len=max_answer_len or 15,
            max_seq_len=length,
            handle_impossible_answer=bool(handle_impossible_answer),
            align_to_words=align_to_words is not False,
        )

    def preprocess(self, inputs: Sequence[Any], settings: _Settings) -> list[Example]:
        """Tokenize questions and contexts, in pieces where they are long."""
        pairs = [question_and_context(each) for each in inputs]
        question_first = self.tokenizer.padding_side == "right"
        questions, contexts = ([pair[k] for pair in pairs] for k in (0, 1))
        self._check_room(pairs, settings)
        tokens = self.tokenizer(
            *((questions, contexts) if question_first else (contexts, questions)),
            truncation="only_second" if question_first else "only_first",
            max_length=settings.max_seq_len,
            stride=settings.doc_stride,
            return_overflowing_tokens=True,
            return_token_type_ids="token_type_ids" in self._signature,
        )
        examples = [Example([], _Source(context, [], [])) for context in contexts]
        for i, k in enumerate(tokens["overflow_to_sample_mapping"]):
            row = {name: tokens[name][i] for name in self._signature}
            ids = np.array(row["input_ids"])
            possible = np.array([part == int(question_first) for part in tokens.sequence_ids(i)])
            if self.tokenizer.cls_token_id is not None:
                possible |= ids == self.tokenizer.cls_token_id  # stands for "no answer"
            example = examples[k]
            example.rows.append(row)
            example.source.encodings.append(tokens[i])
            example.source.possible.append(possible)
        return examples

    def _check_room(self, pairs: Sequence[tuple[str, str]], settings: _Settings) -> None:
        """Refuse questions that leave a context no more than its pieces share: tokenizers panic."""
        special = self.tokenizer.num_special_tokens_to_add(pair=True)
        for question, context in pairs:
            if len(question.encode()) + special + settings.doc_stride < settings.max_seq_len:
                continue  # no token has less than a byte
            both = self.tokenizer([question, context], add_special_tokens=False)["input_ids"]
            room = settings.max_seq_len - special - len(both[0])
            if len(both[1]) > room and room <= settings.doc_stride:
                raise ValueError(
                    f"doc_stride is {settings.doc_stride}, but must be less than the {room} tokens "
                    f"that a question of {len(both[0])} leaves of max_seq_len, "
                    f"{settings.max_seq_len}: {question[:50]!r}"
                )

    def read(self, outputs: Any, tokens: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Return the scores of starts and ends."""
        return {"start": outputs.start_logits, "end": outputs.end_logits}

    def postprocess(self, example: Example, outputs: list[Outputs], settings: _Settings) -> Any:
        """Find the best spans of all pieces; the same text in several is one answer."""
        context = example.source.context
        part = int(self.tokenizer.padding_side == "right")
        # Widening to words may make several spans one.
        spans = settings.top_k * 2 + 10 if settings.align_to_words else settings.top_k
        answers: dict[str, Answer] = {}
        no_answer = 1000000.0
        for output, encoding, possible in zip(
            outputs, example.source.encodings, example.source.possible
        ):
            start = _probabilities(output["start"], possible)
            end = _probabilities(output["end"], possible)
            no_answer = min(no_answer, float(start[0] * end[0]))
            start[0] = end[0] = 0.0
            found = best_spans(start, end, spans, settings.max_answer_len)
            for first, last, score in zip(*found):
                if not (possible[first] and possible[last]):
                    continue
                left, right = _characters(encoding, first, last, part, settings.align_to_words)
                text = context[left:right]
                if text.lower() in answers:
                    answers[text.lower()]["score"] += float(score)
                else:
                    answers[text.lower()] = {
                        "score": float(score),
                        "start": left,
                        "end": right,
                        "answer": text,
                    }
        ranked = list(answers.values())
        if settings.handle_impossible_answer:
            ranked.append({"score": no_answer, "start": 0, "end": 0, "answer": ""})
        ranked.sort(key=lambda answer: -answer["score"])
        ranked = ranked[: settings.top_k]
        return ranked[0] if len(ranked) == 1 else ranked


def best_spans(
    start: np.ndarray, end: np.ndarray, count: int, max_answer_len: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the first and the last tokens of the best spans, and their scores.

    Args:
        start: float [length], for each token the probability that an answer starts there.
        end: float [length], the same for the end.
        count: how many spans, at most.
        max_answer_len: tokens that a span has at most.

    Example:
        >>> best_spans(np.array([0.1, 0.9]), np.array([0.5, 0.5]), 1, 15)
        (array([1]), array([1]), array([0.45]))
    """
    scores = np.tril(np.triu(start[:, None] * end), max_answer_len - 1).ravel()
    if count == 1:
        order = np.array([scores.argmax()])
    elif len(scores) < count:
        order = np.argsort(-scores)
    else:
        order = np.argpartition(-scores, min(count, len(scores) - 1))[:count]
        order = order[np.argsort(-scores[order])]
    first, last = np.unravel_index(order, (len(start), len(start)))
    return first, last, scores[order]


def _probabilities(logits: np.ndarray, possible: np.ndarray) -> np.ndarray:
    logits = np.where(possible, logits, np.float32(IMPOSSIBLE))
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def _characters(
    encoding: Any, first: int, last: int, part: int, align_to_words: bool
) -> tuple[int, int]:
    """Return the span of characters in the context of a span of tokens."""
    first, last = int(first), int(last)
    if align_to_words:
        words = encoding.token_to_word(first), encoding.token_to_word(last)
        if None not in words:
            left, right = (encoding.word_to_chars(word, part) for word in words)
            return left[0], right[1]
    return encoding.offsets[first][0], encoding.offsets[last][1]


def _paired(question: Any, context: Any) -> Any:
    """Return inputs of what was given by name."""
    if question is None or context is None:
        raise ValueError("question-answering needs a question and a context")
    if isinstance(question, list) and isinstance(context, str):
        context = [context] * len(question)
    if isinstance(question, list) and isinstance(context, list):
        if len(question) != len(context):
            raise ValueError(
                f"there must be a context for each question, but there are {len(question)} "
                f"questions and {len(context)} contexts"
            )
        return [{"question": q, "context": c} for q, c in zip(question, context)]
    if not (isinstance(question, str) and isinstance(context, str)):
        raise ValueError(
            "question and context must be two texts, two lists, or a list of questions and a text"
        )
    return {"question": question, "context": context}


def question_and_context(each: Any) -> tuple[str, str]:
    """Return both texts of an input, after checking them."""
    if not isinstance(each, Mapping):
        raise ValueError(f"an input must be {{'question': …, 'context': …}}, but is {each!r}")
    for name in ("question", "context"):
        if name not in each:
            raise KeyError(f"an input must have a {name!r}, but has {sorted(each)}")
        if not isinstance(each[name], str) or not each[name]:
            raise ValueError(f"{name} must be a text that is not empty, but is {each[name]!r}")
    return each["question"], each["context"]
