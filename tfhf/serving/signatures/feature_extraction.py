"""Texts in, the states of their tokens out."""

from __future__ import annotations

import tensorflow as tf
from transformers import PreTrainedTokenizerBase

from tfhf.modeling import TFPreTrainedModel
from tfhf.serving.signatures.signature import TEXT, Signature, Tensors, graph_tokenizer, run_model


def feature_extraction(model: TFPreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Signature:
    """Make the signature of a model without a head.

    ``text`` (strings [batch]) -> ``embeddings`` (float32 [batch, length, hidden_size]), the states
    after the last layer, special tokens included, and ``attention_mask`` (int32 [batch, length]),
    0 where a text is shorter than the longest of the batch.
    """
    graph = graph_tokenizer(model, tokenizer)

    @tf.function(autograph=False)
    def embed(text: tf.Tensor) -> Tensors:
        tokens = graph(text)
        states = run_model(model, tokens)[0]
        mask = tokens["attention_mask"]
        return {
            "embeddings": tf.cast(states[:, : tf.shape(mask)[1]], tf.float32),
            "attention_mask": mask,
        }

    return Signature(
        embed.get_concrete_function(text=TEXT),
        warmup=[{"text": tf.constant(["warm-up"])}],
        tracked=(graph,),
    )
