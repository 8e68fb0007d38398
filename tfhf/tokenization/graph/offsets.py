"""Where tokens stand in a text, in characters: for answers and entities.

Tokens with spans are rows of three: the id, and the characters where the token starts and ends.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import tensorflow as tf
from tokenizers import Tokenizer

from tfhf.tokenization.graph.characters import character_of_bytes
from tfhf.tokenization.graph.errors import UnsupportedTokenizerError
from tfhf.tokenization.graph.rewriting import look_up
from tfhf.tokenization.graph.settings import token_names

BYTE_LEVEL_SPACE = "Ġ"


def token_lengths(vocab: Mapping[str, int], length: Callable[[str], int]) -> list[int]:
    """Give the length of the token of each id."""
    lengths = [0] * (max(vocab.values()) + 1)
    for token, token_id in vocab.items():
        lengths[token_id] = length(token)
    return lengths


def add_spans(ids: tf.RaggedTensor, num_bytes: tf.Tensor, text: tf.Tensor) -> tf.RaggedTensor:
    """Give tokens their spans in a text that they make up.

    Args:
        ids: int32 [n, (tokens)].
        num_bytes: int32, the bytes of each token of all texts in a row.
        text: n strings.

    Example:
        >>> ids = tf.ragged.constant([[7, 8]], tf.int32)
        >>> add_spans(ids, tf.constant([2, 1]), tf.constant(["éa"])).to_list()
        [[[7, 0, 1], [8, 1, 2]]]
    """
    end = tf.cumsum(num_bytes)
    character = character_of_bytes(text)
    lengths = tf.strings.length(text, "UTF8_CHAR")
    row_start = tf.gather(tf.cumsum(lengths, exclusive=True), ids.value_rowids())
    spans = (
        tf.gather(character, end - num_bytes) - row_start,
        tf.gather(character, end - 1) + 1 - row_start,
    )
    return ids.with_values(tf.stack([ids.values, *spans], axis=1))


def move_spans(tokens: tf.RaggedTensor, source: tf.RaggedTensor) -> tf.RaggedTensor:
    """Turn spans in rewritten texts into spans in the texts as they were.

    Args:
        tokens: int32 [n, (tokens), 3].
        source: where the characters of the rewritten texts come from, as `Rewriter` says.

    Example:
        >>> tokens = tf.ragged.constant([[[7, 0, 2]]], tf.int32, ragged_rank=1)
        >>> move_spans(tokens, tf.ragged.constant([[0, 3]], tf.int32)).to_list()
        [[[7, 0, 4]]]
    """
    row = tokens.value_rowids()
    token_id, start, end = tf.unstack(tokens.values, axis=1)
    start, end = look_up(source, row, start), look_up(source, row, end - 1) + 1
    return tokens.with_values(tf.stack([token_id, start, end], axis=1))


class SpaceTrimmer(tf.Module):
    """Leaves spaces out of the spans of tokens such as "Ġgraph", as `trim_offsets` says.

    Args:
        backend: the tokenizer.
        add_prefix_space: whether texts got a space before them, which is in no span.

    Raises:
        UnsupportedTokenizerError: if an added token swallows the spaces on both sides.
    """

    def __init__(self, backend: Tokenizer, *, add_prefix_space: bool) -> None:
        super().__init__()
        self._add_prefix_space = add_prefix_space
        tokens = [(name or "").replace(BYTE_LEVEL_SPACE, " ") for name in token_names(backend)]
        strips_left, strips_right = [False] * len(tokens), [False] * len(tokens)
        for token_id, token in backend.get_added_tokens_decoder().items():
            strips_left[token_id], strips_right[token_id] = token.lstrip, token.rstrip
            if token.lstrip and token.rstrip:
                found = f"with {token.content!r}, which has lstrip and rstrip, beside trim_offsets"
                raise UnsupportedTokenizerError("list of added tokens", found, "one of the two")
        with tf.device("CPU:0"):
            self._length = tf.constant(list(map(len, tokens)))
            self._leading = tf.constant([len(token) - len(token.lstrip()) for token in tokens])
            self._trailing = tf.constant([len(token) - len(token.rstrip()) for token in tokens])
            self._strips_left = tf.constant(strips_left)
            self._strips_right = tf.constant(strips_right)

    def __call__(self, tokens: tf.RaggedTensor) -> tf.RaggedTensor:
        """Trim the spans of `tokens`, int32 [n, (tokens), 3]."""
        token_id, start, end = tf.unstack(tokens.values, axis=1)
        leading, trailing = tf.gather(self._leading, token_id), tf.gather(self._trailing, token_id)
        swallowed = end - start - tf.gather(self._length, token_id)
        leading += tf.where(tf.gather(self._strips_left, token_id), swallowed, 0)
        trailing += tf.where(tf.gather(self._strips_right, token_id), swallowed, 0)
        if self._add_prefix_space:
            place = tf.range(tf.size(token_id, tf.int64))
            is_first = place == tf.gather(tokens.row_splits, tokens.value_rowids())
            leading = tf.where((is_first | (start == 0)) & (leading == 1), 0, leading)
        start = tf.minimum(start + leading, end)
        end = tf.where(end >= trailing, tf.maximum(end - trailing, start), end)
        return tokens.with_values(tf.stack([token_id, start, end], axis=1))


def read_space_trimmer(backend: Tokenizer) -> SpaceTrimmer | None:
    """Make what trims spans, if the post-processor of a tokenizer does."""
    spec = json.loads(backend.to_str())["post_processor"]
    for step in [] if spec is None else spec.get("processors", [spec]):
        if step.get("trim_offsets"):
            return SpaceTrimmer(backend, add_prefix_space=step["add_prefix_space"])
    return None
