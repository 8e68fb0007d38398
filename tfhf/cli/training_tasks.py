"""What can be trained from the command line: rows to tokens, outputs to metrics and answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import datasets
import numpy as np
from transformers import AutoConfig

import tfhf
from tfhf.cli.checkpoints import loading
from tfhf.cli.training_base import Answer, Columns, TrainingTask
from tfhf.cli.training_data import label_names
from tfhf.cli.training_questions import MultipleChoice, QuestionAnswering
from tfhf.pipelines.base import softmax

#: Tokens of a text, where nobody says more.
LONGEST = 512


class Classification(TrainingTask):
    """Labels by name, for texts or words."""

    target: ClassVar[str]

    def learn_labels(self, rows: datasets.Dataset) -> None:
        """Take the names that a dataset has, or texts in their order, or numbers."""
        self._require(rows, self.target)
        names = label_names(rows, self.target)
        if names is None:
            self.config.num_labels = 1
            self.config.problem_type = "regression"
        else:
            self.set_labels(names)

    def set_labels(self, names: Sequence[str]) -> None:
        """Take the names of the labels 0, 1, …"""
        self.config.id2label = dict(enumerate(names))
        self.config.label2id = {name: i for i, name in enumerate(names)}

    def _label_id(self, label: Any) -> Any:
        """Return the number of a label; those of a regression, and -100, stay what they are."""
        names = self.config.label2id
        if isinstance(label, str):
            if label in names:
                return names[label]
        elif label in self.config.id2label or label == -100 or self.config.num_labels == 1:
            return label
        known = ", ".join(names)
        raise ValueError(f"the label {label!r} is none of the model's: {known}")


class TextClassification(Classification):
    """A label for a text, or for two; labels with decimals make it a regression."""

    target = "label"

    def encode(self, rows: Columns) -> Mapping[str, list[Any]]:
        """Tokenize texts, or pairs of them."""
        texts = rows["text"], rows.get("text_pair")
        tokens = self.tokenizer(*texts, truncation=True, max_length=self.max_length)
        if "label" in rows:
            tokens["labels"] = [self._label_id(label) for label in rows["label"]]
        return tokens

    def metrics(self, predictions: Any, labels: Any) -> dict[str, float]:
        """Return accuracy and F1, the mean over the labels; of a regression, correlations."""
        if self.config.num_labels == 1:
            metrics = [tfhf.load_metric("pearsonr"), tfhf.load_metric("spearmanr")]
            predictions = predictions[:, 0]
        else:
            metrics = [tfhf.load_metric("accuracy"), tfhf.load_metric("f1", average="macro")]
            predictions = predictions.argmax(-1)
        found = [metric.compute(predictions=predictions, references=labels) for metric in metrics]
        return {name: value for each in found for name, value in each.items()}

    def answers(self, predictions: Any, tokens: datasets.Dataset) -> Iterator[Answer]:
        """Yield the best label and its score, or the number."""
        if self.config.num_labels == 1:
            yield from ({"score": float(number)} for number in predictions[:, 0])
            return
        for scores in softmax(predictions):
            best = int(scores.argmax())
            yield {"label": self.config.id2label[best], "score": float(scores[best])}


class TokenClassification(Classification):
    """A tag for each word: that of its first token."""

    inputs = ("tokens",)
    target = "tags"

    def encode(self, rows: Columns) -> Mapping[str, list[Any]]:
        """Tokenize words; without tags, ``words`` says which token begins which word."""
        for i, words in enumerate(rows["tokens"]):
            count = len(words) if isinstance(words, list) else None
            if count is None or ("tags" in rows and len(rows["tags"][i]) != count):
                raise ValueError(f"tokens must be a list of words, with a tag each, not {words!r}")
        tokens = self.tokenizer(
            rows["tokens"], is_split_into_words=True, truncation=True, max_length=self.max_length
        )
        begun = [first_tokens(tokens.word_ids(i)) for i in range(len(rows["tokens"]))]
        if "tags" not in rows:
            tokens["words"] = begun
            return tokens
        tokens["labels"] = [
            [-100 if word < 0 else self._label_id(tags[word]) for word in words]
            for words, tags in zip(begun, rows["tags"])
        ]
        return tokens

    def collator(self, model: Any) -> Callable | None:
        """Pad tags, too."""
        return tfhf.DataCollatorForTokenClassification(self.tokenizer)

    def metrics(self, predictions: Any, labels: Any) -> dict[str, float]:
        """Return precision, recall and F1 of entities, and the accuracy of tags."""
        found, true = (
            [self._tags(row[kept]) for row, kept in zip(ids, labels != -100)]
            for ids in (predictions.argmax(-1), labels)
        )
        scores = tfhf.load_metric("seqeval").compute(predictions=found, references=true)
        names = ("precision", "recall", "f1", "accuracy")
        return {name: scores[f"overall_{name}"] for name in names}

    def answers(self, predictions: Any, tokens: datasets.Dataset) -> Iterator[Answer]:
        """Yield the tags of the words that were not cut off."""
        for ids, words in zip(predictions.argmax(-1), tokens["words"]):
            yield {"tags": self._tags([i for i, word in zip(ids, words) if word >= 0])}

    def _tags(self, ids: Sequence[Any]) -> list[str]:
        return [self.config.id2label[int(i)] for i in ids]


class LanguageModeling(TrainingTask):
    """Text that goes on, or has gaps: ``text-generation`` and ``fill-mask``."""

    can_answer = can_measure = False

    def tokenize(self, rows: datasets.Dataset, with_target: bool = True) -> datasets.Dataset:
        """Join all texts, and cut them into pieces of one length."""
        tokens = super().tokenize(rows)
        pieces = tokens.map(self._pieces, batched=True)
        if not len(pieces):
            raise ValueError(f"the texts have fewer than --max-length {self.max_length} tokens")
        return pieces

    def encode(self, rows: Columns) -> Mapping[str, list[Any]]:
        """Tokenize texts, each with the token that ends it."""
        end = [token for token in [self.tokenizer.eos_token_id] if token is not None]
        ids = self.tokenizer(rows["text"])["input_ids"]
        return {"input_ids": [row if row[-1:] == end else row + end for row in ids]}

    def _pieces(self, rows: Columns) -> Mapping[str, list[Any]]:
        ids = [token for row in rows["input_ids"] for token in row]
        size = self.max_length
        return {"input_ids": [ids[i : i + size] for i in range(0, len(ids) - size + 1, size)]}

    def collator(self, model: Any) -> Callable | None:
        """Hide tokens, or make each the label of what is before it."""
        return tfhf.DataCollatorForLanguageModeling(self.tokenizer, mlm=self.name == "fill-mask")


class TextToText(TrainingTask):
    """A text from a text: ``summarization`` and ``translation``."""

    target = "target"

    def encode(self, rows: Columns) -> Mapping[str, list[Any]]:
        """Tokenize texts, with what the checkpoint puts before them, and targets."""
        specific = (getattr(self.config, "task_specific_params", None) or {}).get(self.name) or {}
        prefix = specific.get("prefix") or ""
        cut = {"truncation": True, "max_length": self.max_length}
        tokens = self.tokenizer([prefix + text for text in rows["text"]], **cut)
        if "target" in rows:
            tokens["labels"] = self.tokenizer(text_target=rows["target"], **cut)["input_ids"]
        return tokens

    def collator(self, model: Any) -> Callable | None:
        """Pad both sides."""
        return tfhf.DataCollatorForSeq2Seq(self.tokenizer, model=model)

    def metrics(self, predictions: Any, labels: Any) -> dict[str, float]:
        """Return ROUGE of summaries, BLEU of translations."""
        texts, targets = self._texts(predictions), self._texts(labels)
        if self.name == "summarization":
            return tfhf.load_metric("rouge").compute(predictions=texts, references=targets)
        references = [[target] for target in targets]
        found = tfhf.load_metric("sacrebleu").compute(predictions=texts, references=references)
        return {"bleu": found["score"]}

    def answers(self, predictions: Any, tokens: datasets.Dataset) -> Iterator[Answer]:
        """Yield texts."""
        name = "summary_text" if self.name == "summarization" else "translation_text"
        yield from ({name: text} for text in self._texts(predictions))

    def _texts(self, ids: Any) -> list[str]:
        known = np.where(ids < 0, self.tokenizer.pad_token_id, ids)
        return self.tokenizer.batch_decode(known, skip_special_tokens=True)


#: {name: the task, and the auto class of its models}
TRAINED: dict[str, tuple[type[TrainingTask], Any]] = {
    "text-classification": (TextClassification, tfhf.TFAutoModelForSequenceClassification),
    "token-classification": (TokenClassification, tfhf.TFAutoModelForTokenClassification),
    "question-answering": (QuestionAnswering, tfhf.TFAutoModelForQuestionAnswering),
    "multiple-choice": (MultipleChoice, tfhf.TFAutoModelForMultipleChoice),
    "fill-mask": (LanguageModeling, tfhf.TFAutoModelForMaskedLM),
    "text-generation": (LanguageModeling, tfhf.TFAutoModelForCausalLM),
    "summarization": (TextToText, tfhf.TFAutoModelForSeq2SeqLM),
    "translation": (TextToText, tfhf.TFAutoModelForSeq2SeqLM),
}


def make_task(
    name: str,
    model: str,
    tokenizer: str | None = None,
    max_length: int | None = None,
    revision: str | None = None,
) -> TrainingTask:
    """Return a task with the tokenizer and the configuration of a checkpoint.

    Args:
        name: one of `TRAINED`.
        model: the checkpoint, a folder or a Hub id.
        tokenizer: the same; default: that of the checkpoint.
        max_length: tokens; default: what tokenizer and model allow, at most 512.
        revision: a branch, tag or commit of the checkpoint.

    Raises:
        OSError: the checkpoint is not there.
    """
    hub = {} if revision is None else {"revision": revision}
    with loading(model):
        config = AutoConfig.from_pretrained(model, **hub)
    made = tfhf.AutoTokenizer.from_pretrained(tokenizer or model, **({} if tokenizer else hub))
    positions = getattr(config, "max_position_embeddings", None) or LONGEST
    limit = max_length or min(made.model_max_length, positions, LONGEST)
    task_class, _ = TRAINED[name]
    return task_class(name, made, config, limit)


def first_tokens(word_ids: Sequence[int | None]) -> list[int]:
    """Return for each token the word that it begins, or -1.

    Example:
        >>> first_tokens([None, 0, 0, 1, None])
        [-1, 0, -1, 1, -1]
    """
    before = [None, *word_ids[:-1]]
    return [-1 if word in (None, last) else word for word, last in zip(word_ids, before)]
