"""What a model makes of its tokens before the first layer."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfhf.layers.core import Block, Dense, Embedding, LayerNorm
from tfhf.layers.dropout import Dropout


class InputEmbeddings(Block):
    """Token vectors, to which those of positions and token types are added, then normalised.

    Args:
        vocab_size: number of tokens.
        size: of the vectors.
        norm: the normalisation; ``None``: there is none.
        dropout: rate after it.
        stddev: of the tables' first values.
        max_positions: rows of the table of positions; 0: positions are not told here.
        token_types: rows of the table of token types; 0: there are none.
        projection: maps the vectors to the size of the states.
        project_first: whether it does so before they are normalised.
        **kwargs: ``dtype`` and ``name``.

    Reference: ``BertEmbeddings``.
    """

    def __init__(
        self,
        vocab_size: int,
        size: int,
        *,
        norm: LayerNorm | None = None,
        dropout: float,
        stddev: float,
        max_positions: int = 0,
        token_types: int = 0,
        projection: Dense | None = None,
        project_first: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        options = {"stddev": stddev, "dtype": self.dtype_policy}
        self.token = Embedding(vocab_size, size, name="token", **options)
        self.position = self.token_type = None
        if max_positions:
            self.position = Embedding(
                max_positions, size, ids_name="position_ids", name="position", **options
            )
        if token_types:
            self.token_type = Embedding(
                token_types, size, ids_name="token_type_ids", name="token_type", **options
            )
        self.norm = norm
        self.dropout = Dropout(dropout, dtype=self.dtype_policy)
        self.projection = projection
        self.project_first = project_first

    def call(
        self,
        vectors: tf.Tensor,
        position_ids: tf.Tensor,
        token_type_ids: tf.Tensor | None = None,
        seen: tf.Tensor | None = None,
        training: bool = False,
    ) -> tf.Tensor:
        """Complete token vectors [batch, length, size].

        Args:
            vectors: those of the table ``token``, or others.
            position_ids: int [batch, length] or [1, length].
            token_type_ids: int [batch, length]; 0 if not given.
            seen: bool [batch, length]; the vectors of other tokens become 0.
            training: apply dropout.
        """
        if self.token_type is not None:
            if token_type_ids is None:
                token_type_ids = tf.zeros_like(position_ids)
            vectors += self.token_type(token_type_ids)
        if self.position is not None:
            vectors += self.position(position_ids)
        if self.projection is not None and self.project_first:
            vectors = self.projection(vectors)
        if self.norm is not None:
            vectors = self.norm(vectors)
        vectors = blank_unseen(vectors, seen)
        vectors = self.dropout(vectors, training=training)
        if self.projection is not None and not self.project_first:
            vectors = self.projection(vectors)
        return vectors


def blank_unseen(states: tf.Tensor, seen: tf.Tensor | None) -> tf.Tensor:
    """Set the states [batch, length, size] of tokens that are not ``seen`` to 0.

    Example:
        >>> blank_unseen(tf.ones([1, 2, 1]), tf.constant([[True, False]])).numpy().tolist()
        [[[1.0], [0.0]]]
    """
    return states if seen is None else states * tf.cast(seen, states.dtype)[..., None]
