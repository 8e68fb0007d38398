"""Embeddings and softmax that spend less on rare tokens (Baevski & Auli, 2018; Grave et al., 2016).

https://arxiv.org/abs/1809.10853, https://arxiv.org/abs/1609.04309. The vocabulary, most frequent
token first, is cut into clusters. Vectors of later clusters are smaller. The softmax chooses among
the first cluster's tokens and the other clusters, then among the tokens of the one chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import keras
import tensorflow as tf

from tfhf.layers.checks import require_range
from tfhf.layers.core import Block, Embedding, resize
from tfhf.layers.initializers import Normal


def cluster_ranges(vocab_size: int, cutoffs: Sequence[int]) -> list[tuple[int, int]]:
    """Return the first id of every cluster, and the first one after it.

    Raises:
        ValueError: the cutoffs do not grow from above 0 to below ``vocab_size``.

    Example:
        >>> cluster_ranges(10, [2, 5])
        [(0, 2), (2, 5), (5, 10)]
    """
    ranges = list(pairwise([0, *cutoffs, vocab_size]))
    if any(start >= stop for start, stop in ranges):
        raise ValueError(
            f"cutoffs must grow from above 0 to below vocab_size = {vocab_size}, "
            f"but they are {list(cutoffs)}"
        )
    return ranges


class Projection(keras.layers.Layer):
    """A matrix between vectors of two sizes, to be used in both directions."""

    def __init__(self, size: int, output_size: int, *, stddev: float, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.matrix_shape = (output_size, size)
        self.matrix_initializer = Normal(stddev)

    def build(self, input_shape: Any = None) -> None:
        """Create ``matrix`` [output_size, size]."""
        self.matrix = self.add_weight(
            name="matrix", shape=self.matrix_shape, initializer=self.matrix_initializer
        )
        self.built = True

    def call(self, vectors: tf.Tensor) -> tf.Tensor:
        """Map [rows, size] to [rows, output_size]."""
        return tf.matmul(vectors, tf.cast(self.matrix, vectors.dtype), transpose_b=True)

    def back(self, vectors: tf.Tensor) -> tf.Tensor:
        """Map [rows, output_size] to [rows, size]."""
        return tf.matmul(vectors, tf.cast(self.matrix, vectors.dtype))


class AdaptiveEmbedding(Block):
    """Token vectors of one size, made from tables of vectors that shrink from cluster to cluster.

    Reference: ``AdaptiveEmbedding`` of Transformers 4.

    Args:
        vocab_size: number of tokens.
        embedding_size: size of the first table's vectors.
        output_size: size of the vectors that come out.
        cutoffs: where one cluster ends and the next one starts.
        div_val: each table's vectors are this many times smaller than the one's before. With 1, all
            tokens are in one table, which is projected only if its vectors have another size.
        stddev: of the tables' first values.
        projection_stddev: of the projections' first values.
        **kwargs: ``dtype`` and ``name``.

    Raises:
        ValueError: cutoffs that make no clusters.

    Example:
        >>> embedding = AdaptiveEmbedding(10, 8, 6, [2, 5], div_val=2)
        >>> embedding(tf.constant([[0, 4, 9]])).shape
        TensorShape([1, 3, 6])
        >>> [table.output_dim for table in embedding.tables]
        [8, 4, 2]
    """

    def __init__(
        self,
        vocab_size: int,
        embedding_size: int,
        output_size: int,
        cutoffs: Sequence[int],
        *,
        div_val: int = 1,
        stddev: float = 0.02,
        projection_stddev: float = 0.01,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        dtype = self.dtype_policy
        self.input_dim = vocab_size
        self.output_dim = output_size
        ranges = cluster_ranges(vocab_size, cutoffs)
        self.ranges = ranges if div_val > 1 else [(0, vocab_size)]
        self.tables = []
        self.projections = []
        for i, (start, stop) in enumerate(self.ranges):
            size = embedding_size // div_val**i
            self.tables.append(Embedding(stop - start, size, stddev=stddev, dtype=dtype))
            self.projections.append(
                Projection(size, output_size, stddev=projection_stddev, dtype=dtype)
                if div_val > 1 or size != output_size
                else None
            )

    def resize(self, vocab_size: int) -> None:
        """Have room for another number of tokens, in the last table."""
        start, _ = self.ranges[-1]
        self.tables[-1].resize(vocab_size - start)
        self.ranges[-1] = (start, vocab_size)
        self.input_dim = vocab_size

    def call(self, ids: tf.Tensor) -> tf.Tensor:
        """Map ids [batch, length] to vectors [batch, length, output_size]."""
        flat = tf.reshape(require_range(ids, self.input_dim, "input_ids"), [-1])
        parts = []
        # Every table is asked for every token, and what is not of its cluster becomes zeros: this
        # costs little, for only the first table's vectors are large, and keeps shapes static.
        for (start, stop), table, projection in zip(self.ranges, self.tables, self.projections):
            vectors = table(tf.clip_by_value(flat - start, 0, stop - start - 1))
            if projection is not None:
                vectors = projection(vectors)
            inside = (flat >= start) & (flat < stop)
            parts.append(tf.where(inside[:, None], vectors, tf.zeros_like(vectors)))
        vectors = tf.add_n(parts) * self.output_dim**0.5
        vectors = tf.reshape(vectors, tf.concat([tf.shape(ids), [self.output_dim]], axis=0))
        return tf.ensure_shape(vectors, [*ids.shape, self.output_dim])


class TableScores(Block):
    """Scores of tokens: products with their vectors, which are given or its own, and a bias."""

    def __init__(
        self, rows: int, size: int, *, tied: bool, stddev: float = 0.02, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.rows = rows
        self.bias_initializer = keras.initializers.Zeros()
        self.table = None
        if not tied:
            self.table = Embedding(rows, size, stddev=stddev, name="table", dtype=self.dtype_policy)

    def build(self, input_shape: Any = None) -> None:
        """Create ``bias`` [rows]."""
        self.bias = self.add_weight(
            name="bias", shape=(self.rows,), initializer=self.bias_initializer
        )
        super().build()

    def resize(self, rows: int) -> None:
        """Score another number of tokens."""
        resize(self, "bias", rows)
        if self.table is not None:
            self.table.resize(rows)
        self.rows = rows

    def call(self, vectors: tf.Tensor, table: Embedding, rows: slice) -> tf.Tensor:
        """Map [batch, size] to float32 scores [batch, …] of those ``rows``."""
        embeddings = (table if self.table is None else self.table).embeddings[rows]
        scores = tf.matmul(vectors, tf.cast(embeddings, vectors.dtype), transpose_b=True)
        return tf.cast(scores, tf.float32) + tf.cast(self.bias[rows], tf.float32)


class AdaptiveLogSoftmax(Block):
    """Log-probabilities of tokens, computed cluster by cluster.

    Reference: ``ProjectedAdaptiveLogSoftmax`` of Transformers 4.

    Args:
        vocab_size: number of tokens.
        embedding_size: size of the vectors of the first cluster's tokens.
        input_size: size of the states that come in.
        cutoffs: where one cluster ends and the next one starts.
        div_val: as for `AdaptiveEmbedding`.
        tied: whether tokens are scored with their embeddings.
        tied_projections: for each cluster, whether states are projected with the matrix that
            projects its embeddings.
        stddev: of the tables' first values.
        projection_stddev: of the projections' first values.
        **kwargs: ``dtype`` and ``name``.

    Raises:
        ValueError: cutoffs that make no clusters.

    Example:
        >>> embedding = AdaptiveEmbedding(10, 8, 6, [2, 5], div_val=2)
        >>> softmax = AdaptiveLogSoftmax(
        ...     10, 8, 6, [2, 5], div_val=2, tied=True, tied_projections=[False, True, True])
        >>> states = embedding(tf.constant([[0, 4, 9]]))
        >>> softmax(states, embeddings=embedding).shape
        TensorShape([1, 3, 10])
    """

    def __init__(
        self,
        vocab_size: int,
        embedding_size: int,
        input_size: int,
        cutoffs: Sequence[int],
        *,
        div_val: int = 1,
        tied: bool,
        tied_projections: Sequence[bool],
        stddev: float = 0.02,
        projection_stddev: float = 0.01,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        dtype = self.dtype_policy
        self.input_size = input_size
        self.ranges = cluster_ranges(vocab_size, cutoffs)
        self.one_table = div_val == 1
        self.scores = []
        for i, (start, stop) in enumerate([(0, vocab_size)] if self.one_table else self.ranges):
            size = embedding_size // div_val**i
            self.scores.append(
                TableScores(stop - start, size, tied=tied, stddev=stddev, dtype=dtype)
            )
        self.projected = not self.one_table or embedding_size != input_size
        self.projections = [
            Projection(
                embedding_size // div_val**i, input_size, stddev=projection_stddev, dtype=dtype
            )
            if self.projected and not shared
            else None
            for i, shared in enumerate(tied_projections)
        ]
        self.cluster_shape = (len(cutoffs), embedding_size)
        self.cluster_weight = self.cluster_bias = None
        self.cluster_weight_initializer = Normal(stddev)
        self.cluster_bias_initializer = keras.initializers.Zeros()

    def build(self, input_shape: Any = None) -> None:
        """Create ``cluster_weight`` [clusters - 1, embedding_size] and ``cluster_bias``."""
        if self.cluster_shape[0]:
            self.cluster_weight = self.add_weight(
                name="cluster_weight",
                shape=self.cluster_shape,
                initializer=self.cluster_weight_initializer,
            )
            self.cluster_bias = self.add_weight(
                name="cluster_bias",
                shape=self.cluster_shape[:1],
                initializer=self.cluster_bias_initializer,
            )
        super().build()

    def resize(self, vocab_size: int) -> None:
        """Score another number of tokens, in the last cluster."""
        start, _ = self.ranges[-1]
        self.scores[-1].resize(vocab_size if self.one_table else vocab_size - start)
        self.ranges[-1] = (start, vocab_size)

    def call(self, hidden_states: tf.Tensor, embeddings: AdaptiveEmbedding) -> tf.Tensor:
        """Map [batch, length, input_size] to float32 [batch, length, vocab_size]."""
        states = tf.reshape(hidden_states, [-1, self.input_size])
        head = tf.nn.log_softmax(self._cluster_scores(0, states, embeddings))
        shortlist = self.ranges[0][1]
        parts = [head[:, :shortlist]]
        for i in range(1, len(self.ranges)):
            tail = tf.nn.log_softmax(self._cluster_scores(i, states, embeddings))
            parts.append(head[:, shortlist + i - 1, None] + tail)
        vocab_size = self.ranges[-1][1]
        scores = tf.concat(parts, axis=-1)
        shape = tf.concat([tf.shape(hidden_states)[:-1], [vocab_size]], axis=0)
        return tf.ensure_shape(tf.reshape(scores, shape), [*hidden_states.shape[:-1], vocab_size])

    def label_losses(
        self, hidden_states: tf.Tensor, labels: tf.Tensor, embeddings: AdaptiveEmbedding
    ) -> tf.Tensor:
        """Return each label's -log-probability, scoring no cluster but the label's own.

        Args:
            hidden_states: [batch, length, input_size].
            labels: int [batch, length], the token that each state is to predict.
            embeddings: those of the tokens.

        Returns:
            float32 [batch, length].

        Raises:
            tf.errors.InvalidArgumentError: a label is outside the vocabulary.
        """
        states = tf.reshape(hidden_states, [-1, self.input_size])
        flat = tf.reshape(tf.cast(labels, tf.int32), [-1])
        flat = require_range(flat, self.ranges[-1][1], "labels")
        shortlist = self.ranges[0][1]
        choices = flat
        for i, (start, stop) in enumerate(self.ranges[1:]):
            choices = tf.where((flat >= start) & (flat < stop), shortlist + i, choices)
        head = self._cluster_scores(0, states, embeddings)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(choices, head)
        for i, (start, stop) in enumerate(self.ranges[1:], start=1):
            rows = tf.where((flat >= start) & (flat < stop))
            tail = self._cluster_scores(i, tf.gather_nd(states, rows), embeddings)
            within = tf.gather_nd(flat, rows) - start
            tail_losses = tf.nn.sparse_softmax_cross_entropy_with_logits(within, tail)
            losses = tf.tensor_scatter_nd_add(losses, rows, tail_losses)
        return tf.reshape(losses, tf.shape(labels))

    def _cluster_scores(
        self, i: int, states: tf.Tensor, embeddings: AdaptiveEmbedding
    ) -> tf.Tensor:
        """Score the tokens of a cluster; of the first, the other clusters too: [rows, scores]."""
        table, rows = (0, slice(*self.ranges[i])) if self.one_table else (i, slice(None))
        projection = self.projections[i]
        if projection is None and self.projected:
            projection = embeddings.projections[table]
        if projection is not None:
            states = projection.back(states)
        scores = self.scores[table](states, table=embeddings.tables[table], rows=rows)
        if i == 0 and self.cluster_weight is not None:
            clusters = tf.matmul(
                states, tf.cast(self.cluster_weight, states.dtype), transpose_b=True
            )
            clusters = tf.cast(clusters, tf.float32) + tf.cast(self.cluster_bias, tf.float32)
            scores = tf.concat([scores, clusters], axis=-1)
        return scores
