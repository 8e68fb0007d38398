"""Processors that look at the tokens so far: repetition, n-grams, biased sequences, prefixes.

All rows, n-grams and sequences are handled at once, by gathers from the buffer of ids and one
scatter into the scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfhf.generation.logits_processors import (
    INFINITY,
    TFLogitsProcessor,
    require_integer,
    require_positive_float,
    require_token_ids,
)
from tfhf.layers.cache import compiling_with_xla


def add_up(token_ids: tf.Tensor, values: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    """Sums of ``values`` by token: float [rows, vocab_size], like ``scores``.

    Args:
        token_ids: int32 [rows, n]. Those outside the vocabulary do not count.
        values: [rows, n].
        scores: gives the shape and the type.
    """
    rows, vocab_size = tf.shape(scores)[0], scores.shape[-1]
    inside = (token_ids >= 0) & (token_ids < vocab_size)
    cells = tf.where(inside, token_ids, 0) + vocab_size * tf.range(rows)[:, None]
    values = tf.where(inside, tf.cast(values, scores.dtype), 0)
    sums = tf.scatter_nd(tf.reshape(cells, [-1, 1]), tf.reshape(values, [-1]), [rows * vocab_size])
    return tf.reshape(sums, tf.shape(scores))


def seen(token_ids: tf.Tensor, counts: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    """Which tokens are among the ``token_ids`` [rows, n] that count: bool [rows, vocab_size]."""
    return add_up(token_ids, counts, scores) > 0


def windows(token_ids: tf.Tensor, size: int) -> tf.Tensor:
    """All runs of ``size`` tokens of [rows, length]: [rows, runs, size]; none if it is shorter."""
    starts = tf.range(tf.maximum(tf.shape(token_ids)[1] - size + 1, 0))
    return tf.gather(token_ids, starts[:, None] + tf.range(size), axis=1)


def last_tokens(input_ids: tf.Tensor, count: int, cur_len: Any) -> tf.Tensor:
    """The last ``count`` of ``cur_len`` tokens, [rows, count]; wrong ones where these are fewer."""
    return tf.gather(input_ids, tf.maximum(cur_len - count + tf.range(count), 0), axis=1)


def rows_for(encoder_input_ids: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    """The encoder's ids [batch, length], each row as often as it has rows in ``scores``."""
    return tf.repeat(
        encoder_input_ids, tf.shape(scores)[0] // tf.shape(encoder_input_ids)[0], axis=0
    )


def require_batch(encoder_input_ids: Any) -> tf.Tensor:
    """Return ids [batch, length], or of one row [length], as int32 [batch, length].

    Raises:
        ValueError: they are of another shape.
    """
    ids = tf.cast(encoder_input_ids, tf.int32)
    if ids.shape.rank not in (1, 2):
        raise ValueError(
            f"encoder_input_ids must be [batch, length], but their shape is {ids.shape}"
        )
    return ids[None] if ids.shape.rank == 1 else ids


def penalized(scores: tf.Tensor, penalty: float) -> tf.Tensor:
    """Less likely where ``penalty`` is above 1, whatever their sign."""
    return tf.where(scores < 0, scores * penalty, scores / penalty)


class TFRepetitionPenaltyLogitsProcessor(TFLogitsProcessor):
    """Tokens that are there already become less likely (CTRL, https://arxiv.org/abs/1909.05858).

    Args:
        penalty: 1 is none, above 1 they become less likely, below 1 more likely.
        prompt_ignore_length: how many tokens at the start of the rows do not count, as padding: an
            int, or int [rows].

    Raises:
        ValueError: ``penalty`` is no float above 0, ``prompt_ignore_length`` is of another shape.

    Example:
        >>> processor = TFRepetitionPenaltyLogitsProcessor(penalty=2.0)
        >>> processor(tf.constant([[0, 1, 2]]), tf.constant([[1.0, -1.0, 1.0]]), 2).numpy()
        array([[ 0.5, -2. ,  1. ]], dtype=float32)
    """

    def __init__(self, penalty: float, prompt_ignore_length: Any = None) -> None:
        self.penalty = require_positive_float(penalty, "penalty")
        if prompt_ignore_length is None:
            prompt_ignore_length = 0
        if isinstance(prompt_ignore_length, int):
            require_integer(prompt_ignore_length, "prompt_ignore_length", 0)
        self.prompt_ignore_length = tf.cast(prompt_ignore_length, tf.int32)
        if self.prompt_ignore_length.shape.rank not in (0, 1):
            raise ValueError(
                "prompt_ignore_length must be an integer or [rows], but its shape is "
                f"{self.prompt_ignore_length.shape}"
            )

    def __call__(self, input_ids: tf.Tensor, scores: tf.Tensor, cur_len: Any) -> tf.Tensor:
        """As TFLogitsProcessor's."""
        positions = tf.range(tf.shape(input_ids)[1])
        counts = (positions < cur_len) & (positions >= self.prompt_ignore_length[..., None])
        counts = tf.broadcast_to(counts, tf.shape(input_ids))
        return tf.where(seen(input_ids, counts, scores), penalized(scores, self.penalty), scores)


class TFEncoderRepetitionPenaltyLogitsProcessor(TFLogitsProcessor):
    """Tokens of the encoder's text become more likely, against invented content.

    Args:
        penalty: 1 is none, above 1 they become more likely.
        encoder_input_ids: int [batch, length].

    Raises:
        ValueError: ``penalty`` is no float above 0, or ``encoder_input_ids`` of another shape.

    Example:
        >>> processor = TFEncoderRepetitionPenaltyLogitsProcessor(2.0, tf.constant([[0, 1]]))
        >>> processor(tf.constant([[5]]), tf.constant([[1.0, -1.0, 1.0]]), 1).numpy()
        array([[ 2. , -0.5,  1. ]], dtype=float32)
    """

    def __init__(self, penalty: float, encoder_input_ids: tf.Tensor) -> None:
        self.penalty = 1 / require_positive_float(penalty, "penalty")
        self.encoder_input_ids = require_batch(encoder_input_ids)

    def __call__(self, input_ids: tf.Tensor, scores: tf.Tensor, cur_len: Any) -> tf.Tensor:
        """As TFLogitsProcessor's."""
        ids = rows_for(self.encoder_input_ids, scores)
        return tf.where(
            seen(ids, tf.ones_like(ids), scores), penalized(scores, self.penalty), scores
        )


class TFNoRepeatNGramLogitsProcessor(TFLogitsProcessor):
    """No run of ``ngram_size`` tokens occurs twice in a row, its prompt included.

    Raises:
        ValueError: ``ngram_size`` is no integer above 0.

    Example:
        >>> processor = TFNoRepeatNGramLogitsProcessor(2)
        >>> processor(tf.constant([[1, 2, 1, 0]]), tf.constant([[1.0, 2.0, 3.0]]), 3).numpy()
        array([[  1.,   2., -inf]], dtype=float32)
    """

    def __init__(self, ngram_size: int) -> None:
        self.ngram_size = require_integer(ngram_size, "ngram_size", 1)

    def __call__(self, input_ids: tf.Tensor, scores: tf.Tensor, cur_len: Any) -> tf.Tensor:
        """As TFLogitsProcessor's."""
        size = self.ngram_size
        if input_ids.shape[1] is not None and input_ids.shape[1] < size:
            return scores
        ngrams = windows(input_ids, size)
        begun = last_tokens(input_ids, size - 1, cur_len)
        repeated = tf.reduce_all(ngrams[..., :-1] == begun[:, None], -1)
        real = tf.range(tf.shape(ngrams)[1]) + size <= cur_len
        return tf.where(seen(ngrams[..., -1], repeated & real, scores), -INFINITY, scores)


class TFEncoderNoRepeatNGramLogitsProcessor(TFLogitsProcessor):
    """No run of ``encoder_ngram_size`` tokens of the encoder's text occurs in what is generated.

    Args:
        encoder_ngram_size: the length of these runs.
        encoder_input_ids: int [batch, length].

    Raises:
        ValueError: ``encoder_ngram_size`` is no integer above 0, or ``encoder_input_ids`` are of
            another shape.

    Example:
        >>> processor = TFEncoderNoRepeatNGramLogitsProcessor(2, tf.constant([[1, 2]]))
        >>> processor(tf.constant([[1]]), tf.constant([[1.0, 2.0, 3.0]]), 1).numpy()
        array([[  1.,   2., -inf]], dtype=float32)
    """

    def __init__(self, encoder_ngram_size: int, encoder_input_ids: tf.Tensor) -> None:
        self.ngram_size = require_integer(encoder_ngram_size, "encoder_ngram_size", 1)
        self.encoder_input_ids = require_batch(encoder_input_ids)

    def __call__(self, input_ids: tf.Tensor, scores: tf.Tensor, cur_len: Any) -> tf.Tensor:
        """As TFLogitsProcessor's."""
        size, length = self.ngram_size, self.encoder_input_ids.shape[1]
        if length is not None and length < size:
            return scores
        ngrams = windows(rows_for(self.encoder_input_ids, scores), size)
        begun = last_tokens(input_ids, size - 1, cur_len)
        repeated = tf.reduce_all(ngrams[..., :-1] == begun[:, None], -1) & (cur_len >= size - 1)
        return tf.where(seen(ngrams[..., -1], repeated, scores), -INFINITY, scores)


class TFSequenceBiasLogitsProcessor(TFLogitsProcessor):
    """Sequences of tokens become more or less likely: their last token does, after the others.

    Args:
        sequence_bias: biases (floats) by sequence of token ids (tuples), or as a list
            ``[[[ids], bias], ...]``, which is how JSON writes it.

    Raises:
        ValueError: it is not that, or empty, or, when called, a token is outside the vocabulary.

    Example:
        >>> processor = TFSequenceBiasLogitsProcessor({(2,): 1.0, (1, 0): -1.0})
        >>> processor(tf.constant([[1, 0]]), tf.constant([[3.0, 3.0, 3.0]]), 1).numpy()
        array([[2., 3., 4.]], dtype=float32)
    """

    def __init__(self, sequence_bias: Mapping[tuple[int, ...], float] | list[list[Any]]) -> None:
        self.argument = "sequence_bias"
        try:
            biases = (
                {**sequence_bias}
                if isinstance(sequence_bias, Mapping)
                else {tuple(sequence): bias for sequence, bias in sequence_bias}
            )
        except (TypeError, ValueError):
            biases = {}
        if not biases or not all(
            isinstance(sequence, tuple) and isinstance(bias, float)
            for sequence, bias in biases.items()
        ):
            raise ValueError(
                "sequence_bias must be a dictionary of tuples of token ids to floats, or a list "
                f"of [[token ids], float], and not empty, but is {sequence_bias!r}"
            )
        self._keep(biases)

    def _keep(self, sequence_bias: dict[tuple[int, ...], float]) -> None:
        """The sequences as arrays, aligned at their ends."""
        for sequence in sequence_bias:
            ids = require_token_ids(sequence, self.argument)
            if not ids or min(ids) < 0:
                raise ValueError(
                    f"{self.argument} must hold sequences of one token id or more, each 0 or more, "
                    f"but one is {sequence!r}"
                )
        self.lengths = np.array([len(sequence) for sequence in sequence_bias], np.int32)
        longest = self.lengths.max(initial=1)
        self.sequences = np.zeros((len(sequence_bias), longest), np.int32)
        for row, sequence in enumerate(sequence_bias):
            self.sequences[row, longest - len(sequence) :] = sequence
        self.biases = np.array([*sequence_bias.values()], np.float32)

    def __call__(self, input_ids: tf.Tensor, scores: tf.Tensor, cur_len: Any) -> tf.Tensor:
        """As TFLogitsProcessor's."""
        highest = self.sequences.max(initial=0)
        if highest >= scores.shape[-1]:
            raise ValueError(
                f"{self.argument} must be 0 to {scores.shape[-1] - 1}, the vocabulary, but reach "
                f"to {highest}"
            )
        beginnings = self.lengths[:, None] - 1
        count = self.sequences.shape[1] - 1
        begun = last_tokens(input_ids, count, cur_len)
        absent = np.arange(count) < count - beginnings  # what is left of the shorter sequences
        matches = tf.reduce_all((begun[:, None] == self.sequences[:, :-1]) | absent, -1)
        matches &= self.lengths - 1 <= cur_len
        biases = tf.where(matches, self.biases, 0.0)
        completing = tf.broadcast_to(self.sequences[:, -1], tf.shape(biases))
        return scores + add_up(completing, biases, scores)


class TFNoBadWordsLogitsProcessor(TFSequenceBiasLogitsProcessor):
    """Sequences of tokens that are never generated.

    Args:
        bad_words_ids: these sequences. Tokenize words with ``add_prefix_space=True`` for those that
            follow a space.
        eos_token_id: the tokens that end a sequence; alone they are no bad word.

    Raises:
        ValueError: these are no lists of token ids, or there is none, or, when called, a token is
            outside the vocabulary.

    Example:
        >>> processor = TFNoBadWordsLogitsProcessor([[2], [1, 0]])
        >>> processor(tf.constant([[1, 0]]), tf.constant([[3.0, 3.0, 3.0]]), 1).numpy()
        array([[-inf,   3., -inf]], dtype=float32)
    """

    def __init__(
        self, bad_words_ids: list[list[int]], eos_token_id: int | list[int] | None = None
    ) -> None:
        self.argument = "bad_words_ids"
        ends = [] if eos_token_id is None else require_token_ids(eos_token_id, "eos_token_id")
        if not (isinstance(bad_words_ids, list) and bad_words_ids) or not all(
            isinstance(word, list) for word in bad_words_ids
        ):
            raise ValueError(
                f"bad_words_ids must be a list of lists, and not empty, but is {bad_words_ids!r}"
            )
        words = [tuple(word) for word in bad_words_ids if word not in [[end] for end in ends]]
        self._keep(dict.fromkeys(words, -INFINITY))


class TFPrefixConstrainedLogitsProcessor(TFLogitsProcessor):
    """Only tokens that a Python function allows, given what a row holds so far.

    It calls Python, so it runs eagerly and in a graph of this process, but not under XLA and not in
    a SavedModel that another process loads.

    Args:
        prefix_allowed_tokens_fn: is called with a row's number in the batch and its real tokens,
            a NumPy array int32 [cur_len], and returns the token ids allowed next.
        num_beams: rows per row of the batch.

    Raises:
        ValueError: the function is not callable, ``num_beams`` is below 1, or, when called, it is
            for XLA.
        ValueError, in a graph tf.errors.InvalidArgumentError: when called, the function allows no
            token.

    Example:
        >>> processor = TFPrefixConstrainedLogitsProcessor(lambda row, ids: [ids[-1] + 1], 1)
        >>> processor(tf.constant([[0, 9]]), tf.constant([[1.0, 2.0, 3.0]]), 1).numpy()
        array([[-inf,   2., -inf]], dtype=float32)
    """

    def __init__(
        self, prefix_allowed_tokens_fn: Callable[[int, np.ndarray], Iterable[int]], num_beams: int
    ) -> None:
        if not callable(prefix_allowed_tokens_fn):
            raise ValueError(
                f"prefix_allowed_tokens_fn must be a function, but is {prefix_allowed_tokens_fn!r}"
            )
        self.prefix_allowed_tokens_fn = prefix_allowed_tokens_fn
        self.num_beams = require_integer(num_beams, "num_beams", 1)

    def __call__(self, input_ids: tf.Tensor, scores: tf.Tensor, cur_len: Any) -> tf.Tensor:
        """As TFLogitsProcessor's."""
        if compiling_with_xla():
            raise ValueError(
                "prefix_allowed_tokens_fn is a Python function, which XLA cannot call: use "
                "jit_compile=False"
            )
        process = tf.numpy_function(self._process, [input_ids, scores, cur_len], scores.dtype)
        return tf.ensure_shape(process, scores.shape)

    def _process(self, input_ids: np.ndarray, scores: np.ndarray, cur_len: int) -> np.ndarray:
        mask = np.full_like(scores, -INFINITY)
        for row, tokens in enumerate(input_ids[:, :cur_len]):
            allowed = list(self.prefix_allowed_tokens_fn(row // self.num_beams, tokens))
            if not allowed:
                raise ValueError(
                    f"prefix_allowed_tokens_fn must allow a token, but allows none for row "
                    f"{row // self.num_beams} of the batch after {tokens.tolist()}"
                )
            mask[row, allowed] = 0
        processed = scores + mask
        # Where no beam can go on with an allowed token, these are forced.
        stuck = np.isneginf(processed).reshape(-1, self.num_beams * scores.shape[-1]).all(-1)
        return np.where(stuck.repeat(self.num_beams)[:, None], mask, processed)
