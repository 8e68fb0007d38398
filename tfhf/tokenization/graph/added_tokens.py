"""Added tokens in text, such as `[MASK]`: found before anything else, as `tokenizers` does it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import tensorflow as tf
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordLevel

from tfhf.tokenization.graph.characters import unicode_pages
from tfhf.tokenization.graph.errors import UnsupportedTokenizerError
from tfhf.tokenization.graph.replacement import (
    WHITE_SPACE,
    escape,
    is_match,
    positions,
    split_at,
)


class AddedTokens(tf.Module):
    """Finds added tokens in text, and leaves the text around them to a tokenizer.

    Where several tokens begin at one place, the longest is taken. A token with `lstrip` or `rstrip`
    swallows the white space beside it; one with `single_word` is passed over where it touches a
    letter, a digit or an underscore.

    Args:
        tokens: the added tokens by id. Their `content` is looked for as it stands, so that of a
            token with `normalized=True` has to be normalized before.
        split_special_tokens: whether tokens with `special=True` are passed over.

    Raises:
        UnsupportedTokenizerError: if a token is empty or two are equal.

    Example:
        >>> added = AddedTokens({9: AddedToken("[MASK]", lstrip=True)})
        >>> def lengths(text, begins):
        ...     return tf.RaggedTensor.from_tensor(tf.strings.length(text)[:, None])
        >>> added(tf.constant(["one [MASK] two"]), tf.constant([True]), lengths).to_list()
        [[3, 9, 0, 4]]
    """

    def __init__(
        self, tokens: Mapping[int, AddedToken], *, split_special_tokens: bool = False
    ) -> None:
        super().__init__()
        contents = [token.content for token in tokens.values()]
        if "" in contents or len(set(contents)) < len(contents):
            raise UnsupportedTokenizerError(
                "list of added tokens",
                f"{contents} once normalized",
                "tokens that are neither empty nor equal",
            )
        self._is_empty = not tokens
        if self._is_empty:
            return
        longest_first = sorted(contents, key=len, reverse=True)
        self._pattern = "|".join(map(escape, longest_first))
        self._index = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(contents, tf.range(len(contents))),
            default_value=len(contents),
        )
        entries = [*tokens.values(), AddedToken("")]  # the last for what is no token
        ignored = [token.special and split_special_tokens for token in entries]
        single_word = [token.single_word for token in entries]
        lstrip = [token.lstrip for token in entries]
        rstrip = [token.rstrip for token in entries]
        self._passes_over = any(ignored) or any(single_word)
        self._strips = any(lstrip) or any(rstrip)
        with tf.device("CPU:0"):
            self._ids = tf.constant([*tokens, -1], tf.int32)
            self._ignored = tf.constant(ignored)
            self._single_word = tf.constant(single_word)
            self._lstrip = tf.constant(lstrip)
            self._rstrip = tf.constant(rstrip)
            self._word_bounds = tf.constant(_word_bounds() if any(single_word) else [], tf.int32)

    def __call__(
        self,
        text: tf.Tensor,
        begins: tf.Tensor,
        tokenize: Callable[[tf.Tensor, tf.Tensor], tf.RaggedTensor],
        *,
        with_spans: bool = False,
    ) -> tf.RaggedTensor:
        """Tokenize `text`, a vector of n valid UTF-8 strings, into int32 ids [n, (tokens)].

        Args:
            text: the texts.
            begins: bool [n], whether each is the beginning of an input, and not a later part.
            tokenize: gives the ids of a vector of texts that hold no added token. Its second
                argument says which of them are beginnings.
            with_spans: whether tokens are rows of three, `tokenize`'s as well: the id, and the
                characters of the text where the token starts and ends.
        """
        if self._is_empty:
            return tokenize(text, begins)
        pieces = split_at(text, self._pattern)
        if self._passes_over:
            pieces = self._pass_over(pieces)
        index = self._indices(pieces)
        is_token = index < self._ids.shape[0] - 1
        texts = left_stripped = tf.where(is_token, "", pieces.values)
        if self._strips:
            left_stripped = self._strip_left(texts, index)
            texts = self._strip_right(left_stripped, index)
        begins = tf.gather(begins, pieces.value_rowids()) & (positions(pieces) == 0)
        text_ids = tokenize(texts, begins)
        token_ids = tf.gather(self._ids, index)
        if with_spans:
            length, kept_left, kept = map(_length, (pieces.values, left_stripped, texts))
            end = tf.cumsum(length)
            row_end = tf.gather(tf.concat([[0], end], axis=0), pieces.row_splits)
            end -= tf.gather(row_end, pieces.value_rowids())
            start = end - length
            # A token has the white space that it swallows.
            before = tf.where(is_token, 0, kept_left - kept)
            after = tf.where(is_token, 0, length - kept_left)
            span = (start - _before(before), end + _after(after))
            token_ids = tf.stack([token_ids, *span], axis=1)
            text_start = tf.gather(start + after, text_ids.value_rowids())
            shift = tf.stack([tf.zeros_like(text_start), text_start, text_start], axis=1)
            text_ids = text_ids.with_values(text_ids.values + shift)
        token_ids = tf.RaggedTensor.from_row_lengths(
            tf.boolean_mask(token_ids, is_token), tf.cast(is_token, tf.int64), validate=False
        )
        ids = tf.concat([token_ids, text_ids], axis=1)  # one of the two is empty in each row
        return pieces.with_values(ids).merge_dims(1, 2)

    def _indices(self, pieces: tf.RaggedTensor) -> tf.Tensor:
        """Give the index of the token that each piece is, or of the last entry if it is none."""
        nothing = self._ids.shape[0] - 1
        return tf.where(is_match(pieces), self._index.lookup(pieces.values), nothing)

    def _pass_over(self, pieces: tf.RaggedTensor) -> tf.RaggedTensor:
        """Turn the tokens that do not count where they stand into text again."""
        index = self._indices(pieces)
        is_token = index < self._ids.shape[0] - 1
        is_empty = pieces.values == ""
        filled = tf.where(is_empty, " ", pieces.values)
        begins = self._is_word(tf.strings.substr(filled, 0, 1, "UTF8_CHAR"))
        ends = self._is_word(tf.strings.substr(filled, -1, 1, "UTF8_CHAR"))
        # Two tokens may stand side by side, with an empty text between. The first and the last
        # piece of a row are texts, so that no row touches the next one.
        touches = _before(ends) | (_before(is_empty) & _before(_before(is_token & ends)))
        touches |= _after(begins) | (_after(is_empty) & _after(_after(is_token & begins)))
        is_text = tf.gather(self._ignored, index) | (tf.gather(self._single_word, index) & touches)
        begins_piece = tf.cast(~(is_text | _before(is_text)), tf.int64)
        piece = tf.cumsum(begins_piece)
        joined = tf.strings.unsorted_segment_join(
            pieces.values, piece - 1, tf.reduce_sum(begins_piece)
        )
        first_piece = tf.concat([[0], piece], axis=0)
        return tf.RaggedTensor.from_row_splits(
            joined, tf.gather(first_piece, pieces.row_splits), validate=False
        )

    def _is_word(self, characters: tf.Tensor) -> tf.Tensor:
        """Say of single characters whether they belong to words."""
        code_points = tf.strings.unicode_decode(characters, "UTF-8").values
        return tf.searchsorted(self._word_bounds, code_points, side="right") % 2 == 1

    def _strip_left(self, texts: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
        """Take the white space away that tokens with `rstrip` swallow, which come first."""
        to_strip = _before(tf.gather(self._rstrip, index))
        return tf.where(to_strip, tf.strings.regex_replace(texts, f"^{WHITE_SPACE}+", ""), texts)

    def _strip_right(self, texts: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
        """Take the white space away that tokens with `lstrip` swallow."""
        to_strip = _after(tf.gather(self._lstrip, index))
        return tf.where(to_strip, tf.strings.regex_replace(texts, f"{WHITE_SPACE}+$", ""), texts)


def _length(texts: tf.Tensor) -> tf.Tensor:
    return tf.strings.length(texts, "UTF8_CHAR")


def _before(values: tf.Tensor) -> tf.Tensor:
    """Give to each piece the value of the piece before it."""
    return tf.roll(values, 1, axis=0)


def _after(values: tf.Tensor) -> tf.Tensor:
    """Give to each piece the value of the piece after it."""
    return tf.roll(values, -1, axis=0)


@functools.lru_cache
def _word_bounds() -> tuple[int, ...]:
    """Find the characters beside which the library sees no token with `single_word`.

    Returns:
        The first code point of such characters, the first of others after it, and so on.
    """
    tokenizer = Tokenizer(WordLevel({"text": 0}, unk_token="text"))
    tokenizer.add_tokens([AddedToken("X", single_word=True, normalized=False)])
    bounds = []
    is_word = False
    for page in unicode_pages():
        # "aX bX cX": three characters each, and a token of its own wherever X is seen.
        encoding = tokenizer.encode(" ".join(f"{character}X" for character in page))
        seen = {end for token_id, (_, end) in zip(encoding.ids, encoding.offsets) if token_id}
        for place, character in enumerate(page):
            if is_word == (3 * place + 2 in seen):
                is_word = not is_word
                bounds.append(ord(character))
    return tuple(bounds)
