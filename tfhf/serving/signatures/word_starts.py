"""Which tokens begin a word, for answers that are widened to whole words.

A word is what the pre-tokenizer splits text into; so is every added token that a text has.
"""

from __future__ import annotations

import json

import tensorflow as tf
from transformers import PreTrainedTokenizerBase

from tfhf.tokenization.graph import UnsupportedTokenizerError
from tfhf.tokenization.graph.byte_level import read_pattern, token_bytes
from tfhf.tokenization.graph.metaspace import SPACE
from tfhf.tokenization.graph.settings import token_names
from tfhf.tokenization.graph.splitting import PatternSplitter

EXPECTED = "that of BERT, Metaspace, a byte-level one or none"


class WordStarts(tf.Module):
    """Finds the tokens of a tokenizer that begin a word.

    Args:
        tokenizer: a fast tokenizer.

    Raises:
        UnsupportedTokenizerError: its words cannot be told from its tokens.

    Example:
        >>> from transformers import BertTokenizer
        >>> tokenizer = BertTokenizer({"[UNK]": 0, "graph": 1, "##s": 2})
        >>> WordStarts(tokenizer)(tf.ragged.constant([[1, 2, 1]])).to_list()
        [[True, False, True]]
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__()
        backend = tokenizer.backend_tokenizer
        spec = json.loads(backend.to_str())
        added = backend.get_added_tokens_decoder()
        names = [name or "" for name in token_names(backend)]
        self._split = None
        pre_tokenizer = spec["pre_tokenizer"] or {"type": None}
        last = pre_tokenizer.get("pretokenizers", [pre_tokenizer])[-1]
        if last["type"] == "BertPreTokenizer" and spec["model"]["type"] == "WordPiece":
            prefix = spec["model"]["continuing_subword_prefix"]
            begins = [not name.startswith(prefix) for name in names]
        elif last["type"] == "Metaspace" and last["split"]:
            begins = [name.startswith(SPACE) for name in names]
        elif last["type"] == "ByteLevel":
            self._split = PatternSplitter(read_pattern(pre_tokenizer))
            begins = [False] * len(names)
        elif last["type"] is None:
            begins = [False] * len(names)
        else:
            raise UnsupportedTokenizerError("pre_tokenizer", last["type"], EXPECTED)
        with tf.device("CPU:0"):
            self._is_added = tf.constant([index in added for index in range(len(names))])
            self._begins = tf.constant(begins)
            if self._split is not None:
                self._bytes = tf.constant([token_bytes(name) for name in names])

    def __call__(self, ids: tf.RaggedTensor) -> tf.RaggedTensor:
        """Say of tokens [n, (tokens)] whether they begin a word."""
        is_added = tf.gather(self._is_added, ids.values)
        place = tf.range(tf.size(ids.values, tf.int64))
        is_first = place == tf.gather(ids.row_splits, ids.value_rowids())
        begins_part = is_first | is_added | tf.roll(is_added, 1, axis=0)
        begins = begins_part | tf.gather(self._begins, ids.values)
        if self._split is not None:
            begins |= self._after_splitting(self._split, ids.values, begins_part)
        return ids.with_values(begins)

    def _after_splitting(
        self, split: PatternSplitter, ids: tf.Tensor, begins_part: tf.Tensor
    ) -> tf.Tensor:
        """Put the text between added tokens together again, and see where it is split."""
        part = tf.cumsum(tf.cast(begins_part, tf.int64)) - 1
        bytes_ = tf.gather(self._bytes, ids)
        num_parts = tf.math.count_nonzero(begins_part)
        words = split(tf.strings.unsorted_segment_join(bytes_, part, num_parts))
        word_starts = tf.cumsum(tf.strings.length(words.values), exclusive=True)
        token_starts = tf.cumsum(tf.strings.length(bytes_), exclusive=True)
        after = tf.searchsorted(word_starts, token_starts, side="right")
        return tf.gather(tf.concat([[-1], word_starts], axis=0), after) == token_starts
