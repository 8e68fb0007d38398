"""Byte-pair encoding inside a TensorFlow graph (Sennrich et al. 2016, arXiv:1508.07909).

The library merges the pairs that its list of merges names, in the order of that list. SentencePiece
merges any two pieces that make a piece, the one with the highest score first. Both come to the same
if each piece that merging can lead to has the rank of its merge, negated, for a score, and all
others are kept from being made: the pieces inside a stretch of text are merged alike whatever is
around it, so that a token can only ever come from the last pair that its own text is merged to.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tokenizers import models

from tfhf.tokenization.graph.errors import UnsupportedTokenizerError
from tfhf.tokenization.graph.sentencepiece import Algorithm, Kind, Piece, WordPieces

# The score of single characters, which no merge leads to, has no meaning.
NO_SCORE = 0.0

BYTE_TOKENS = {f"<0x{byte:02X}>" for byte in range(256)}


class BytePairs(tf.Module):
    """Merges the characters of words into tokens.

    Args:
        model: the `model` entry of a tokenizer.json. Its vocabulary has to have every character
            that words can hold, or else every byte as `<0x00>` to `<0xFF>`.

    Raises:
        UnsupportedTokenizerError: if the model drops merges at random, marks pieces inside or at
            the end of words, or ranks two ways to the same token differently.

    Example:
        >>> vocab = {"a": 0, "b": 1, "c": 2, "ab": 3, "abc": 4, "bc": 5}
        >>> merges = [["a", "b"], ["ab", "c"], ["b", "c"]]
        >>> merge = BytePairs({"vocab": vocab, "merges": merges})
        >>> merge(tf.ragged.constant([["abcab", "bc"], []])).to_list()
        [[4, 3, 5], []]
    """

    def __init__(self, model: dict[str, Any]) -> None:
        super().__init__()
        for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
            if model.get(name):
                raise UnsupportedTokenizerError(f"model's {name}", repr(model[name]), "none")
        vocab = model["vocab"]
        ranks = _ranks(model["merges"])
        byte_fallback = model.get("byte_fallback", False)
        library = models.BPE(
            vocab, [tuple(merge) for merge in model["merges"]], byte_fallback=byte_fallback
        )
        # What has no token, and what no text can be merged to, is left out of the merging.
        size = max(vocab.values()) + 1
        pieces = [Piece(f"\0{index}", NO_SCORE, Kind.CONTROL) for index in range(size)]
        never_merged = {}
        for text, token_id in vocab.items():
            if len(text) == 1:
                pieces[token_id] = Piece(text, NO_SCORE)
            elif byte_fallback and text in BYTE_TOKENS:
                pieces[token_id] = Piece(text, NO_SCORE, Kind.BYTE)
            elif [token.id for token in library.tokenize(text)] == [token_id]:
                pieces[token_id] = Piece(text, -float(ranks[text]))
            elif text:
                never_merged[text] = token_id
        pieces.append(Piece("\0unknown", NO_SCORE, Kind.UNKNOWN))
        self._pieces = WordPieces(pieces, Algorithm.BPE)
        # Llama-3's, which says so, takes a word that is a token as it is.
        self._whole = None
        if model.get("ignore_merges") and never_merged:
            self._whole = tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(
                    list(never_merged), tf.constant(list(never_merged.values()), tf.int32)
                ),
                default_value=-1,
            )

    def __call__(self, words: tf.RaggedTensor) -> tf.RaggedTensor:
        """Turn words [n, (words)], strings, into int32 ids [n, (tokens)]."""
        if self._whole is None:
            return self._pieces(words)
        whole = self._whole.lookup(words.values)
        is_whole = whole >= 0
        whole_ids = tf.RaggedTensor.from_row_lengths(
            tf.boolean_mask(whole, is_whole), tf.cast(is_whole, tf.int64), validate=False
        )
        each_word = tf.RaggedTensor.from_uniform_row_length(tf.where(is_whole, "", words.values), 1)
        ids = tf.concat([whole_ids, self._pieces(each_word)], axis=1)  # one of the two is empty
        return words.with_values(ids).merge_dims(1, 2)


def _ranks(merges: list[list[str]]) -> dict[str, int]:
    """Give the rank of each token that merges lead to.

    What was made of ranks by themselves, as for Llama, has all ways to a token in a row.
    """
    ranks: dict[str, int] = {}
    previous = None
    for rank, (left, right) in enumerate(merges):
        token = left + right
        if token in ranks and token != previous:
            found = f"with two ways to {token!r} and others in between"
            raise UnsupportedTokenizerError("list of merges", found, "one rank for each token")
        ranks.setdefault(token, rank)
        previous = token
    return ranks
