"""A text and how it might go on in, which of these is right out."""

from __future__ import annotations

import tensorflow as tf
from transformers import PreTrainedTokenizerBase

from tfhf.modeling import TFPreTrainedModel
from tfhf.serving.signatures.signature import TEXT, Signature, Tensors, graph_tokenizer, run_model


def multiple_choice(model: TFPreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Signature:
    """Make the signature of a multiple choice model.

    ``text`` (strings [batch]) and ``choices`` (strings [batch, choices]), which are tokenized as
    pairs -> ``label`` (int32 [batch], the best choice, from 0) and ``scores`` (float32
    [batch, choices], which sum to 1).
    """
    graph = graph_tokenizer(model, tokenizer)

    @tf.function(autograph=False)
    def choose(text: tf.Tensor, choices: tf.Tensor) -> Tensors:
        batch, count = tf.unstack(tf.shape(choices))
        tokens = graph(tf.repeat(text, count), tf.reshape(choices, [-1]))
        tokens = {
            name: tf.reshape(value, [batch, count, tf.shape(value)[1]])
            for name, value in tokens.items()
        }
        logits = tf.cast(run_model(model, tokens).logits, tf.float32)
        return {
            "label": tf.argmax(logits, axis=-1, output_type=tf.int32),
            "scores": tf.nn.softmax(logits),
        }

    return Signature(
        choose.get_concrete_function(text=TEXT, choices=tf.TensorSpec([None, None], tf.string)),
        warmup=[{"text": tf.constant(["warm-up"]), "choices": tf.constant([["one", "two"]])}],
        tracked=(graph,),
    )
