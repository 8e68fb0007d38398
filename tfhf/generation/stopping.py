"""Criteria that end rows: strings that the text of their tokens so far has come to, and others."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf


class StopStringCriteria:
    """Whether a stop string ends inside the last token. Equals PyTorch's class of this name.

    Strings are compared here, once. The tables made of them say for every token with which ends of
    a stop string it begins, and before which ends of it the token fits. A call follows all these
    ends at once through the last tokens, backwards.

    Args:
        tokenizer: the model's.
        stop_strings: one, or several.

    Raises:
        ValueError: ``stop_strings`` is not that, or no token can end one of them.

    Example:
        >>> from tokenizers import Tokenizer, decoders, models
        >>> from transformers import PreTrainedTokenizerFast
        >>> vocabulary = {"?": 0, "st": 1, "op": 2, "opera": 3, "las": 4, "topped": 5}
        >>> backend = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
        >>> backend.decoder = decoders.Fuse()
        >>> tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
        >>> stopped = StopStringCriteria(tokenizer, "stop")
        >>> stopped(tf.constant([[0, 1, 3], [0, 4, 5], [1, 2, 0], [2, 1, 5]]), 3).numpy()
        array([ True,  True, False, False])
    """

    def __init__(self, tokenizer: Any, stop_strings: str | Iterable[str]) -> None:
        strings = [stop_strings] if isinstance(stop_strings, str) else list(stop_strings)
        if not strings or not all(isinstance(string, str) and string for string in strings):
            raise ValueError(
                "stop_strings must be a text or a list of them, none empty, but is "
                f"{stop_strings!r}"
            )
        texts = token_texts(tokenizer)
        in_bytes = any(isinstance(text, bytes) for text in texts.values())
        stops: list[Any] = [string.encode() if in_bytes else string for string in strings]
        self.longest = max(map(len, stops))
        self._make_tables(texts, stops)
        if not self.ends.any():
            raise ValueError(
                f"stop_strings must be texts that tokens can end, but is {stop_strings!r}, whose "
                "characters are not in the vocabulary"
            )

    def _make_tables(self, texts: dict[int, Any], stops: list[Any]) -> None:
        """The tables: tokens that have to do with a stop string have a row, alike ones the same.

        Axis 1 counts characters from the end of the stop string, axis 2 the stop strings.
        """
        counts = range(self.longest + 1)
        lengths = np.array([len(stop) for stop in stops])
        heads = tuple(stop[:end] for stop in stops for end in range(1, len(stop)))
        tails = tuple(stop[start:] for stop in stops for start in range(len(stop)))
        # Where nothing is left of a stop string, every token fits. Row 0: all other tokens.
        self.complete = np.arange(self.longest + 1)[:, None] >= lengths
        nowhere = (np.zeros_like(self.complete), self.complete, 0)
        rows, row_of_content = [nowhere], {}
        self.row_of_token = np.zeros(max(texts) + 1, np.int32)
        for token, text in texts.items():
            inside = any(text in stop or stop in text for stop in stops)
            if not (inside or text.endswith(heads) or text.startswith(tails)):
                continue
            ends = np.array([[_has_end(text, stop, n) for stop in stops] for n in counts])
            fits = np.array([[_fits(text, stop, n) for stop in stops] for n in counts])
            size = min(len(text), self.longest)
            content = (ends.tobytes(), fits.tobytes(), size)
            if content not in row_of_content:
                row_of_content[content] = len(rows)
                rows.append((ends, fits, size))
            self.row_of_token[token] = row_of_content[content]
        self.ends, self.fits, self.sizes = map(np.array, zip(*rows))

    def __call__(self, input_ids: tf.Tensor, cur_len: Any) -> tf.Tensor:
        """Which rows have come to a stop string: bool [rows].

        Args:
            input_ids: int32 [rows, max_length], of which the first ``cur_len`` columns are real.
            cur_len: an int or a scalar int32 tensor.
        """
        # A token gives one character or more, so these are enough. The last comes first.
        columns = cur_len - 1 - tf.range(self.longest)
        tokens = tf.gather(input_ids, tf.maximum(columns, 0), axis=1)
        known = (columns >= 0) & (tokens >= 0) & (tokens < len(self.row_of_token))
        rows = tf.where(known, tf.gather(self.row_of_token, tf.where(known, tokens, 0)), 0)
        last, earlier = rows[:, 0], rows[:, 1:]

        # What is matched before each earlier token: [rows, tokens, counts], for every end.
        sizes = tf.gather(tf.constant(self.sizes, tf.int32), earlier)
        starts = tf.range(self.longest + 1)
        matched = tf.cumsum(sizes, axis=1, exclusive=True)[..., None] + starts
        matched = tf.minimum(matched, self.longest)
        fits = tf.gather(self.fits, earlier)
        fits = tf.reduce_all(tf.gather(fits, matched, batch_dims=2), axis=1)
        total = tf.minimum(tf.reduce_sum(sizes, axis=1)[:, None] + starts, self.longest)
        found = tf.gather(self.ends, last) & fits & tf.gather(self.complete, total)
        return tf.reduce_any(found, axis=[1, 2])


def any_of(criteria: list[Any]) -> Any:
    """Return the criterion that a row is complete by one of ``criteria``, which are one or more."""

    def is_complete(input_ids: tf.Tensor, cur_len: Any) -> tf.Tensor:
        return tf.reduce_any([each(input_ids, cur_len) for each in criteria], axis=0)

    return is_complete


def _has_end(text: Any, stop: Any, count: int) -> bool:
    """Whether ``text`` begins with the last ``count`` characters, or holds all of them anywhere."""
    if count == len(stop):
        return stop in text
    return 0 < count < len(stop) and text.startswith(stop[-count:])


def _fits(text: Any, stop: Any, count: int) -> bool:
    """Whether ``text`` can stand before the last ``count`` characters; it may begin before them."""
    rest = stop[: max(len(stop) - count, 0)]
    return rest.endswith(text) or text.endswith(rest)


def token_texts(tokenizer: Any) -> dict[int, Any]:
    """What each token adds to a text, by id: all ``str``, or all ``bytes`` where tokens are bytes.

    Tokens are decoded behind another one: alone, some would lose their space.
    """
    kinds = _decoder_kinds(tokenizer)
    in_bytes = bool(kinds & {"ByteLevel", "ByteFallback"})
    bytes_of_characters = _bytes_of_characters() if "ByteLevel" in kinds else {}
    before = tokenizer.convert_ids_to_tokens(
        tokenizer("abcdef", add_special_tokens=False).input_ids
    )
    text_before = tokenizer.convert_tokens_to_string(before)
    texts: dict[int, Any] = {}
    for token, token_id in tokenizer.get_vocab().items():
        if "ByteFallback" in kinds and (byte := _fallback_byte(token)) is not None:
            texts[token_id] = byte
        elif "ByteFallback" not in kinds and bytes_of_characters.keys() >= set(token):
            texts[token_id] = bytes(map(bytes_of_characters.__getitem__, token))
        else:
            text = tokenizer.convert_tokens_to_string([*before, token]).removeprefix(text_before)
            texts[token_id] = text.encode() if in_bytes else text
    return texts


def _decoder_kinds(tokenizer: Any) -> set[str]:
    """The types of a fast tokenizer's decoders; none of a slow one."""
    decoder = getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", None)
    if decoder is None:
        return set()
    settings = json.loads(decoder.__getstate__())
    return {part["type"] for part in [settings, *settings.get("decoders", [])]}


def _fallback_byte(token: str) -> bytes | None:
    """The byte that a token like ``<0x0A>`` is."""
    digits = token[3:5]
    if (
        token == f"<0x{digits}>"
        and len(digits) == 2
        and set(digits) <= set("0123456789abcdefABCDEF")
    ):
        return bytes.fromhex(digits)
    return None


def _bytes_of_characters() -> dict[str, int]:
    """GPT-2's alphabet: printable bytes are their own characters, the others follow from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    characters = [*map(chr, printable), *(chr(256 + index) for index in range(len(others)))]
    return dict(zip(characters, printable + others))
