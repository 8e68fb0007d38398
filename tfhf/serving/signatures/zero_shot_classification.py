"""Texts and any labels in, how far each label fits out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
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
from tfhf.tokenization.graph.replacement import WHITE_SPACE

#: Stands for the label in a template that is taken apart.
PLACE = "\0"
#: What `str.strip` takes away.
SPACE_AROUND = f"^{WHITE_SPACE}+|{WHITE_SPACE}+$"


def zero_shot_classification(
    model: TFPreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    candidate_labels: Sequence[str] | None = None,
    hypothesis_template: str = "This example is {}.",
    multi_label: bool = False,
) -> Signature:
    """Make the signature of a model for natural language inference.

    ``text`` and ``candidate_labels`` (strings [batch]; labels with commas between them) ->
    ``labels`` (strings [batch, labels], the best first), ``scores`` (float32 [batch, labels]) and
    ``count`` (int32 [batch]): how many labels a text has. What is beyond that is zero or empty.

    Each text is read with each label. Where both are too long, the text is cut.

    Args:
        model: a sequence classifier.
        tokenizer: its tokenizer.
        candidate_labels: the labels of every text; there is no input for them, then.
        hypothesis_template: the sentence that a label makes, with ``{}`` for the label.
        multi_label: whether several labels may fit: scores are then entailment against
            contradiction for each label; else they sum to 1.

    Raises:
        ValueError: the template has no place for a label, or the list of labels is empty.
    """
    around = hypothesis_template.format(PLACE).split(PLACE)
    if len(around) == 1:
        raise ValueError(
            "hypothesis_template must have {} in the place of the label, but is "
            f"{hypothesis_template!r}"
        )
    if candidate_labels is not None and not candidate_labels:
        raise ValueError("candidate_labels must have a label, or be None for an input of that name")
    named = (model.config.label2id or {}).items()
    entailment = next((i for label, i in named if label.lower().startswith("entail")), -1)
    entailment %= model.config.num_labels
    contradiction = model.config.num_labels - 1 if entailment == 0 else 0
    graph = graph_tokenizer(model, tokenizer, truncation="only_first")

    def scores_of(text: tf.Tensor, labels: tf.RaggedTensor) -> Tensors:
        count = labels.row_lengths()
        template = [around[0]]
        for end in around[1:]:
            template += [labels.values, end]
        tokens = graph(tf.repeat(text, count), tf.strings.join(template))
        logits = tf.cast(run_model(model, tokens).logits, tf.float32)
        entailed, contradicted = (
            labels.with_values(logits[:, label]).to_tensor(-np.inf)
            for label in (entailment, contradiction)
        )
        scores = tf.sigmoid(entailed - contradicted)  # the softmax of the two
        if not multi_label:
            scores = tf.where(count[:, None] == 1, scores, tf.nn.softmax(entailed))
        is_label = tf.sequence_mask(count, tf.shape(scores)[1])
        best_first = tf.argsort(tf.where(is_label, scores, -1.0), stable=True)[:, ::-1]
        return {
            "labels": tf.gather(labels.to_tensor(), best_first, batch_dims=1),
            "scores": tf.gather(tf.where(is_label, scores, 0.0), best_first, batch_dims=1),
            "count": tf.cast(count, tf.int32),
        }

    @tf.function(autograph=False)
    def classify(text: tf.Tensor, candidate_labels: tf.Tensor) -> Tensors:
        labels = tf.strings.split(candidate_labels, ",")
        labels = labels.with_values(tf.strings.regex_replace(labels.values, SPACE_AROUND, ""))
        return scores_of(text, tf.ragged.boolean_mask(labels, labels != ""))

    @tf.function(autograph=False)
    def classify_by_fixed_labels(text: tf.Tensor) -> Tensors:
        each = tf.tile(tf.constant([candidate_labels]), [tf.size(text), 1])
        return scores_of(text, tf.RaggedTensor.from_tensor(each))

    warmup = {"text": tf.constant(["warm-up"]), "candidate_labels": tf.constant(["one, two"])}
    if candidate_labels is None:
        function = classify.get_concrete_function(**dict.fromkeys(warmup, TEXT))
    else:
        function = classify_by_fixed_labels.get_concrete_function(text=TEXT)
        del warmup["candidate_labels"]
    return Signature(function, warmup=[warmup], tracked=(graph,))
