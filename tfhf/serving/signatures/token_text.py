"""What tokens are called, and the text that several of them make up: for entities.

The pipelines join names of tokens, not ids: in place of an unknown token they put what the text has
there, and the words of an entity are joined once more.
"""

from __future__ import annotations

import json
from typing import Any

import tensorflow as tf
from transformers import PreTrainedTokenizerBase

from tfhf.tokenization.graph import UnsupportedTokenizerError
from tfhf.tokenization.graph.byte_level import BYTE_CHARACTERS
from tfhf.tokenization.graph.decoding import clean_up
from tfhf.tokenization.graph.replacement import escape
from tfhf.tokenization.graph.settings import token_names

EXPECTED = "WordPiece, ByteLevel, Metaspace or none"


def characters_of(text: tf.Tensor) -> tf.RaggedTensor:
    """Return the code points of texts: int32 [n, (characters)]."""
    text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace")
    return tf.strings.unicode_decode(text, "UTF-8")


def text_at(
    characters: tf.RaggedTensor, row: tf.Tensor, start: tf.Tensor, end: tf.Tensor
) -> tf.Tensor:
    """Return the parts of texts that spans stand for.

    Args:
        characters: what `characters_of` made of texts.
        row: int [spans], the text of each span.
        start: int [spans], its first character.
        end: int [spans], the one after its last.

    Example:
        >>> text_at(characters_of(tf.constant(["ab", "déf"])), [1, 0], [1, 0], [3, 1]).numpy()
        array([b'\\xc3\\xa9f', b'a'], dtype=object)
    """
    first = tf.gather(characters.row_starts(), row)
    start, end = first + tf.cast(start, tf.int64), first + tf.cast(end, tf.int64)
    places = tf.ragged.range(start, tf.maximum(start, end))
    part = places.with_values(tf.gather(characters.values, places.values))
    return tf.strings.unicode_encode(part, "UTF-8")


class TokenText(tf.Module):
    """The names of a tokenizer's tokens, and how its decoder joins them.

    Args:
        tokenizer: a fast tokenizer.

    Raises:
        UnsupportedTokenizerError: TensorFlow operations cannot do what its decoder does.

    Example:
        >>> from transformers import BertTokenizer
        >>> tokenizer = BertTokenizer({"[UNK]": 0, "graph": 1, "##s": 2})
        >>> text = TokenText(tokenizer)
        >>> names = text.names(tf.constant([1, 2, 1]))
        >>> text.join(names, tf.constant([0, 0, 1]), 2).numpy()
        array([b'graphs', b'graph'], dtype=object)
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__()
        backend = tokenizer.backend_tokenizer
        self.unknown_id = tokenizer.unk_token_id
        #: Whether names show that tokens continue a word, as BERT's "##ing" does.
        self.shows_words = bool(getattr(backend.model, "continuing_subword_prefix", None))
        names = [name or "" for name in token_names(backend)]
        spec: dict[str, Any] = json.loads(backend.to_str())["decoder"] or {"type": None}
        parts = {
            None: self._spaced,
            "ByteLevel": self._byte_level,
            "Metaspace": self._metaspace,
            "WordPiece": self._word_piece,
        }
        if spec["type"] not in parts:
            raise UnsupportedTokenizerError("decoder", spec["type"], EXPECTED)
        self._spec, self._parts = spec, parts[spec["type"]]
        self._joins_bytes = spec["type"] == "ByteLevel"
        with tf.device("CPU:0"):
            self._names = tf.constant(names)
            self._lengths = tf.constant([len(name) for name in names])
            if self._joins_bytes:
                size = max(map(ord, BYTE_CHARACTERS)) + 1
                places = [BYTE_CHARACTERS.find(chr(point)) for point in range(size)]
                self._byte_of = tf.constant([*places, -1])  # the last one: of all characters beyond
                self._bytes = tf.constant([bytes([byte]) for byte in range(256)])

    def names(self, ids: tf.Tensor) -> tf.Tensor:
        """Return the names of tokens, strings of the shape of `ids`."""
        return tf.gather(self._names, ids)

    def lengths(self, ids: tf.Tensor) -> tf.Tensor:
        """Return how many characters the names have."""
        return tf.gather(self._lengths, ids)

    def join(self, names: tf.Tensor, group: tf.Tensor, num_groups: int | tf.Tensor) -> tf.Tensor:
        """Join names [tokens] to texts [num_groups], as `convert_tokens_to_string` does.

        Args:
            names: strings.
            group: int [tokens], in ascending order: which text each is of.
            num_groups: how many texts there are.
        """
        is_first = tf.concat([tf.ones_like(group[:1]), group[1:] - group[:-1]], axis=0) > 0
        text = tf.strings.unsorted_segment_join(self._parts(names, is_first), group, num_groups)
        if self._joins_bytes:
            text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace")
        return text

    def _spaced(self, names: tf.Tensor, is_first: tf.Tensor) -> tf.Tensor:
        return tf.where(is_first, names, tf.strings.join([" ", names]))

    def _word_piece(self, names: tf.Tensor, is_first: tf.Tensor) -> tf.Tensor:
        prefix = escape(self._spec["prefix"])
        continues = tf.strings.regex_full_match(names, f"(?s){prefix}.*")
        inside = tf.strings.regex_replace(names, f"^{prefix}", "", replace_global=False)
        inside = tf.where(continues, inside, tf.strings.join([" ", names]))
        parts = tf.where(is_first, names, inside)
        return clean_up(parts) if self._spec["cleanup"] else parts

    def _byte_level(self, names: tf.Tensor, is_first: tf.Tensor) -> tf.Tensor:
        """Make bytes of the characters that stand for them; leave names alone that have others."""
        characters = tf.strings.unicode_decode(names, "UTF-8")
        beyond = tf.size(self._byte_of) - 1
        byte = tf.gather(self._byte_of, tf.minimum(characters.values, beyond))
        lowest = tf.reduce_min(characters.with_values(byte), axis=1)
        bytes_ = tf.strings.unsorted_segment_join(
            tf.gather(self._bytes, tf.maximum(byte, 0)),
            characters.value_rowids(),
            characters.nrows(),
        )
        return tf.where(lowest < 0, names, bytes_)

    def _metaspace(self, names: tf.Tensor, is_first: tf.Tensor) -> tf.Tensor:
        space = self._spec["replacement"]
        following = tf.strings.regex_replace(names, space, " ")
        if self._spec["prepend_scheme"] == "never":
            return following
        return tf.where(is_first, tf.strings.regex_replace(names, space, ""), following)
