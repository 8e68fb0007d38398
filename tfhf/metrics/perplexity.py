"""Perplexity: how surprised a causal language model is by texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf


def perplexity(
    predictions: list[str],
    model: Any,
    tokenizer: Any = None,
    batch_size: int = 16,
    add_start_token: bool = True,
    max_length: int | None = None,
) -> dict[str, Any]:
    """Return the exponential of the mean loss of a text's tokens.

    Args:
        predictions: texts.
        model: a causal language model, or the folder or Hub id of one.
        tokenizer: its tokenizer; default: the one of the folder or Hub id.
        batch_size: texts read at a time.
        add_start_token: put ``bos_token`` before each text, so that the first token counts too.
        max_length: cut texts to so many tokens, the start token included.

    Returns:
        ``perplexities``, one for each text, and their ``mean_perplexity``.

    Raises:
        ValueError: no tokenizer, or one without ``bos_token`` where it is to be added; a text of
            fewer tokens than are needed to predict one.
    """
    from tfhf import AutoTokenizer, TFAutoModelForCausalLM

    if isinstance(model, str):
        tokenizer = tokenizer or AutoTokenizer.from_pretrained(model)
        model = TFAutoModelForCausalLM.from_pretrained(model)
    if tokenizer is None:
        raise ValueError("tokenizer must be given with a model that is no name or folder")
    if add_start_token and tokenizer.bos_token_id is None:
        raise ValueError("tokenizer has no bos_token: pass add_start_token=False")
    start = [tokenizer.bos_token_id] if add_start_token else []
    length = None if max_length is None else max_length - len(start)
    encoded = tokenizer(
        predictions, add_special_tokens=False, truncation=length is not None, max_length=length
    )
    texts = [start + ids for ids in encoded["input_ids"]]
    short = [text for text, ids in zip(predictions, texts) if len(ids) < 2]
    if short:
        raise ValueError(f"predictions must have a token to predict, but {short[0]!r} has none")
    found: list[float] = []
    for first in range(0, len(texts), batch_size):
        ids = tf.ragged.constant(texts[first : first + batch_size], tf.int32)
        mask = tf.sequence_mask(ids.row_lengths(), dtype=tf.int32)
        ids = ids.to_tensor()
        logits = model(ids, attention_mask=mask, training=False).logits[:, :-1]
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
            ids[:, 1:], tf.cast(logits, tf.float32)
        )
        counted = tf.cast(mask[:, 1:], tf.float32)
        mean = tf.reduce_sum(losses * counted, axis=1) / tf.reduce_sum(counted, axis=1)
        found += np.exp(mean.numpy()).tolist()
    return {"perplexities": found, "mean_perplexity": float(np.mean(found))}
