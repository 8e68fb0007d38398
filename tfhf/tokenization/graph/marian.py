"""Marian's tokenizer inside a TensorFlow graph.

It is SentencePiece itself, with normalization and all. Only the ids are others: those of a
vocabulary which the source and the target language share, or of one for each.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text
from sentencepiece.sentencepiece_model_pb2 import ModelProto  # type: ignore[attr-defined]
from transformers import MarianTokenizer

from tfhf.tokenization.graph.assembly import Slot
from tfhf.tokenization.graph.characters import NUM_CODE_POINTS, CharacterTable
from tfhf.tokenization.graph.decoding import clean_up
from tfhf.tokenization.graph.errors import UnsupportedTokenizerError
from tfhf.tokenization.graph.metaspace import SPACE
from tfhf.tokenization.graph.replacement import WHITE_SPACE
from tfhf.tokenization.graph.sentencepiece import Algorithm, Kind, make_op, normalize_nothing

LANGUAGE_CODE = "(?s)^(>>.*?<<)"

# What `str.strip` takes away.
STRIPPED = rf"(?:{WHITE_SPACE}|[\x1c-\x1f])+"


class MarianPieces(tf.Module):
    """Turns text into ids, in the language that the tokenizer is set to: that of the source.

    One op normalizes. Another, which sums scores up as the library does, cuts into pieces.

    Args:
        tokenizer: gives the model of the language and the vocabulary.

    Raises:
        UnsupportedTokenizerError: if it samples, has added tokens that look at what is around, or
            a model that does more than to choose the best pieces.
    """

    def __init__(self, tokenizer: MarianTokenizer) -> None:
        super().__init__()
        if tokenizer.sp_model_kwargs:
            raise UnsupportedTokenizerError("sp_model_kwargs", str(tokenizer.sp_model_kwargs), "{}")
        for token in tokenizer.added_tokens_decoder.values():
            if token.lstrip or token.rstrip or token.single_word:
                found = f"with {token!r}"
                raise UnsupportedTokenizerError("list of added tokens", found, "plain ones")
        model = ModelProto.FromString(tokenizer.current_spm.serialized_model_proto())
        alphabet = _alphabet(model)
        self._normalize = _normalizer(model)
        normalize_nothing(model)
        self._pieces = tf_text.FastSentencepieceTokenizer(model.SerializeToString())
        # To this op, an unknown character of several bytes is several, and bad in proportion.
        is_unknown = np.ones(NUM_CODE_POINTS, np.int32)
        is_unknown[[ord(character) for character in alphabet]] = 0
        self._is_unknown = CharacterTable(is_unknown)
        self._unknown_character = next(byte for byte in range(1, 128) if is_unknown[byte])
        vocab = tokenizer.current_encoder
        unk_id = vocab[str(tokenizer.unk_token)]
        self._ids = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                list(vocab), tf.constant(list(vocab.values()), tf.int32)
            ),
            default_value=unk_id,
        )
        self._unknown_piece = model.trainer_spec.unk_id
        with tf.device("CPU:0"):
            self._ids_of_pieces = tf.constant(
                [vocab.get(piece.piece, unk_id) for piece in model.pieces], tf.int32
            )

    def __call__(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Tokenize `text`, a vector of n valid UTF-8 strings, into int32 ids [n, (tokens)]."""
        code = tf.strings.regex_replace(text, f"{LANGUAGE_CODE}.*|.*", r"\1", replace_global=False)
        has_code = code != ""
        codes = tf.RaggedTensor.from_row_lengths(
            self._ids.lookup(tf.boolean_mask(code, has_code)),
            tf.cast(has_code, tf.int64),
            validate=False,
        )
        text = tf.strings.regex_replace(text, LANGUAGE_CODE, "", replace_global=False)
        normalized = tf.strings.reduce_join(self._normalize.tokenize(text), axis=-1)
        return tf.concat([codes, self._cut(normalized)], axis=1)

    def _cut(self, text: tf.Tensor) -> tf.RaggedTensor:
        characters = tf.strings.unicode_decode(text, "UTF-8")
        is_unknown = self._is_unknown(characters.values) > 0
        known = tf.where(is_unknown, self._unknown_character, characters.values)
        known = tf.strings.unicode_encode(characters.with_values(known), "UTF-8")
        pieces = self._pieces.tokenize(known).with_row_splits_dtype(tf.int64)
        # Unknown characters side by side are one piece, and the vocabulary may have it: the other
        # language's.
        row = characters.value_rowids()
        is_inside = tf.roll(is_unknown, 1, 0) & (row == tf.roll(row, 1, 0))
        is_inside &= tf.range(tf.size(row)) > 0
        begins = is_unknown & ~is_inside
        run = tf.cumsum(tf.cast(begins, tf.int64)) - 1
        runs = tf.RaggedTensor.from_value_rowids(
            tf.boolean_mask(characters.values, is_unknown),
            tf.boolean_mask(run, is_unknown),
            tf.math.count_nonzero(begins),
            validate=False,
        )
        ids_of_runs = self._ids.lookup(tf.strings.unicode_encode(runs, "UTF-8"))
        is_run = pieces.values == self._unknown_piece
        ids = tf.where(
            is_run,
            tf.gather(tf.concat([[0], ids_of_runs], axis=0), tf.cumsum(tf.cast(is_run, tf.int32))),
            tf.gather(self._ids_of_pieces, pieces.values),
        )
        return pieces.with_values(ids)

    def with_spans(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Refuse to say where tokens stand, as the tokenizer itself does.

        Raises:
            UnsupportedTokenizerError: always.
        """
        raise UnsupportedTokenizerError("model", "Marian's, which keeps no offsets", "another")


def _alphabet(model: ModelProto) -> set[str]:
    """Give the characters that pieces are made of, each of which has to be a piece.

    Raises:
        UnsupportedTokenizerError: if one is not, or the model is of another kind.
    """
    kinds = {Kind.NORMAL, Kind.UNKNOWN, Kind.CONTROL}
    if model.trainer_spec.model_type != Algorithm.UNIGRAM or any(
        piece.type not in kinds for piece in model.pieces
    ):
        found = "one with pieces that are not chosen by their scores alone"
        raise UnsupportedTokenizerError("SentencePiece model", found, "a plain Unigram model")
    pieces = {piece.piece for piece in model.pieces if piece.type == Kind.NORMAL}
    alphabet = set().union(*pieces)
    if not alphabet <= pieces or "\0" in alphabet:
        found = "one with characters that are no piece by themselves"
        raise UnsupportedTokenizerError("SentencePiece model", found, "one with all as pieces")
    return alphabet


def _normalizer(model: ModelProto) -> tf_text.SentencepieceTokenizer:
    """Make an op of which the pieces, joined, are the normalized text."""
    normalizer = ModelProto()
    normalizer.normalizer_spec.CopyFrom(model.normalizer_spec)
    normalizer.trainer_spec.CopyFrom(model.trainer_spec)
    normalizer.trainer_spec.model_type = Algorithm.CHAR
    normalizer.trainer_spec.vocab_size = 1
    normalizer.trainer_spec.unk_id = 0
    for name in ("bos_id", "eos_id", "pad_id"):
        setattr(normalizer.trainer_spec, name, -1)
    normalizer.pieces.add(piece="\0unknown", type=Kind.UNKNOWN)
    return make_op(normalizer, tf.string)


def marian_template(tokenizer: MarianTokenizer) -> tuple[Slot, ...]:
    """Give the template of one text: it, and the end."""
    return Slot(0, 0, 0), Slot(None, tokenizer.eos_token_id, 0)


class MarianDecoder(tf.Module):
    """Turns ids into text in the target language, without special tokens.

    Args:
        tokenizer: gives the vocabulary.
        clean_up_spaces: whether to take spaces before punctuation away at last.
    """

    def __init__(self, tokenizer: MarianTokenizer, *, clean_up_spaces: bool) -> None:
        super().__init__()
        self._clean_up_spaces = clean_up_spaces
        model = tokenizer.spm_target if tokenizer.separate_vocabs else tokenizer.spm_source
        added = tokenizer.added_tokens_decoder
        tokens = tokenizer.decoder | {index: token.content for index, token in added.items()}
        special = set(tokenizer.all_special_ids)
        # The last one is for ids that no token has, and which are left out.
        texts = [""] * (max(tokens) + 2)
        for index, token in tokens.items():
            if index not in special:
                # The library leaves the space out that begins a text, so it gets one before.
                text = model.decode_pieces(["a", token]).removeprefix("a")
                texts[index] = text.replace(SPACE, " ")
        with tf.device("CPU:0"):
            self._texts = tf.constant(texts)

    def __call__(
        self, ids: tf.Tensor | tf.RaggedTensor, *, skip_special_tokens: bool = True
    ) -> tf.Tensor:
        """Turn integer ids [n, tokens], ragged or not, into n strings.

        Raises:
            UnsupportedTokenizerError: unless special tokens are skipped.
        """
        if not skip_special_tokens:
            found = "Marian's with special tokens"
            raise UnsupportedTokenizerError("decoder", found, "skip_special_tokens=True")
        rows = ids if isinstance(ids, tf.RaggedTensor) else tf.RaggedTensor.from_tensor(ids)
        unknown = tf.constant(self._texts.shape[0] - 1, rows.dtype)
        is_id = (rows.values >= 0) & (rows.values < unknown)
        text = tf.strings.unsorted_segment_join(
            tf.gather(self._texts, tf.where(is_id, rows.values, unknown)),
            rows.value_rowids(),
            rows.nrows(),
        )
        text = tf.strings.regex_replace(text, f"^{STRIPPED}|{STRIPPED}$", "")
        return clean_up(text) if self._clean_up_spaces else text
