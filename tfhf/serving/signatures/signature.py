"""What a signature is, and what those have in common that take text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf
from transformers import PreTrainedTokenizerBase

from tfhf.modeling import TFPreTrainedModel
from tfhf.tokenization.graph import GraphTokenizer
from tfhf.tokenization.graph.settings import LARGEST_MAX_LENGTH

Tensors = dict[str, tf.Tensor]

#: What texts are in a signature. Every input is a vector with an entry per request, so that TF
#: Serving can join requests to batches whatever their lengths are.
TEXT = tf.TensorSpec([None], tf.string)


@dataclass(frozen=True)
class Signature:
    """One entrance of a SavedModel.

    Attributes:
        function: a concrete function from named tensors to named tensors. The first axis of each
            that is no scalar is the batch.
        warmup: example requests with a batch of one: input name -> tensor.
        tracked: what owns tables and variables that ``function`` uses beside the model's: graph
            tokenizers.
        facts: what a client needs to know, as JSON has it: the labels of a classifier.
    """

    function: Any
    warmup: list[Tensors]
    tracked: tuple[tf.Module, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)


def graph_tokenizer(
    model: TFPreTrainedModel, tokenizer: PreTrainedTokenizerBase, **options: Any
) -> GraphTokenizer:
    """Compile the tokenizer of a model; it cuts texts to what both of them allow.

    Args:
        model: the model that reads the ids.
        tokenizer: its tokenizer.
        **options: those of `GraphTokenizer.from_tokenizer`.

    Raises:
        ValueError: the tokenizer has more tokens than the model.
        UnsupportedTokenizerError: TensorFlow operations cannot reproduce it exactly.
    """
    vocab_size = getattr(model.config, "encoder", model.config).vocab_size
    if len(tokenizer) > vocab_size:
        raise ValueError(
            f"tokenizer has {len(tokenizer)} tokens, but the model knows only {vocab_size} "
            "(config.vocab_size): expected the tokenizer of the model's own checkpoint"
        )
    limit = longest_text(tokenizer, model.max_length)
    return GraphTokenizer.from_tokenizer(tokenizer, **{"max_length": limit} | options)


def longest_text(tokenizer: PreTrainedTokenizerBase, positions: int | None) -> int | None:
    """Return how many tokens of a text are read; ``None``: all.

    Args:
        tokenizer: the tokenizer of a model.
        positions: how many tokens the model has positions for; ``None``: any number.
    """
    limits = [limit for limit in (tokenizer.model_max_length, positions) if limit is not None]
    longest = int(min(limits))
    return longest if longest <= LARGEST_MAX_LENGTH else None


def place_tokens(graph: GraphTokenizer, text: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
    """Tokenize texts, and say where in them tokens are.

    Args:
        graph: a graph tokenizer without padding.
        text: strings [batch].

    Returns:
        Of all tokens but the special ones around texts int32 ids [batch, (tokens)], and int32 spans
        [batch, (tokens), 2]: the first character and the one after the last.
    """
    tokens = graph(text, return_offsets_mapping=True)
    before = first_place(graph)
    after = before + 1 - len(graph.assembler.single)
    inside = slice(before, after or None)
    return tokens["input_ids"][:, inside], tokens["offset_mapping"][:, inside]


def first_place(graph: GraphTokenizer) -> int:
    """Return how many special tokens come before a text."""
    return next(i for i, slot in enumerate(graph.assembler.single) if slot.text == 0)


def widen(tokens: tf.Tensor) -> tf.Tensor:
    """Give ids [..., length] one column at least, which heads and poolings need."""
    missing = tf.maximum(1 - tf.shape(tokens)[-1], 0)
    return tf.pad(tokens, [*[[0, 0]] * (tokens.shape.rank - 1), [0, missing]])


def run_model(model: TFPreTrainedModel, tokens: Mapping[str, tf.Tensor]) -> Any:
    """Return the output of a model for what a graph tokenizer made of texts."""
    inputs = {name: widen(tokens[name]) for name in model.input_signature if name in tokens}
    return model(**inputs, **model.final_inputs, return_dict=True, training=False)


def named_tensors(outputs: Mapping[str, Any]) -> Iterator[tuple[str, tf.Tensor]]:
    """Flatten the tuples in a model's output, ``attentions`` -> ``attentions_0``, …

    Floats become float32, whatever the model computes in.
    """
    for name, value in outputs.items():
        if isinstance(value, tuple):
            yield from named_tensors({f"{name}_{i}": part for i, part in enumerate(value)})
        elif value is not None:
            yield name, tf.cast(value, tf.float32) if value.dtype.is_floating else value


def by_row(values: Mapping[str, tf.Tensor], count: tf.Tensor) -> Tensors:
    """Share values [all, …] among the rows of a batch.

    TF Serving splits what it answers by the first axis, so a row with fewer values than others is
    filled up, with zeros or empty strings.

    Args:
        values: by name, those of the first row, then those of the second, ….
        count: int [batch], how many each row has.

    Returns:
        By the same names [batch, greatest count, …], and int32 ``count``.

    Example:
        >>> by_row({"score": tf.constant([0.5, 0.25, 0.75])}, tf.constant([1, 2]))["score"].numpy()
        array([[0.5 , 0.  ],
               [0.25, 0.75]], dtype=float32)
    """
    rows = {
        name: tf.RaggedTensor.from_row_lengths(value, count, validate=False).to_tensor()
        for name, value in values.items()
    }
    return rows | {"count": tf.cast(count, tf.int32)}
