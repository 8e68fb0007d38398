"""Texts with masks in, the tokens that fit out."""

from __future__ import annotations

import tensorflow as tf
from transformers import PreTrainedTokenizerBase

from tfhf.modeling import TFPreTrainedModel
from tfhf.serving.signatures.signature import (
    TEXT,
    Signature,
    Tensors,
    by_row,
    graph_tokenizer,
    run_model,
)


def fill_mask(
    model: TFPreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, top_k: int = 5
) -> Signature:
    """Make the signature of a masked language model.

    ``text`` (strings [batch], in each the tokenizer's mask token once or more) -> ``score``
    (float32), ``token`` (int32), ``token_str`` and ``sequence`` (strings), all of them
    [batch, masks, top_k], the highest score first, and ``count`` (int32 [batch]): how many masks a
    text has. What is beyond that is zero or empty.

    Args:
        model: a masked language model.
        tokenizer: its tokenizer.
        top_k: how many tokens for each mask.

    Raises:
        ValueError: the tokenizer has no mask token, or ``top_k`` is impossible.
    """
    mask_id, pad_id = tokenizer.mask_token_id, tokenizer.pad_token_id
    if mask_id is None:
        raise ValueError(f"tokenizer: the {type(tokenizer).__name__} has no mask token")
    if not 1 <= top_k <= model.config.vocab_size:
        raise ValueError(
            f"top_k must be from 1 to {model.config.vocab_size}, config.vocab_size, not {top_k}"
        )
    graph = graph_tokenizer(model, tokenizer)

    @tf.function(autograph=False)
    def fill(text: tf.Tensor) -> Tensors:
        tokens = graph(text)
        ids = tokens["input_ids"]
        is_mask = ids == mask_id
        row, place = tf.unstack(tf.where(is_mask), axis=1)
        logits = run_model(model, tokens).logits[:, : tf.shape(ids)[1]]
        scores = tf.nn.softmax(tf.cast(tf.boolean_mask(logits, is_mask), tf.float32))
        score, token = tf.math.top_k(scores, top_k)  # [masks, top_k]

        is_place = tf.range(tf.shape(ids)[1], dtype=place.dtype) == place[:, None, None]
        filled = tf.where(is_place, token[:, :, None], tf.gather(ids, row)[:, None])
        filled = tf.reshape(filled, [tf.size(token), tf.shape(ids)[1]])
        filled = tf.ragged.boolean_mask(filled, filled != pad_id)
        count = tf.math.count_nonzero(is_mask, axis=1)
        sequence = tf.where(
            tf.repeat(tf.gather(count, row) == 1, top_k),
            graph.decode(filled, skip_special_tokens=True),
            graph.decode(filled, skip_special_tokens=False),  # or other masks would be missing
        )
        token_str = graph.decode(tf.reshape(token, [-1, 1]), skip_special_tokens=False)
        values = {
            "score": score,
            "token": token,
            "token_str": tf.reshape(token_str, tf.shape(token)),
            "sequence": tf.reshape(sequence, tf.shape(token)),
        }
        return by_row(values, count)

    return Signature(
        fill.get_concrete_function(text=TEXT),
        warmup=[{"text": tf.constant([f"warm-up {tokenizer.mask_token}"])}],
        tracked=(graph,),
    )
