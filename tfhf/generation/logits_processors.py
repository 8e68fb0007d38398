"""Processors of next-token scores: lengths, forced and suppressed tokens, and what all share.

A processor is called between the model and the choice of a token, and returns changed scores. It is
made of tensor operations, so the same one runs eagerly, in a graph, under XLA, in a SavedModel.
They are named as in Transformers 4's TensorFlow classes; their numbers are those of the PyTorch
classes of Transformers 5.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

INFINITY = float("inf")


class TFLogitsProcessor:
    """What every processor is: a callable that returns changed scores. Subclass it for your own.

    Example:
        >>> class OnlyEven(TFLogitsProcessor):
        ...     def __call__(self, input_ids, scores, cur_len):
        ...         return tf.where(tf.range(scores.shape[-1]) % 2 == 0, scores, -INFINITY)
        >>> OnlyEven()(tf.constant([[5]]), tf.constant([[1.0, 2.0, 3.0]]), 1).numpy()
        array([[  1., -inf,   3.]], dtype=float32)
    """

    def __call__(self, input_ids: tf.Tensor, scores: tf.Tensor, cur_len: Any) -> tf.Tensor:
        """Return changed scores of the same shape.

        Args:
            input_ids: int32 [rows, max_length], the prompt and what was generated. Only the first
                ``cur_len`` columns are real; what stands in the others must not matter.
            scores: float32 [rows, vocab_size], logits or log-probabilities. ``vocab_size`` is known
                when a graph is traced.
            cur_len: the number of real columns, an int or a scalar int32 tensor.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define __call__")


def require_integer(value: Any, argument: str, minimum: int) -> Any:
    """Return ``value``, an int that is not below ``minimum``; a tensor is taken as it is.

    Raises:
        ValueError: it is neither.
    """
    if tf.is_tensor(value):
        return value
    if not isinstance(value, (int, np.integer)) or value < minimum:
        raise ValueError(f"{argument} must be an integer of at least {minimum}, but is {value!r}")
    return int(value)


def require_positive_float(value: Any, argument: str) -> float:
    """Return ``value``, a float above 0.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(value, float) or not value > 0:
        raise ValueError(f"{argument} must be a float above 0, but is {value!r}")
    return value


def require_token_ids(value: Any, argument: str) -> list[int]:
    """Return one token id, or several, as a list.

    Raises:
        ValueError: it holds something that is no integer.
    """
    ids = np.atleast_1d(np.asarray(value))
    if ids.ndim != 1 or (ids.size and not np.issubdtype(ids.dtype, np.integer)):
        raise ValueError(f"{argument} must be a token id or a list of them, but is {value!r}")
    return [int(token_id) for token_id in ids]


def token_mask(token_ids: Sequence[int], scores: tf.Tensor) -> np.ndarray:
    """Which tokens of the vocabulary are ``token_ids``: bool [vocab_size]."""
    return np.isin(np.arange(scores.shape[-1]), token_ids)


def only(token_ids: list[int], scores: tf.Tensor, argument: str) -> tf.Tensor:
    """Scores that leave nothing but ``token_ids``: 0 there, else minus infinity. [vocab_size].

    Raises:
        ValueError: a token id is outside the vocabulary.
    """
    vocab_size = scores.shape[-1]
    if not token_ids or min(token_ids) < 0 or max(token_ids) >= vocab_size:
        raise ValueError(f"{argument} must be 0 to {vocab_size - 1}, but is {token_ids}")
    return tf.constant(np.where(token_mask(token_ids, scores), 0, -INFINITY), scores.dtype)


class TFMinLengthLogitsProcessor(TFLogitsProcessor):
    """No end before ``min_length`` tokens, the prompt included.

    Args:
        min_length: the length from which sequences may end.
        eos_token_id: the tokens that end a sequence.

    Raises:
        ValueError: an argument of another type, or negative.

    Example:
        >>> processor = TFMinLengthLogitsProcessor(min_length=3, eos_token_id=0)
        >>> processor(tf.constant([[5, 6, 0]]), tf.constant([[1.0, 2.0]]), 2).numpy()
        array([[-inf,   2.]], dtype=float32)
    """

    def __init__(self, min_length: int, eos_token_id: int | list[int]) -> None:
        self.min_length = require_integer(min_length, "min_length", 0)
        self.eos_token_id = require_token_ids(eos_token_id, "eos_token_id")

    def __call__(self, input_ids: tf.Tensor, scores: tf.Tensor, cur_len: Any) -> tf.Tensor:
        """As TFLogitsProcessor's."""
        banned = token_mask(self.eos_token_id, scores) & (cur_len < self.min_length)
        return tf.where(banned, -INFINITY, scores)


class TFMinNewTokensLengthLogitsProcessor(TFMinLengthLogitsProcessor):
    """No end before ``min_new_tokens`` tokens after the prompt.

    Args:
        prompt_length_to_skip: the length of the prompt, an int or a scalar tensor.
        min_new_tokens: the number of new tokens from which sequences may end.
        eos_token_id: the tokens that end a sequence.

    Raises:
        ValueError: an argument of another type, or negative.

    Example:
        >>> processor = TFMinNewTokensLengthLogitsProcessor(2, 1, eos_token_id=0)
        >>> processor(tf.constant([[5, 6, 0]]), tf.constant([[1.0, 2.0]]), 2).numpy()
        array([[-inf,   2.]], dtype=float32)
    """

    def __init__(
        self, prompt_length_to_skip: Any, min_new_tokens: int, eos_token_id: int | list[int]
    ) -> None:
        prompt_length = require_integer(prompt_length_to_skip, "prompt_length_to_skip", 0)
        min_new_tokens = require_integer(min_new_tokens, "min_new_tokens", 0)
        super().__init__(prompt_length + min_new_tokens, eos_token_id)


class TFForcedBOSTokenLogitsProcessor(TFLogitsProcessor):
    """The first token after the decoder's start token is ``bos_token_id``, as mBART's language.

    Raises:
        ValueError: ``bos_token_id`` is not a token id, or, when called, outside the vocabulary.

    Example:
        >>> processor = TFForcedBOSTokenLogitsProcessor(1)
        >>> processor(tf.constant([[5, 0]]), tf.constant([[1.0, 2.0, 3.0]]), 1).numpy()
        array([[-inf,   0., -inf]], dtype=float32)
    """

    def __init__(self, bos_token_id: int) -> None:
        self.bos_token_id = require_integer(bos_token_id, "bos_token_id", 0)

    def __call__(self, input_ids: tf.Tensor, scores: tf.Tensor, cur_len: Any) -> tf.Tensor:
        """As TFLogitsProcessor's."""
        forced = only([self.bos_token_id], scores, "bos_token_id")
        return tf.where(tf.equal(cur_len, 1), forced, scores)


class TFForcedEOSTokenLogitsProcessor(TFLogitsProcessor):
    """The last token that fits into ``max_length`` is ``eos_token_id``.

    Args:
        max_length: the length at which generation ends, an int or a scalar tensor.
        eos_token_id: the token, or tokens among which the others leave the choice.

    Raises:
        ValueError: an argument of another type, or negative, or, when called, a token outside the
            vocabulary.

    Example:
        >>> processor = TFForcedEOSTokenLogitsProcessor(max_length=3, eos_token_id=1)
        >>> processor(tf.constant([[5, 6, 0]]), tf.constant([[1.0, 2.0, 3.0]]), 2).numpy()
        array([[-inf,   0., -inf]], dtype=float32)
    """

    def __init__(self, max_length: Any, eos_token_id: int | list[int]) -> None:
        self.max_length = require_integer(max_length, "max_length", 1)
        self.eos_token_id = require_token_ids(eos_token_id, "eos_token_id")
        if min(self.eos_token_id, default=-1) < 0:
            raise ValueError(f"eos_token_id must be 0 or more, but is {eos_token_id!r}")

    def __call__(self, input_ids: tf.Tensor, scores: tf.Tensor, cur_len: Any) -> tf.Tensor:
        """As TFLogitsProcessor's."""
        forced = only(self.eos_token_id, scores, "eos_token_id")
        return tf.where(tf.equal(cur_len, self.max_length - 1), forced, scores)


class TFForceTokensLogitsProcessor(TFLogitsProcessor):
    """Given tokens at given positions, as ``forced_decoder_ids`` of older Whisper checkpoints.

    Args:
        force_token_map: pairs of a position in the sequence and the token that goes there; ``None``
            for the token: the model chooses.

    Raises:
        ValueError: these are no such pairs, or, when called, a token is outside the vocabulary.

    Example:
        >>> processor = TFForceTokensLogitsProcessor([[1, 2]])
        >>> processor(tf.constant([[5, 0]]), tf.constant([[1.0, 2.0, 3.0]]), 1).numpy()
        array([[-inf, -inf,   0.]], dtype=float32)
    """

    def __init__(self, force_token_map: Sequence[Sequence[Any]]) -> None:
        argument = "force_token_map"
        try:
            pairs = [(position, token) for position, token in force_token_map if token is not None]
        except (TypeError, ValueError):
            raise ValueError(
                f"{argument} must be pairs of a position and a token id, but is {force_token_map!r}"
            ) from None
        self.positions = [require_integer(position, argument, 0) for position, _ in pairs]
        self.tokens = [require_integer(token, argument, 0) for _, token in pairs]

    def __call__(self, input_ids: tf.Tensor, scores: tf.Tensor, cur_len: Any) -> tf.Tensor:
        """As TFLogitsProcessor's."""
        vocab_size = scores.shape[-1]
        if max(self.tokens, default=0) >= vocab_size:
            raise ValueError(
                f"force_token_map must hold tokens of 0 to {vocab_size - 1}, but holds "
                f"{self.tokens}"
            )
        here = tf.equal(tf.constant(self.positions, tf.int32), cur_len)
        token = tf.reduce_max(tf.where(here, tf.constant(self.tokens, tf.int32), -1))
        forced = tf.where(tf.range(vocab_size) == token, 0.0, -INFINITY)
        return tf.where(token >= 0, forced, scores)


class TFSuppressTokensLogitsProcessor(TFLogitsProcessor):
    """Some tokens are never generated.

    Raises:
        ValueError: ``suppress_tokens`` are no token ids.

    Example:
        >>> processor = TFSuppressTokensLogitsProcessor([0, 2])
        >>> processor(tf.constant([[5]]), tf.constant([[1.0, 2.0, 3.0]]), 1).numpy()
        array([[-inf,   2., -inf]], dtype=float32)
    """

    def __init__(self, suppress_tokens: Iterable[int]) -> None:
        self.suppress_tokens = require_token_ids(list(suppress_tokens), "suppress_tokens")

    def __call__(self, input_ids: tf.Tensor, scores: tf.Tensor, cur_len: Any) -> tf.Tensor:
        """As TFLogitsProcessor's."""
        return tf.where(token_mask(self.suppress_tokens, scores), -INFINITY, scores)


class TFSuppressTokensAtBeginLogitsProcessor(TFLogitsProcessor):
    """Some tokens are not the first that is generated.

    Args:
        begin_suppress_tokens: these tokens.
        begin_index: the length of what is there before, an int or a scalar tensor.

    Raises:
        ValueError: ``begin_suppress_tokens`` are no token ids, or ``begin_index`` is negative.

    Example:
        >>> processor = TFSuppressTokensAtBeginLogitsProcessor([0], begin_index=1)
        >>> processor(tf.constant([[5, 0]]), tf.constant([[1.0, 2.0]]), 1).numpy()
        array([[-inf,   2.]], dtype=float32)
    """

    def __init__(self, begin_suppress_tokens: Iterable[int], begin_index: Any) -> None:
        argument = "begin_suppress_tokens"
        self.begin_suppress_tokens = require_token_ids(list(begin_suppress_tokens), argument)
        self.begin_index = require_integer(begin_index, "begin_index", 0)

    def __call__(self, input_ids: tf.Tensor, scores: tf.Tensor, cur_len: Any) -> tf.Tensor:
        """As TFLogitsProcessor's."""
        banned = token_mask(self.begin_suppress_tokens, scores)
        return tf.where(banned & tf.equal(cur_len, self.begin_index), -INFINITY, scores)


class TFExponentialDecayLengthPenalty(TFLogitsProcessor):
    """An end becomes ever more likely after some length.

    Args:
        exponential_decay_length_penalty: the number of new tokens after which it starts, and the
            factor by which it grows at each.
        eos_token_id: the tokens that end a sequence.
        input_ids_seq_length: the length of the prompt, an int or a scalar tensor.

    Raises:
        ValueError: an argument of another type, or a negative token.

    Example:
        >>> processor = TFExponentialDecayLengthPenalty((1, 1.5), 0, input_ids_seq_length=1)
        >>> processor(tf.constant([[5, 6, 7]]), tf.constant([[-2.0, 3.0]]), 3).numpy()
        array([[-1.,  3.]], dtype=float32)
    """

    def __init__(
        self,
        exponential_decay_length_penalty: tuple[int, float],
        eos_token_id: int | list[int],
        input_ids_seq_length: Any,
    ) -> None:
        argument = "exponential_decay_length_penalty"
        if len(exponential_decay_length_penalty) != 2:
            raise ValueError(
                f"{argument} must be a start and a factor, but is "
                f"{exponential_decay_length_penalty!r}"
            )
        start, self.factor = exponential_decay_length_penalty
        self.start = require_integer(start, argument, 0) + require_integer(
            input_ids_seq_length, "input_ids_seq_length", 0
        )
        self.eos_token_id = require_token_ids(eos_token_id, "eos_token_id")
        if min(self.eos_token_id, default=0) < 0:
            raise ValueError(f"eos_token_id must be 0 or more, but is {eos_token_id!r}")

    def __call__(self, input_ids: tf.Tensor, scores: tf.Tensor, cur_len: Any) -> tf.Tensor:
        """As TFLogitsProcessor's."""
        steps = tf.cast(tf.maximum(cur_len - self.start, 0), tf.float64)
        growth = tf.cast(tf.pow(tf.constant(self.factor, tf.float64), steps) - 1, scores.dtype)
        # Of the absolute value, so that negative scores rise too.
        raised = token_mask(self.eos_token_id, scores) & tf.math.is_finite(scores)
        return tf.where(raised, scores + tf.abs(scores) * growth, scores)


class TFInfNanRemoveLogitsProcessor(TFLogitsProcessor):
    """NaN becomes 0, and infinities the largest finite numbers.

    Example:
        >>> scores = tf.constant([[float("nan"), -INFINITY, 1.0]])
        >>> TFInfNanRemoveLogitsProcessor()(tf.constant([[5]]), scores, 1).numpy()
        array([[ 0.0000000e+00, -3.4028235e+38,  1.0000000e+00]], dtype=float32)
    """

    def __call__(self, input_ids: tf.Tensor, scores: tf.Tensor, cur_len: Any) -> tf.Tensor:
        """As TFLogitsProcessor's."""
        finite = tf.clip_by_value(scores, scores.dtype.min, scores.dtype.max)
        return tf.where(tf.math.is_nan(scores), tf.zeros_like(scores), finite)


class TFLogitNormalization(TFLogitsProcessor):
    """Scores become log-probabilities again, after others changed them.

    Example:
        >>> TFLogitNormalization()(tf.constant([[5]]), tf.constant([[7.0, -INFINITY]]), 1).numpy()
        array([[  0., -inf]], dtype=float32)
    """

    def __call__(self, input_ids: tf.Tensor, scores: tf.Tensor, cur_len: Any) -> tf.Tensor:
        """As TFLogitsProcessor's."""
        return tf.nn.log_softmax(scores)
