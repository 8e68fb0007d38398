"""Warpers of next-token scores: what sampling draws from. Temperature, top-k, nucleus and the like.

They are processors that keep the order of the scores; what is cut off becomes ``filter_value``.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfhf.generation.logits_processors import (
    INFINITY,
    TFLogitsProcessor,
    require_integer,
    require_positive_float,
)


class TFLogitsWarper(TFLogitsProcessor):
    """A processor of the distribution that sampling draws from. Called as TFLogitsProcessor is."""


class _TFFilter(TFLogitsWarper):
    """A warper that cuts tokens off: subclasses say which of them stay."""

    def __init__(self, filter_value: float = -INFINITY, min_tokens_to_keep: int = 1) -> None:
        self.filter_value = filter_value
        self.min_tokens_to_keep = require_integer(min_tokens_to_keep, "min_tokens_to_keep", 1)

    def __call__(self, input_ids: tf.Tensor, scores: tf.Tensor, cur_len: Any) -> tf.Tensor:
        """As TFLogitsProcessor's."""
        return tf.where(self._kept(scores), scores, self.filter_value)

    def _kept(self, scores: tf.Tensor) -> tf.Tensor:
        """Bool [rows, vocab_size]."""
        raise NotImplementedError


def _require_share(value: Any, argument: str, least: str, most: str) -> float:
    """Return a number of an interval from 0 to 1: ``least`` is "[" or "(", ``most`` "]" or ")"."""
    inside = isinstance(value, (int, float)) and 0 <= value <= 1
    if not inside or (least == "(" and value == 0) or (most == ")" and value == 1):
        raise ValueError(f"{argument} must be a number in {least}0, 1{most}, but is {value!r}")
    return float(value)


def _largest(scores: tf.Tensor, count: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The ``count`` largest, or all, in descending order, and where they are."""
    indices = tf.math.top_k(scores, min(count, scores.shape[-1])).indices
    # Not the values that top_k gives: where only they are used, XLA sorts everything, which takes
    # 40 times as long.
    return tf.gather(scores, indices, batch_dims=1), indices


def _among(indices: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    """Which tokens are ``indices`` [rows, n], which are few: bool [rows, vocab_size]."""
    return tf.reduce_any(indices[..., None] == tf.range(scores.shape[-1]), axis=1)


def _first(scores: tf.Tensor, values: tf.Tensor, indices: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Which tokens are the first ``count`` [rows], one or more, of those that ``_largest`` gave.

    Compares scores with that of the last of them, which is cheaper than a scatter.
    """
    last = tf.maximum(count, 1)[:, None] - 1
    value = tf.gather(values, last, batch_dims=1)
    index = tf.gather(indices, last, batch_dims=1)
    earlier = tf.range(scores.shape[-1]) <= index
    return (scores > value) | ((scores == value) & earlier)


def _count(condition: tf.Tensor) -> tf.Tensor:
    """How many are true: int32 [rows]."""
    return tf.reduce_sum(tf.cast(condition, tf.int32), axis=-1)


def _entropy(scores: tf.Tensor) -> tf.Tensor:
    """In nats, [rows, 1]. Tokens that are cut off add nothing."""
    log_probabilities = tf.nn.log_softmax(scores)
    terms = tf.math.multiply_no_nan(log_probabilities, tf.exp(log_probabilities))
    return -tf.reduce_sum(terms, axis=-1, keepdims=True)


class TFTemperatureLogitsWarper(TFLogitsWarper):
    """Scores are divided by ``temperature``: below 1 the choice is more certain, above 1 less.

    Raises:
        ValueError: ``temperature`` is no float above 0.

    Example:
        >>> TFTemperatureLogitsWarper(0.5)(tf.constant([[5]]), tf.constant([[1.0, 2.0]]), 1).numpy()
        array([[2., 4.]], dtype=float32)
    """

    def __init__(self, temperature: float) -> None:
        if temperature == 0:
            raise ValueError("temperature must be above 0, but is 0: do_sample=False is greedy")
        self.temperature = require_positive_float(temperature, "temperature")

    def __call__(self, input_ids: tf.Tensor, scores: tf.Tensor, cur_len: Any) -> tf.Tensor:
        """As TFLogitsProcessor's."""
        return scores / self.temperature


class TFTopKLogitsWarper(_TFFilter):
    """Only the ``top_k`` most likely tokens, and others that are as likely as the last of them.

    Args:
        top_k: how many.
        filter_value: what the others get.
        min_tokens_to_keep: at least so many stay.

    Raises:
        ValueError: a number is no integer above 0.

    Example:
        >>> warper = TFTopKLogitsWarper(2)
        >>> warper(tf.constant([[5]]), tf.constant([[1.0, 3.0, 2.0]]), 1).numpy()
        array([[-inf,   3.,   2.]], dtype=float32)
    """

    def __init__(
        self, top_k: int, filter_value: float = -INFINITY, min_tokens_to_keep: int = 1
    ) -> None:
        super().__init__(filter_value, min_tokens_to_keep)
        self.top_k = max(require_integer(top_k, "top_k", 1), min_tokens_to_keep)

    def _kept(self, scores: tf.Tensor) -> tf.Tensor:
        return scores >= _largest(scores, self.top_k)[0][:, -1:]


class TFTopPLogitsWarper(_TFFilter):
    """The fewest most likely tokens that hold ``top_p`` (nucleus, https://arxiv.org/abs/1904.09751).

    Args:
        top_p: 0 to 1, the probability that stays.
        filter_value: what the others get.
        min_tokens_to_keep: at least so many stay.

    Raises:
        ValueError: an argument is outside its range.

    Example:
        >>> warper = TFTopPLogitsWarper(0.5)
        >>> warper(tf.constant([[5]]), tf.constant([[1.0, 3.0, 2.0]]), 1).numpy()
        array([[-inf,   3., -inf]], dtype=float32)
    """

    # The nucleus is nearly always among these, and finding them takes a tenth of a full sort.
    CANDIDATES = 1024

    def __init__(
        self, top_p: float, filter_value: float = -INFINITY, min_tokens_to_keep: int = 1
    ) -> None:
        super().__init__(filter_value, min_tokens_to_keep)
        self.top_p = _require_share(top_p, "top_p", "[", "]")

    def _kept(self, scores: tf.Tensor) -> tf.Tensor:
        vocab_size = scores.shape[-1]
        kept, complete = self._nucleus(scores, self.CANDIDATES)
        if vocab_size > self.CANDIDATES:
            kept = tf.cond(complete, lambda: kept, lambda: self._nucleus(scores, vocab_size)[0])
        return kept

    def _nucleus(self, scores: tf.Tensor, candidates: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Which of so many most likely tokens stay, and whether these were enough in all rows."""
        values, indices = _largest(scores, candidates)
        probabilities = tf.gather(tf.nn.softmax(scores), indices, batch_dims=1)
        # From the least likely on, as in PyTorch, so that round numbers are cut alike.
        tail = tf.cumsum(probabilities, axis=-1, reverse=True)
        if candidates < scores.shape[-1]:
            others = 1 - tail[:, :1]
            tail += others
            complete = tf.reduce_all(others <= 1 - self.top_p)
        else:
            complete = tf.constant(True)
        count = tf.maximum(_count(tail > 1 - self.top_p), self.min_tokens_to_keep)
        return _first(scores, values, indices, tf.minimum(count, values.shape[-1])), complete


class TFTopHLogitsWarper(_TFFilter):
    """The most likely tokens that hold a share of the entropy (https://arxiv.org/abs/2509.02510).

    Args:
        top_h: above 0, up to 1, the share of the entropy of the 100 most likely tokens.
        filter_value: what the others get.

    Raises:
        ValueError: ``top_h`` is outside its range.

    Example:
        >>> warper = TFTopHLogitsWarper(0.5)
        >>> warper(tf.constant([[5]]), tf.constant([[1.0, 3.0, 2.0]]), 1).numpy()
        array([[-inf,   3., -inf]], dtype=float32)
    """

    CANDIDATES = 100

    def __init__(self, top_h: float, filter_value: float = -INFINITY) -> None:
        super().__init__(filter_value)
        self.top_h = _require_share(top_h, "top_h", "(", "]")

    def _kept(self, scores: tf.Tensor) -> tf.Tensor:
        values, indices = _largest(scores, self.CANDIDATES)
        probabilities = tf.nn.softmax(values)
        terms = -tf.math.multiply_no_nan(tf.math.log(probabilities), probabilities)
        count = _count(tf.cumsum(terms, axis=-1) <= self.top_h * _entropy(values))
        return _first(scores, values, indices, count)


class TFMinPLogitsWarper(_TFFilter):
    """Tokens at least ``min_p`` times as likely as the likeliest (https://arxiv.org/abs/2407.01082).

    Args:
        min_p: 0 to 1.
        filter_value: what the others get.
        min_tokens_to_keep: at least so many stay.

    Raises:
        ValueError: an argument is outside its range.

    Example:
        >>> warper = TFMinPLogitsWarper(0.2)
        >>> warper(tf.constant([[5]]), tf.constant([[1.0, 3.0, 2.0]]), 1).numpy()
        array([[-inf,   3.,   2.]], dtype=float32)
    """

    def __init__(
        self, min_p: float, filter_value: float = -INFINITY, min_tokens_to_keep: int = 1
    ) -> None:
        super().__init__(filter_value, min_tokens_to_keep)
        self.min_p = _require_share(min_p, "min_p", "[", "]")

    def _kept(self, scores: tf.Tensor) -> tf.Tensor:
        probabilities = tf.nn.softmax(scores)
        values, indices = _largest(probabilities, self.min_tokens_to_keep)
        return (probabilities >= self.min_p * values[:, :1]) | _among(indices, scores)


class TFTypicalLogitsWarper(_TFFilter):
    """Tokens about as surprising as expected (typical, https://arxiv.org/abs/2202.00666).

    Args:
        mass: above 0, below 1, the probability that stays; ``typical_p`` of a GenerationConfig.
        filter_value: what the others get.
        min_tokens_to_keep: at least so many stay.

    Raises:
        ValueError: an argument is outside its range.

    Example:
        >>> warper = TFTypicalLogitsWarper(0.2)
        >>> warper(tf.constant([[5]]), tf.constant([[1.0, 3.0, 2.0]]), 1).numpy()
        array([[-inf,   3., -inf]], dtype=float32)
    """

    def __init__(
        self, mass: float = 0.9, filter_value: float = -INFINITY, min_tokens_to_keep: int = 1
    ) -> None:
        super().__init__(filter_value, min_tokens_to_keep)
        self.mass = _require_share(mass, "typical_p", "(", ")")

    def _kept(self, scores: tf.Tensor) -> tf.Tensor:
        vocab_size = scores.shape[-1]
        log_probabilities = tf.nn.log_softmax(scores)
        typicality = -tf.abs(-log_probabilities - _entropy(scores))
        values, indices = _largest(typicality, vocab_size)
        probabilities = tf.gather(tf.exp(log_probabilities), indices, batch_dims=1)
        last = _count(tf.cumsum(probabilities, axis=-1) < self.mass)
        last = tf.minimum(last, vocab_size - 1)[:, None]
        kept = typicality >= tf.gather(values, last, batch_dims=1)
        return kept | _among(indices[:, : self.min_tokens_to_keep], scores)


class TFEpsilonLogitsWarper(_TFFilter):
    """Tokens of at least a probability (epsilon sampling, https://arxiv.org/abs/2210.15191).

    Args:
        epsilon: above 0, below 1; ``epsilon_cutoff`` of a GenerationConfig.
        filter_value: what the others get.
        min_tokens_to_keep: at least so many stay.

    Raises:
        ValueError: an argument is outside its range.

    Example:
        >>> warper = TFEpsilonLogitsWarper(0.2)
        >>> warper(tf.constant([[5]]), tf.constant([[1.0, 3.0, 2.0]]), 1).numpy()
        array([[-inf,   3.,   2.]], dtype=float32)
    """

    def __init__(
        self, epsilon: float, filter_value: float = -INFINITY, min_tokens_to_keep: int = 1
    ) -> None:
        super().__init__(filter_value, min_tokens_to_keep)
        self.epsilon = _require_share(epsilon, "epsilon_cutoff", "(", ")")

    def _kept(self, scores: tf.Tensor) -> tf.Tensor:
        likely = tf.nn.softmax(scores) >= self.epsilon
        return likely | (scores >= _largest(scores, self.min_tokens_to_keep)[0][:, -1:])


class TFEtaLogitsWarper(_TFFilter):
    """As epsilon sampling, the lower the less certain the model is (eta sampling, same paper).

    Args:
        epsilon: above 0, below 1; ``eta_cutoff`` of a GenerationConfig.
        filter_value: what the others get.
        min_tokens_to_keep: at least so many stay.

    Raises:
        ValueError: an argument is outside its range.

    Example:
        >>> warper = TFEtaLogitsWarper(0.1)
        >>> warper(tf.constant([[5]]), tf.constant([[1.0, 3.0, 2.0]]), 1).numpy()
        array([[-inf,   3.,   2.]], dtype=float32)
    """

    def __init__(
        self, epsilon: float, filter_value: float = -INFINITY, min_tokens_to_keep: int = 1
    ) -> None:
        super().__init__(filter_value, min_tokens_to_keep)
        self.epsilon = _require_share(epsilon, "eta_cutoff", "(", ")")

    def _kept(self, scores: tf.Tensor) -> tf.Tensor:
        eta = tf.minimum(self.epsilon, self.epsilon**0.5 * tf.exp(-_entropy(scores)))
        likely = tf.nn.softmax(scores) >= eta
        return likely | (scores >= _largest(scores, self.min_tokens_to_keep)[0][:, -1:])
