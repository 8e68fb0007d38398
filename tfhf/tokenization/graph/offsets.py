"""Where tokens stand in a text, in characters: for answers and entities.

Tokens with spans are rows of three: the id, and the characters where the token starts and ends.

They are those of the library but in words with marks that are not in canonical order and of which
BERT strips some and keeps some, as in rare scripts: there, an end may be off by the marks.
"""

from __future__ import annotations

import json

import tensorflow as tf
from tokenizers import Tokenizer

from tfhf.tokenization.graph.characters import REMOVED_STARTER
from tfhf.tokenization.graph.errors import UnsupportedTokenizerError

BYTE_LEVEL_SPACE = "Ġ"


def move_spans(
    tokens: tf.RaggedTensor, characters: tf.RaggedTensor, source: tf.Tensor
) -> tf.RaggedTensor:
    """Turn spans in rewritten texts into spans in the texts as they were.

    Args:
        tokens: int32 [n, (tokens), 3].
        characters: what `CharacterMap.rewrite` made of n texts.
        source: where each of these characters comes from.
    """
    kept = characters.with_values(characters.values != ord(REMOVED_STARTER))
    source = tf.ragged.boolean_mask(characters.with_values(tf.cast(source, tf.int32)), kept)
    token_id, start, end = tf.unstack(tokens.values, axis=1)
    row_start = tf.cast(tf.gather(source.row_starts(), tokens.value_rowids()), tf.int32)
    start = tf.gather(source.values, row_start + start)
    end = tf.gather(source.values, row_start + end - 1) + 1
    return tokens.with_values(tf.stack([token_id, start, end], axis=1))


def unprefix_spans(
    tokens: tf.RaggedTensor, prefixed: tf.Tensor, text: tf.Tensor
) -> tf.RaggedTensor:
    """Turn spans in texts that got a prefix, which counts as part of the first character."""
    added = tf.strings.length(prefixed, "UTF8_CHAR") - tf.strings.length(text, "UTF8_CHAR")
    added = tf.gather(added, tokens.value_rowids())
    token_id, start, end = tf.unstack(tokens.values, axis=1)
    start, end = tf.maximum(start - added, 0), tf.maximum(end - added, 1)
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
        size = max(backend.get_vocab(with_added_tokens=True).values()) + 1
        tokens = [(backend.id_to_token(index) or "") for index in range(size)]
        tokens = [token.replace(BYTE_LEVEL_SPACE, " ") for token in tokens]
        strips_left, strips_right = [False] * size, [False] * size
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
