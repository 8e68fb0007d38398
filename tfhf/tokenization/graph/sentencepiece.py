"""The SentencePiece op of TensorFlow Text, as a bare engine that cuts words into pieces.

SentencePiece (Kudo and Richardson 2018, https://arxiv.org/abs/1808.06226) would also normalize and
split text, but not as the `tokenizers` library does it. Here it gets words that are ready, and a
model that is built of the vocabulary of the library's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

import tensorflow as tf
import tensorflow_text as tf_text
from sentencepiece.sentencepiece_model_pb2 import ModelProto  # type: ignore[attr-defined]

Kind = ModelProto.SentencePiece.Type
Algorithm = type(ModelProto().trainer_spec).ModelType


class Piece(NamedTuple):
    """An entry of a vocabulary: those with a higher score are preferred."""

    text: str
    score: float
    kind: int = Kind.NORMAL


class WordPieces(tf.Module):
    """Cuts words into pieces, each word of a batch once, however often it is there.

    Args:
        pieces: the vocabulary in the order of the ids. No two may have the same text, and one has
            to be of the kind `Kind.UNKNOWN`.
        algorithm: `Algorithm.BPE` or `Algorithm.UNIGRAM`.

    Example:
        >>> pieces = [Piece("?", 0.0, Kind.UNKNOWN), Piece("a", -2.0), Piece("ab", -1.0)]
        >>> cut = WordPieces(pieces, Algorithm.UNIGRAM)
        >>> cut(tf.ragged.constant([["aab", "c"], []])).to_list()
        [[1, 2, 0], []]
    """

    def __init__(self, pieces: Iterable[Piece], algorithm: int) -> None:
        super().__init__()
        model = ModelProto()
        for index, (text, score, kind) in enumerate(pieces):
            model.pieces.add(piece=text, score=score, type=kind)
            if kind == Kind.UNKNOWN:
                model.trainer_spec.unk_id = index
                model.trainer_spec.unk_piece = text
            elif kind == Kind.BYTE:
                model.trainer_spec.byte_fallback = True
        model.trainer_spec.model_type = algorithm
        model.trainer_spec.vocab_size = len(model.pieces)
        for name in ("bos_id", "eos_id", "pad_id"):
            setattr(model.trainer_spec, name, -1)
        normalize_nothing(model)
        self._op = make_op(model, tf.int32)

    def __call__(self, words: tf.RaggedTensor) -> tf.RaggedTensor:
        """Cut words [n, (words)], strings, into int32 ids [n, (pieces)]."""
        distinct, index = tf.unique(words.values)
        pieces = tf.gather(self._op.tokenize(distinct), index)
        return words.with_values(pieces).merge_dims(1, 2)

    def with_lengths(self, words: tf.RaggedTensor) -> tuple[tf.RaggedTensor, tf.Tensor]:
        """Cut words, and give the bytes of the pieces in a row as well, int32."""
        distinct, index = tf.unique(words.values)
        pieces, starts, ends = self._op.tokenize_with_offsets(distinct)
        lengths = pieces.with_values(tf.cast(ends.values - starts.values, tf.int32))
        ids = words.with_values(tf.gather(pieces, index)).merge_dims(1, 2)
        return ids, tf.gather(lengths, index).values


def normalize_nothing(model: ModelProto) -> None:
    """Have a model take text as it is."""
    model.normalizer_spec.Clear()
    model.normalizer_spec.name = "identity"
    for name in ("add_dummy_prefix", "remove_extra_whitespaces", "escape_whitespaces"):
        setattr(model.normalizer_spec, name, False)


def make_op(model: ModelProto, out_type: tf.DType) -> tf_text.SentencepieceTokenizer:
    """Make an op of a model, which cuts text into the ids or the texts of pieces."""
    serialized = model.SerializeToString()
    # In one process, all ops of loaded SavedModels that have the same name have the same model.
    name = f"pieces_{hashlib.sha256(serialized).hexdigest()}"
    return tf_text.SentencepieceTokenizer(serialized, out_type=out_type, name=name)
