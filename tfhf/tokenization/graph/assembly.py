"""From token ids to model inputs: truncation, special tokens, padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import tensorflow as tf
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.processors import PostProcessor

from tfhf.tokenization.graph.errors import UnsupportedTokenizerError
from tfhf.tokenization.graph.settings import Side, TokenizerSettings

Padding = Literal["longest", "max_length", False]


class Slot(NamedTuple):
    """A place in a template: that of a text (0, or 1 in a pair), or else of a special token."""

    text: int | None
    token_id: int
    type_id: int


def read_template(post_processor: PostProcessor | None, num_texts: int) -> tuple[Slot, ...]:
    """Find where a post-processor puts special tokens, by giving it texts of one token each.

    Args:
        post_processor: that of a tokenizer, if it has one.
        num_texts: 1, or 2 for a pair.

    Raises:
        UnsupportedTokenizerError: if it repeats a text or leaves one out.

    Example:
        >>> from tokenizers.processors import BertProcessing
        >>> [slot.token_id for slot in read_template(BertProcessing(("[SEP]", 8), ("[CLS]", 7)), 1)]
        [7, 0, 8]
    """
    tokenizer = Tokenizer(WordLevel({"a": 0}, unk_token="a"))
    if post_processor is not None:
        tokenizer.post_processor = post_processor
    encoding = tokenizer.encode("a", "a" if num_texts == 2 else None)
    slots = tuple(map(Slot, encoding.sequence_ids, encoding.ids, encoding.type_ids))
    texts = sorted(slot.text for slot in slots if slot.text is not None)
    if texts != list(range(num_texts)) or encoding.special_tokens_mask.count(0) != num_texts:
        found = "a template that repeats a text or leaves one out"
        raise UnsupportedTokenizerError("post_processor", found, "one with each text once")
    return slots


@dataclass(frozen=True)
class InputAssembler:
    """Makes model inputs of token ids, as a call of a Transformers tokenizer does.

    Attributes:
        settings: those of the tokenizer.
        single: the template of one text.
        pair: the template of two.
        padding: to the longest row, to `max_length`, or none.
        truncation: whether rows are cut down to `max_length`.
        max_length: the tokens of a row, special ones included; None for no limit.
        pad_to_multiple_of: what the length of padded rows is a multiple of.

    Raises:
        ValueError: if an option has a value that it cannot have, or not beside the others.
    """

    settings: TokenizerSettings
    single: tuple[Slot, ...]
    pair: tuple[Slot, ...]
    padding: Padding
    truncation: bool
    max_length: int | None
    pad_to_multiple_of: int | None

    def __post_init__(self) -> None:
        if self.padding not in ("longest", "max_length", False):
            raise ValueError(
                f"padding: expected 'longest', 'max_length' or False, got {self.padding!r}"
            )
        if self.truncation not in (True, False):
            raise ValueError(f"truncation: expected True or False, got {self.truncation!r}")
        for name in ("max_length", "pad_to_multiple_of"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: expected at least 1 token, got {value}")
        if self.padding and self.settings.pad_token_id is None:
            raise ValueError(
                f"padding: expected False, since the tokenizer has no padding token, got "
                f"{self.padding!r}"
            )
        if self.padding == "max_length" and self.max_length is None:
            raise ValueError(
                "max_length: expected a number for padding='max_length', since the tokenizer has "
                "no limit of its own, got None"
            )
        if self.padding and self.truncation and self.max_length is not None:
            multiple = self.pad_to_multiple_of or 1
            if self.max_length % multiple:
                raise ValueError(
                    f"max_length: expected a multiple of pad_to_multiple_of ({multiple}), got "
                    f"{self.max_length}"
                )

    def __call__(
        self, texts: Sequence[tf.RaggedTensor], spans: Sequence[tf.RaggedTensor] | None = None
    ) -> dict[str, tf.Tensor | tf.RaggedTensor]:
        """Assemble the int32 ids [rows, (tokens)] of one text per row, or of two.

        Args:
            texts: the ids of one text per row, or of two.
            spans: int32 [rows, (tokens), 2] for each, where tokens start and end in their text.

        Returns:
            int32 tensors [rows, tokens] by name, ragged without padding, and with `spans` also an
            `offset_mapping` [rows, tokens, 2], of zeros for special tokens and padding.

        Raises:
            ValueError: if `max_length` has no room for the special tokens.
        """
        template = self.single if len(texts) == 1 else self.pair
        texts = self._truncate(texts, template)
        num_rows = texts[0].nrows()
        ids, types = [], []
        for text, token_id, type_id in template:
            part = tf.fill([num_rows, 1], token_id) if text is None else texts[text]
            ids.append(part)
            types.append(tf.ones_like(part) * type_id)
        input_ids = tf.concat(ids, axis=1)
        inputs: dict[str, tuple[tf.RaggedTensor, Any]] = {
            "input_ids": (input_ids, self.settings.pad_token_id),
            "token_type_ids": (tf.concat(types, axis=1), self.settings.pad_token_type_id),
            "attention_mask": (tf.ones_like(input_ids), 0),
        }
        inputs = {name: inputs[name] for name in self.settings.input_names}
        if spans is not None:
            spans = self._truncate(spans, template)
            nowhere = tf.RaggedTensor.from_uniform_row_length(
                tf.zeros([num_rows, 2], tf.int32), tf.constant(1, tf.int64)
            )
            parts = [nowhere if text is None else spans[text] for text, _, _ in template]
            inputs["offset_mapping"] = (tf.concat(parts, axis=1), 0)
        if not self.padding:
            return {name: rows for name, (rows, _) in inputs.items()}
        width = self._width(input_ids.row_lengths())
        return {
            name: pad(rows, width, filler, self.settings.padding_side)
            for name, (rows, filler) in inputs.items()
        }

    def _truncate(
        self, texts: Sequence[tf.RaggedTensor], template: tuple[Slot, ...]
    ) -> Sequence[tf.RaggedTensor]:
        if not self.truncation or self.max_length is None:
            return texts
        num_special = len(template) - len(texts)
        if self.max_length < num_special:
            raise ValueError(
                f"max_length: expected at least {num_special}, the number of special tokens "
                f"around {len(texts)} text(s), got {self.max_length}"
            )
        return truncate(texts, self.max_length - num_special, self.settings.truncation_side)

    def _width(self, lengths: tf.Tensor) -> int | tf.Tensor:
        """Give the length of padded rows: a static number where there is one."""
        least = self.max_length if self.padding == "max_length" else 0
        if least and self.truncation:
            width = least
        else:
            width = tf.reduce_max(tf.concat([lengths, [least]], axis=0))
        multiple = self.pad_to_multiple_of or 1
        return (width + multiple - 1) // multiple * multiple


def truncate(
    texts: Sequence[tf.RaggedTensor], max_tokens: int, side: Side
) -> list[tf.RaggedTensor]:
    """Cut one text per row, or two together, down to `max_tokens`.

    Of two texts the longer one gives way first (`longest_first` in Transformers): the shorter one
    keeps up to half of the room, and the longer one the rest.

    Example:
        >>> first, second = tf.ragged.constant([[1, 2]]), tf.ragged.constant([[3, 4, 5, 6]])
        >>> [text.to_list() for text in truncate([first, second], 5, "right")]
        [[[1, 2]], [[3, 4, 5]]]
    """
    if len(texts) == 1:
        return [_keep(texts[0], tf.minimum(texts[0].row_lengths(), max_tokens), side)]
    first, second = (text.row_lengths() for text in texts)
    shorter = tf.minimum(tf.minimum(first, second), max_tokens // 2)
    longer = tf.minimum(tf.maximum(first, second), max_tokens - shorter)
    return [
        _keep(texts[0], tf.where(first <= second, shorter, longer), side),
        _keep(texts[1], tf.where(first <= second, longer, shorter), side),
    ]


def _keep(text: tf.RaggedTensor, lengths: tf.Tensor, side: Side) -> tf.RaggedTensor:
    """Keep the first `lengths` tokens of each row or, truncating on the left, the last ones."""
    starts = text.row_starts() if side == "right" else text.row_limits() - lengths
    kept = tf.ragged.range(starts, starts + lengths)
    return kept.with_values(tf.gather(text.values, kept.values))


def pad(rows: tf.RaggedTensor, width: int | tf.Tensor, value: int, side: Side) -> tf.Tensor:
    """Fill rows up with `value` to a tensor [rows, width, ...]; none may be longer.

    Example:
        >>> pad(tf.ragged.constant([[1, 2], []], dtype=tf.int32), 3, 0, "left").numpy().tolist()
        [[0, 1, 2], [0, 0, 0]]
    """
    inner = rows.values.shape[1:].as_list()
    if side == "left":
        missing = width - rows.row_lengths()
        filler = tf.fill([tf.reduce_sum(missing), *inner], value)
        filler = tf.RaggedTensor.from_row_lengths(filler, missing, validate=False)
        rows = tf.concat([filler, rows], axis=1)
    if isinstance(width, int):
        shape = [None, width, *inner]
    else:
        shape = tf.stack([-1, width, *(tf.constant(size, width.dtype) for size in inner)])
    return rows.to_tensor(value, shape=shape)
