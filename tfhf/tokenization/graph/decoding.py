"""From ids to text inside a TensorFlow graph."""

from __future__ import annotations

import json
import re

import tensorflow as tf
from tokenizers import Tokenizer

from tfhf.tokenization.graph.byte_level import token_bytes
from tfhf.tokenization.graph.errors import UnsupportedTokenizerError
from tfhf.tokenization.graph.metaspace import SPACE
from tfhf.tokenization.graph.replacement import escape
from tfhf.tokenization.graph.settings import token_names

BYTE_TOKEN = re.compile("<0x([0-9A-Fa-f]{2})>")

# What Transformers does to a whole text when `clean_up_tokenization_spaces` is set.
CLEANED_UP = {
    **{" .": ".", " ?": "?", " !": "!", " ,": ",", " ' ": "'", " n't": "n't"},
    **{" 'm": "'m", " 's": "'s", " 've": "'ve", " 're": "'re"},
}

EXPECTED = "WordPiece, ByteLevel, Metaspace or a Sequence of Replace, ByteFallback, Fuse and Strip"


class Decoder(tf.Module):
    """Turns ids into text, as the decoder of a tokenizer does.

    Args:
        backend: the tokenizer.
        clean_up_spaces: whether to take spaces before punctuation away at last.

    Raises:
        UnsupportedTokenizerError: if the decoder is none of those that are known here.

    Example:
        >>> from tokenizers import decoders, models
        >>> tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0, "graph": 1, "##s": 2}))
        >>> tokenizer.decoder = decoders.WordPiece()
        >>> Decoder(tokenizer)(tf.constant([[1, 2, 1]])).numpy().tolist()
        [b'graphs graph']
    """

    def __init__(self, backend: Tokenizer, *, clean_up_spaces: bool = False) -> None:
        super().__init__()
        self._clean_up_spaces = clean_up_spaces
        tokens = token_names(backend)
        special = {
            token.content for token in backend.get_added_tokens_decoder().values() if token.special
        }
        kind, self._strip = _read_decoder(backend)
        is_byte = [False] * len(tokens)
        if kind == "ByteLevel":
            first = following = [token_bytes(token or "") for token in tokens]
        elif kind == "ByteFallback":
            first = following = [_byte_or_text(token or "") for token in tokens]
            is_byte = [bool(BYTE_TOKEN.fullmatch(token or "")) for token in tokens]
        else:
            first, following = _texts(backend, tokens)
        self._joins_bytes = kind == "ByteLevel"
        self._has_byte_tokens = any(is_byte)
        with tf.device("CPU:0"):
            # The last entry is for ids that no token has, and which are left out.
            self._is_known = tf.constant([*(token is not None for token in tokens), False])
            self._is_text = tf.constant([*(token not in special for token in tokens), False])
            self._is_byte = tf.constant([*is_byte, False])
            self._first = tf.constant([*first, b""])
            self._following = tf.constant([*following, b""])

    def __call__(
        self, ids: tf.Tensor | tf.RaggedTensor, *, skip_special_tokens: bool = True
    ) -> tf.Tensor:
        """Turn integer ids [n, tokens], ragged or not, into n strings."""
        rows = ids if isinstance(ids, tf.RaggedTensor) else tf.RaggedTensor.from_tensor(ids)
        rows = rows.with_row_splits_dtype(tf.int64)
        unknown = tf.constant(self._is_known.shape[0] - 1, rows.dtype)
        is_id = (rows.values >= 0) & (rows.values < unknown)
        rows = rows.with_values(tf.where(is_id, rows.values, unknown))
        kept = tf.gather(self._is_known, rows.values)
        if skip_special_tokens:
            kept &= tf.gather(self._is_text, rows.values)
        rows = tf.ragged.boolean_mask(rows, rows.with_values(kept))
        row_of = rows.value_rowids()
        is_first = tf.range(tf.size(row_of, tf.int64)) == tf.gather(rows.row_splits, row_of)
        texts = tf.where(
            is_first, tf.gather(self._first, rows.values), tf.gather(self._following, rows.values)
        )
        if self._has_byte_tokens:
            texts, row_of = _join_bytes(
                texts, row_of, is_first, tf.gather(self._is_byte, rows.values)
            )
        text = tf.strings.unsorted_segment_join(texts, row_of, rows.nrows())
        if self._joins_bytes:
            text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace")
        if self._strip:
            text = tf.strings.regex_replace(text, f"^ {{1,{self._strip}}}", "")
        return clean_up(text) if self._clean_up_spaces else text


def clean_up(text: tf.Tensor) -> tf.Tensor:
    """Take the spaces before punctuation away that `clean_up_tokenization_spaces` means."""
    for old, new in CLEANED_UP.items():
        text = tf.strings.regex_replace(text, escape(old), new)
    return text


def _read_decoder(backend: Tokenizer) -> tuple[str | None, int]:
    """Find the kind of a decoder, and how many spaces it takes away at the beginning of a text."""
    if backend.decoder is None:
        return None, 0
    spec = json.loads(backend.to_str())["decoder"]
    if spec["type"] in ("WordPiece", "ByteLevel", "Metaspace"):
        return spec["type"], 0
    if spec["type"] != "Sequence":
        raise UnsupportedTokenizerError("decoder", spec["type"], EXPECTED)
    steps = spec["decoders"]
    num_spaces = 0
    if steps[-1]["type"] == "Strip" and steps[-1]["content"] == " " and not steps[-1]["stop"]:
        num_spaces = steps.pop()["start"]
    replace = {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}
    if steps != [replace, {"type": "ByteFallback"}, {"type": "Fuse"}]:
        raise UnsupportedTokenizerError("decoder", str(spec), EXPECTED)
    return "ByteFallback", num_spaces


def _byte_or_text(token: str) -> bytes:
    """Give the byte that a token such as `<0x41>` stands for, or else its text."""
    byte = BYTE_TOKEN.fullmatch(token)
    return bytes([int(byte[1], 16)]) if byte else token.replace(SPACE, " ").encode()


def _texts(backend: Tokenizer, tokens: list[str | None]) -> tuple[list[bytes], list[bytes]]:
    """Ask the library for the text of each token, when it comes first and when it does not."""

    def decode(tokens: list[str]) -> str:
        return backend.decoder.decode(tokens) if backend.decoder else " ".join(tokens)

    before = decode(["a"])
    first = [decode([token or ""]).encode() for token in tokens]
    following = [decode(["a", token or ""])[len(before) :].encode() for token in tokens]
    return first, following


def _join_bytes(
    texts: tf.Tensor, row_of: tf.Tensor, is_first: tf.Tensor, is_byte: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Join each run of bytes; one that is no UTF-8 becomes U+FFFD once for each byte."""
    begins = is_first | ~is_byte | ~tf.roll(is_byte, 1, 0)
    run = tf.cumsum(tf.cast(begins, tf.int64)) - 1
    num_runs = tf.reduce_sum(tf.cast(begins, tf.int64))
    joined = tf.strings.unsorted_segment_join(texts, run, num_runs)
    valid = tf.strings.unicode_transcode(joined, "UTF-8", "UTF-8", errors="replace") == joined
    replaced = tf.strings.unsorted_segment_join(tf.fill(tf.shape(texts), "\ufffd"), run, num_runs)
    is_bytes = tf.boolean_mask(is_byte, begins)
    return tf.where(is_bytes & ~valid, replaced, joined), tf.boolean_mask(row_of, begins)
