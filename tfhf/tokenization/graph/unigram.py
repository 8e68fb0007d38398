"""Unigram tokenization inside a TensorFlow graph (Kudo 2018, https://arxiv.org/abs/1804.10959).

Of all ways to cut a word into pieces, the one with the highest sum of scores is taken.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfhf.tokenization.graph.characters import NUM_CODE_POINTS, CharacterTable, PairTable
from tfhf.tokenization.graph.errors import UnsupportedTokenizerError
from tfhf.tokenization.graph.metaspace import Metaspace, split_words
from tfhf.tokenization.graph.offsets import add_spans, move_spans
from tfhf.tokenization.graph.sentencepiece import Algorithm, Kind, Piece, WordPieces

# Scores are rounded to multiples of this, so that their sums, which SentencePiece keeps in float32,
# are exact up to 2048. The library keeps them in float64, where sums of float32 are exact: without
# rounding, chance would choose between ways of the same sum.
SCORE_STEP = 2.0**-13

# Words of more bytes are cut beforehand, where they can be, so that sums stay small.
LONG_WORD = 64


class Unigram(tf.Module):
    """Turns text into the ids of the pieces of its words.

    They are those of the library but for words whose scores sum up to more than 2048, such as
    several hundred asterisks: these may get other pieces where two ways are as good.

    Args:
        model: the `model` entry of a tokenizer.json.
        pre_tokenizer: its `pre_tokenizer` entry.

    Raises:
        UnsupportedTokenizerError: if the vocabulary lacks the unknown piece or has a piece twice,
            or a part does what a graph cannot.

    Example:
        >>> metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"}
        >>> vocab = [["<unk>", 0.0], ["▁graph", -3.0], ["s", -4.0], ["▁", -2.0], ["g", -5.0]]
        >>> unigram = Unigram({"vocab": vocab, "unk_id": 0}, {**metaspace, "split": True})
        >>> unigram(tf.constant(["graphs g?", ""])).to_list()
        [[1, 2, 3, 4, 0], []]
    """

    def __init__(self, model: dict[str, Any], pre_tokenizer: dict[str, Any]) -> None:
        super().__init__()
        if model.get("byte_fallback"):
            raise UnsupportedTokenizerError("model", "Unigram with byte_fallback", "one without")
        if model["unk_id"] is None:
            raise UnsupportedTokenizerError("vocabulary", "without unk_id", "one with it")
        texts = [text for text, _ in model["vocab"]]
        if "" in texts or "\0" in "".join(texts) or len(set(texts)) < len(texts):
            raise UnsupportedTokenizerError(
                "vocabulary",
                "one with empty, repeated or zero-holding pieces",
                "pieces that SentencePiece can tell apart",
            )
        if any(score != float(np.float32(score)) for _, score in model["vocab"]):
            raise UnsupportedTokenizerError(
                "vocabulary",
                "one with float64 scores, whose rounding errors choose between equal sums",
                "float32 scores, as in SentencePiece files",
            )
        self._metaspace = Metaspace(pre_tokenizer)
        pieces = [
            Piece(text, round(score / SCORE_STEP) * SCORE_STEP) for text, score in model["vocab"]
        ]
        # The text of the unknown piece is a piece like any other.
        pieces.append(Piece("\0unknown", 0.0, Kind.UNKNOWN))
        self._cut = WordCutter(texts[: model["unk_id"]] + texts[model["unk_id"] + 1 :])
        self._pieces = WordPieces(pieces, Algorithm.UNIGRAM)
        self._unk_id = model["unk_id"]
        self._num_pieces = len(texts)

    def __call__(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Tokenize `text`, a vector of n valid UTF-8 strings, into int32 ids [n, (tokens)]."""
        return self._known(self._pieces(self._cut(split_words(self._metaspace(text)))))

    def with_spans(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Tokenize `text`, and say where in it tokens stand.

        Returns:
            int32 [n, (tokens), 3]: the id, and the characters where the token starts and ends.
        """
        text, source = self._metaspace.with_source(text)
        ids, num_bytes = self._pieces.with_lengths(self._cut(split_words(text)))
        return move_spans(add_spans(self._known(ids), num_bytes, text), source)

    def _known(self, ids: tf.RaggedTensor) -> tf.RaggedTensor:
        """Write the id of the vocabulary for unknown pieces."""
        return ids.with_values(tf.where(ids.values == self._num_pieces, self._unk_id, ids.values))


class WordCutter(tf.Module):
    """Cuts long words where no piece goes across: the best way to cut the rest stays the same.

    Args:
        pieces: all but the unknown one.

    Example:
        >>> cut = WordCutter(["a", "ab", "b"])
        >>> words = cut(tf.ragged.constant([["ab" * 40, "bb"], ["aab"]]))
        >>> words[0, :3].numpy().tolist(), words[0, -2:].numpy().tolist(), words[1].numpy().tolist()
        ([b'ab', b'ab', b'ab'], [b'b', b'b'], [b'a', b'ab'])
    """

    def __init__(self, pieces: Sequence[str]) -> None:
        super().__init__()
        # Unknown characters side by side make one token, so they are no place to cut at.
        is_piece = np.zeros(NUM_CODE_POINTS, np.int32)
        is_piece[[ord(piece) for piece in pieces if len(piece) == 1]] = 1
        self._is_piece = CharacterTable(is_piece)
        self._is_pair = PairTable(
            {first + second: 1 for piece in pieces for first, second in itertools.pairwise(piece)}
        )

    def __call__(self, words: tf.RaggedTensor) -> tf.RaggedTensor:
        """Cut words [n, (words)], strings, if any of them is long."""
        is_long = tf.strings.length(words.values) > LONG_WORD
        return tf.cond(tf.reduce_any(is_long), lambda: self._cut(words), lambda: words)

    def _cut(self, words: tf.RaggedTensor) -> tf.RaggedTensor:
        characters = tf.strings.unicode_decode(words.values, "UTF-8")
        first = characters.values
        second = tf.roll(first, -1, 0)
        is_pair = self._is_pair(first, second) > 0
        is_known = self._is_piece(first) + self._is_piece(second) > 0
        word = characters.value_rowids()
        # The first character of all has the last one before it.
        begins_part = tf.roll((~is_pair & is_known) | (word != tf.roll(word, -1, 0)), 1, 0)
        begins_part |= tf.range(tf.size(first)) == 0
        parts = tf.RaggedTensor.from_row_starts(
            first, tf.boolean_mask(tf.range(tf.size(first, tf.int64)), begins_part), validate=False
        )
        parts_before = tf.concat([[0], tf.cumsum(tf.cast(begins_part, tf.int64))], axis=0)
        row_splits = tf.gather(characters.row_splits, words.row_splits)
        return tf.RaggedTensor.from_row_splits(
            tf.strings.unicode_encode(parts, "UTF-8"),
            tf.gather(parts_before, row_splits),
            validate=False,
        )
