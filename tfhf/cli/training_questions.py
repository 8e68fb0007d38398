"""Questions that can be trained: with choices, and with the answer in a text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count, takewhile
from typing import Any

import datasets
import numpy as np

import tfhf
from tfhf.cli.training_base import Answer, Columns, TrainingTask
from tfhf.pipelines.base import softmax
from tfhf.pipelines.question_answering import best_spans


class MultipleChoice(TrainingTask):
    """Which of the texts ``choice0``, ``choice1``, … goes on with a text; the label is its number.

    Where there is ``text_pair``, it stands before each choice.
    """

    inputs = ("text", "choice0", "choice1")
    target = "label"

    def encode(self, rows: Columns) -> Mapping[str, list[Any]]:
        """Tokenize each text with each of its choices."""
        names = list(takewhile(rows.__contains__, (f"choice{i}" for i in count())))
        size = len(names)
        begun = rows.get("text_pair", [""] * len(rows["text"]))
        firsts = [text for text in rows["text"] for _ in names]
        columns = [begun, *(rows[name] for name in names)]
        if any(None in column for column in columns):
            raise ValueError(f"each row needs text_pair, if there is one, and all of {names}")
        seconds = [f"{start} {end}".strip() for start, *ends in zip(*columns) for end in ends]
        tokens = self.tokenizer(firsts, seconds, truncation=True, max_length=self.max_length)
        grouped = {
            name: [values[i : i + size] for i in range(0, len(values), size)]
            for name, values in tokens.items()
        }
        if "label" in rows:
            grouped["labels"] = [self._choice(label, size) for label in rows["label"]]
        return grouped

    def collator(self, model: Any) -> Callable | None:
        """Pad all choices of a batch alike."""
        return tfhf.DataCollatorForMultipleChoice(self.tokenizer)

    def metrics(self, predictions: Any, labels: Any) -> dict[str, float]:
        """Return the accuracy."""
        metric = tfhf.load_metric("accuracy")
        return metric.compute(predictions=predictions.argmax(-1), references=labels)

    def answers(self, predictions: Any, tokens: datasets.Dataset) -> Iterator[Answer]:
        """Yield the number of the best choice, and its score."""
        for scores in softmax(predictions):
            best = int(scores.argmax())
            yield {"choice": best, "score": float(scores[best])}

    def _choice(self, label: Any, size: int) -> int:
        if str(label) not in map(str, range(size)):
            raise ValueError(
                f"a label must be the number of a choice, 0 to {size - 1}, but is {label!r}"
            )
        return int(label)


class QuestionAnswering(TrainingTask):
    """The part of a context that answers a question, and begins at the letter `answer_start`.

    Both may be lists, as in SQuAD: the first of each counts; where there is none, no answer is the
    right one. Long contexts are read in windows, of which each shares a part with the next.
    """

    inputs = ("question", "context", "answer", "answer_start")
    outputs = 2
    can_answer = False  # the pipeline joins the windows of a text

    def encode(self, rows: Columns) -> Mapping[str, list[Any]]:
        """Tokenize windows, each with the place of the answer in it, or with 0 and 0."""
        questions = self.tokenizer(rows["question"], add_special_tokens=False)["input_ids"]
        longest = max(map(len, questions))
        room = self.max_length - longest - self.tokenizer.num_special_tokens_to_add(pair=True)
        if room < 2:
            raise ValueError(
                f"a question of {longest} tokens leaves no room for a text among --max-length "
                f"tokens, of which there are {self.max_length}"
            )
        tokens = self.tokenizer(
            rows["question"],
            rows["context"],
            truncation="only_second",
            max_length=self.max_length,
            stride=min(self.max_length // 4, room // 2),
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        columns = zip(rows["context"], rows["answer"], rows["answer_start"])
        spans = [_span(*row) for row in columns]
        rows_of = tokens.pop("overflow_to_sample_mapping")
        offsets = tokens.pop("offset_mapping")
        places = [
            _tokens_of(spans[row], tokens.sequence_ids(i), offsets[i])
            for i, row in enumerate(rows_of)
        ]
        tokens["start_positions"], tokens["end_positions"] = map(list, zip(*places))
        return tokens

    def metrics(self, predictions: Any, labels: Any) -> dict[str, float]:
        """Return, of windows, how many have the right tokens, and the F1 of tokens."""
        exact, f1 = [], []
        for start, end, first, last in zip(*predictions, *labels):
            ((i,), (j,), _) = best_spans(softmax(start), softmax(end), 1, len(start))
            shared = max(0, min(j, last) - max(i, first) + 1)
            exact.append((i, j) == (first, last))
            f1.append(2 * shared / (j - i + 1 + last - first + 1))
        return {"exact_match": float(np.mean(exact)), "f1": float(np.mean(f1))}


def _span(context: str, answer: Any, start: Any) -> tuple[int, int] | None:
    """Return where an answer begins and ends."""
    if isinstance(answer, list):
        if not answer:
            return None
        answer, start = answer[0], start[0]
    end = int(start) + len(answer)
    if context[int(start) : end] != answer:
        raise ValueError(f"the answer {answer!r} does not stand at {start} of {context[:80]!r}…")
    return int(start), end


def _tokens_of(
    span: tuple[int, int] | None, parts: Sequence[int | None], offsets: Sequence[tuple[int, int]]
) -> tuple[int, int]:
    """Return the first and the last token of a span of the context, or 0 and 0: it is cut."""
    if span is None:
        return 0, 0
    found = [
        i
        for i, (part, (left, right)) in enumerate(zip(parts, offsets))
        if part == 1 and left < span[1] and right > span[0]
    ]
    whole = found and offsets[found[0]][0] <= span[0] and offsets[found[-1]][1] >= span[1]
    return (found[0], found[-1]) if whole else (0, 0)
