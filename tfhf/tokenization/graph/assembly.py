"""From token ids to model inputs: truncation, special tokens, padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import tensorflow as tf
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.processors import PostProcessor

from tfhf.tokenization.graph.errors import UnsupportedTokenizerError
from tfhf.tokenization.graph.settings import Side, TokenizerSettings, Truncation

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
        pair: the template of two; None if there is none.
        padding: to the longest row, to `max_length`, or none.
        truncation: whether rows are cut down to `max_length`, or which text of a pair gives way.
        max_length: the tokens of a row, special ones included; None for no limit.
        pad_to_multiple_of: what the length of padded rows is a multiple of.

    Raises:
        ValueError: if an option has a value that it cannot have, or not beside the others.
    """

    settings: TokenizerSettings
    single: tuple[Slot, ...]
    pair: tuple[Slot, ...] | None
    padding: Padding
    truncation: bool | Truncation
    max_length: int | None
    pad_to_multiple_of: int | None

    def __post_init__(self) -> None:
        if self.padding not in ("longest", "max_length", False):
            raise ValueError(
                f"padding: expected 'longest', 'max_length' or False, got {self.padding!r}"
            )
        if self.truncation not in (True, False, *get_args(Truncation)):
            strategies = ", ".join(map(repr, get_args(Truncation)))
            raise ValueError(
                f"truncation: expected True, False, {strategies}, got {self.truncation!r}"
            )
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
        self,
        texts: Sequence[tf.RaggedTensor],
        spans: Sequence[tf.RaggedTensor] | None = None,
        *,
        return_position_ids: bool = False,
    ) -> dict[str, tf.Tensor | tf.RaggedTensor]:
        """Assemble the int32 ids [rows, (tokens)] of one text per row, or of two.

        Args:
            texts: the ids of one text per row, or of two.
            spans: int32 [rows, (tokens), 2] for each, where tokens start and end in their text.
            return_position_ids: whether to number the tokens of each row.

        Returns:
            int32 tensors [rows, tokens] by name, ragged without padding, and with `spans` also an
            `offset_mapping` [rows, tokens, 2], of zeros for special tokens and padding.

        Raises:
            ValueError, UnsupportedTokenizerError: as `truncate` does.
        """
        template = self._template(texts)
        texts = self.truncate(texts)
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
        if return_position_ids:
            positions = tf.ragged.range(tf.cast(input_ids.row_lengths(), tf.int32))
            inputs["position_ids"] = (input_ids.with_values(positions.values), 0)
        if spans is not None:
            spans = self.truncate(spans)
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

    def truncate(self, texts: Sequence[tf.RaggedTensor]) -> Sequence[tf.RaggedTensor]:
        """Cut rows down so that they fit into `max_length`, with special tokens around.

        Args:
            texts: [rows, (tokens), ...] of one text per row, or of two.

        Raises:
            ValueError: if `max_length` has no room for the special tokens, or the second text is to
                give way and there is none.
            UnsupportedTokenizerError: if the tokenizer makes no pairs.
        """
        if not self.truncation or self.max_length is None:
            return texts
        num_special = len(self._template(texts)) - len(texts)
        if self.max_length < num_special:
            raise ValueError(
                f"max_length: expected at least {num_special}, the number of special tokens "
                f"around {len(texts)} text(s), got {self.max_length}"
            )
        strategy = self.settings.truncation if self.truncation is True else self.truncation
        if strategy == "only_second" and len(texts) == 1:
            raise ValueError("truncation: expected text_pair for 'only_second', got one text")
        max_tokens = self.max_length - num_special
        return truncate(texts, max_tokens, self.settings.truncation_side, strategy)

    def _template(self, texts: Sequence[tf.RaggedTensor]) -> tuple[Slot, ...]:
        template = self.single if len(texts) == 1 else self.pair
        if template is None:
            raise UnsupportedTokenizerError("template for pairs", "missing", "single texts")
        return template

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
    texts: Sequence[tf.RaggedTensor],
    max_tokens: int,
    side: Side,
    strategy: Truncation = "longest_first",
) -> list[tf.RaggedTensor]:
    """Cut one text per row, or two together, down to `max_tokens`.

    By `longest_first` the shorter of two keeps up to half of the room, and the longer one the rest.
    By `only_first` and `only_second` one gives way, but for its last token: where that is not
    enough, and the library raises an error, the other one does.

    Example:
        >>> first, second = tf.ragged.constant([[1, 2]]), tf.ragged.constant([[3, 4, 5, 6]])
        >>> [text.to_list() for text in truncate([first, second], 5, "right")]
        [[[1, 2]], [[3, 4, 5]]]
        >>> [text.to_list() for text in truncate([first, second], 5, "right", "only_first")]
        [[[1]], [[3, 4, 5, 6]]]
    """
    if len(texts) == 1:
        return [_keep(texts[0], tf.minimum(texts[0].row_lengths(), max_tokens), side)]
    first, second = (text.row_lengths() for text in texts)
    if strategy == "longest_first":
        shorter = tf.minimum(tf.minimum(first, second), max_tokens // 2)
        longer = tf.minimum(tf.maximum(first, second), max_tokens - shorter)
        kept = (
            tf.where(first <= second, shorter, longer),
            tf.where(first <= second, longer, shorter),
        )
    elif strategy == "only_first":
        kept = _give_way(first, second, max_tokens)
    else:
        kept = _give_way(second, first, max_tokens)[::-1]
    return [_keep(text, length, side) for text, length in zip(texts, kept, strict=True)]


def _give_way(
    yielding: tf.Tensor, other: tf.Tensor, max_tokens: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Give the tokens that are left to texts of two lengths if the first gives way."""
    kept = tf.minimum(yielding, tf.maximum(max_tokens - other, min(1, max_tokens)))
    return kept, tf.minimum(other, max_tokens - kept)


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
