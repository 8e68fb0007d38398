"""Texts in, a vector for each out."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf
from transformers import PreTrainedTokenizerBase

from tfhf.modeling import TFPreTrainedModel
from tfhf.sentence_encoder import SentenceEncoder, Vectors
from tfhf.sentence_encoder import normalize as to_length_1
from tfhf.serving.signatures.signature import TEXT, Signature, Tensors, graph_tokenizer, widen


def sentence_embeddings(
    model: TFPreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    pooling: str | Sequence[str] = "mean",
    after: Sequence[Vectors] = (),
    normalize: bool = False,
    max_length: int | None = None,
    prompt: str = "",
) -> Signature:
    """Make the signature of a model whose states become one vector.

    ``text`` (strings [batch]) -> ``embedding`` (float32 [batch, vector_size]).

    Args:
        model: an encoder without a head.
        tokenizer: its tokenizer.
        pooling: one or more of the poolings of `SentenceEncoder`.
        after: what is done with the vectors then, as for `SentenceEncoder`.
        normalize: give the vectors the length 1 at last.
        max_length: tokens per sentence, special ones included; default: all that fit the model.
        prompt: a text before every sentence.

    Raises:
        ValueError: there is no such pooling.
    """
    steps = [*after, to_length_1] if normalize else after
    pooling = [pooling] if isinstance(pooling, str) else pooling
    encoder = SentenceEncoder(model, tokenizer, pooling=pooling, after=steps, max_length=max_length)
    graph = graph_tokenizer(model, tokenizer, max_length=encoder.max_length)
    owner = tf.Module()
    owner.weights = [
        variable.value for step in steps for variable in getattr(step, "variables", ())
    ]

    @tf.function(autograph=False)
    def embed(text: tf.Tensor) -> Tensors:
        if prompt:
            text = tf.strings.join([prompt, text])
        tokens = {name: widen(values) for name, values in graph(text).items()}
        return {"embedding": encoder.embed(tokens)}

    return Signature(
        embed.get_concrete_function(text=TEXT),
        warmup=[{"text": tf.constant(["warm-up"])}],
        tracked=(graph, owner),
    )
