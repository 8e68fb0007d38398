"""Texts in, labels and scores out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from transformers import PreTrainedTokenizerBase

from tfhf.modeling import TFPreTrainedModel
from tfhf.serving.signatures.signature import (
    TEXT,
    Signature,
    Tensors,
    graph_tokenizer,
    run_model,
)


def text_classification(
    model: TFPreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, pairs: bool = False
) -> Signature:
    """Make the signature of a sequence classifier.

    ``text`` (strings [batch]) -> ``label`` (strings [batch], the name of the highest score) and
    ``scores`` (float32 [batch, num_labels]): by ``config.problem_type`` the logits themselves for a
    regression, their sigmoid for a multi-label model and for one with a single label, or else their
    softmax.

    Args:
        model: a sequence classifier.
        tokenizer: its tokenizer.
        pairs: classify pairs of texts; there is a second input, ``text_pair``, then.
    """
    graph = graph_tokenizer(model, tokenizer)
    labels = [model.config.id2label[i] for i in range(model.config.num_labels)]
    to_scores = _score_function(model.config)

    @tf.function(autograph=False)
    def classify(**texts: tf.Tensor) -> Tensors:
        logits = run_model(model, graph(**texts)).logits
        return {
            "label": tf.gather(tf.constant(labels), tf.argmax(logits, axis=-1)),
            "scores": to_scores(tf.cast(logits, tf.float32)),
        }

    names = ("text", "text_pair") if pairs else ("text",)
    return Signature(
        classify.get_concrete_function(**dict.fromkeys(names, TEXT)),
        warmup=[dict.fromkeys(names, tf.constant(["warm-up"]))],
        tracked=(graph,),
        facts={"labels": labels},
    )


def _score_function(config: Any) -> Callable[[tf.Tensor], tf.Tensor]:
    """Choose what the pipeline chooses."""
    if config.problem_type == "regression":
        return tf.identity
    if config.problem_type == "multi_label_classification" or config.num_labels == 1:
        return tf.sigmoid
    return tf.nn.softmax
