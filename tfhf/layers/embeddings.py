"""What a model makes of its tokens before the first layer."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfhf.layers.checks import require_sequence
from tfhf.layers.core import Block, Dense, Embedding, LayerNorm
from tfhf.layers.dropout import Dropout


class InputEmbeddings(Block):
    """Token vectors, to which those of positions and token types are added, then normalised.

    Args:
        vocab_size: number of tokens; 0: their vectors come from a table that is not here.
        size: of the vectors.
        norm: the normalisation; ``None``: there is none.
        dropout: rate after it.
        stddev: of the tables' first values.
        max_positions: number of positions; 0: they are not told here.
        position_offset: rows of the table of positions before that of the first position.
        fixed_positions: gives the table of positions, which is then not trained.
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
        position_offset: int = 0,
        fixed_positions: keras.initializers.Initializer | None = None,
        token_types: int = 0,
        projection: Dense | None = None,
        project_first: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        options = {"stddev": stddev, "dtype": self.dtype_policy}
        self.token = self.position = self.token_type = None
        if vocab_size:
            self.token = Embedding(vocab_size, size, name="token", **options)
        self.position_offset = position_offset
        if max_positions:
            ids_name = f"position_ids + {position_offset}" if position_offset else "position_ids"
            self.position = Embedding(
                max_positions + position_offset, size, ids_name=ids_name, name="position", **options
            )
            if fixed_positions is not None:
                self.position.embeddings_initializer = fixed_positions
                self.position.trainable = False
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
            vectors += self.position(position_ids + self.position_offset)
        if self.projection is not None and self.project_first:
            vectors = self.projection(vectors)
        if self.norm is not None:
            vectors = self.norm(vectors)
        vectors = blank_unseen(vectors, seen)
        vectors = self.dropout(vectors, training=training)
        if self.projection is not None and not self.project_first:
            vectors = self.projection(vectors)
        return vectors


def token_vectors(
    table: Embedding,
    ids: tf.Tensor | None,
    vectors: tf.Tensor | None,
    *,
    max_length: int | None,
    prefix: str = "",
) -> tf.Tensor:
    """Return the vectors [batch, length, size] of tokens, or those that are given, after checking.

    Args:
        table: of the tokens.
        ids: int [batch, length]; or ``vectors`` [batch, length, size].
        vectors: see ``ids``.
        max_length: the longest sequence that there are positions for; ``None``: no limit.
        prefix: what stands before ``input_ids`` and ``inputs_embeds`` in messages.

    Raises:
        ValueError: neither or both inputs, or one that cannot be right: see `layers.checks`.

    Example:
        >>> table = Embedding(9, 4)
        >>> token_vectors(table, tf.constant([[1, 8]]), None, max_length=2).shape
        TensorShape([1, 2, 4])
    """
    names = f"{prefix}input_ids", f"{prefix}inputs_embeds"
    if (ids is None) == (vectors is None):
        given = "neither" if ids is None else "both"
        raise ValueError(f"give exactly one of {names[0]} and {names[1]}, not {given}")
    if ids is not None:
        ids = require_sequence(ids, names[0], max_length=max_length)
        return table(ids, ids_name=names[0]) if prefix else table(ids)
    checked = require_sequence(
        vectors, names[1], vector_size=table.output_dim, max_length=max_length
    )
    return tf.cast(checked, table.compute_dtype)


def blank_unseen(states: tf.Tensor, seen: tf.Tensor | None) -> tf.Tensor:
    """Set the states [batch, length, size] of tokens that are not ``seen`` to 0.

    Example:
        >>> blank_unseen(tf.ones([1, 2, 1]), tf.constant([[True, False]])).numpy().tolist()
        [[[1.0], [0.0]]]
    """
    return states if seen is None else states * tf.cast(seen, states.dtype)[..., None]
