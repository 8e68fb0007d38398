"""What encoder-decoders are called with: a source, and a target of another length."""

from __future__ import annotations

from typing import Any

import numpy as np
from cache_tests import BATCH, LENGTH

TARGET = 5
LM_HEADS = ("ForConditionalGeneration", "MTModel")


def target_size(config: Any) -> int:
    """Return the number of tokens that a target may have."""
    return getattr(config, "decoder_vocab_size", None) or config.vocab_size


def seq2seq_inputs(
    head: str, config: Any, rng: np.random.Generator, cases: dict[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Complete the cases of an encoder by what the decoder reads."""
    if head == "ForSequenceClassification":  # looks for one end in each source, which is the target
        return {case: ending(inputs, config) for case, inputs in cases.items() if case != "vectors"}
    size = config.d_model
    length = LENGTH if head == "ForQuestionAnswering" else TARGET
    ids = rng.integers(0, target_size(config), (BATCH, length))
    cases = {case: inputs | {"decoder_input_ids": ids} for case, inputs in cases.items()}
    vectors = rng.normal(size=(BATCH, length, size)).astype(np.float32)
    cases["vectors"]["decoder_inputs_embeds"] = vectors
    del cases["vectors"]["decoder_input_ids"]
    cases["every input"]["decoder_attention_mask"] = (
        np.arange(length) < np.array([[length], [2], [1]])
    ).astype(np.int64)
    states = rng.normal(size=(BATCH, LENGTH, size)).astype(np.float32)
    cases["states of an encoder"] = {
        "encoder_outputs": (states,),
        "attention_mask": cases["right padding"]["attention_mask"],
        "decoder_input_ids": ids,
    }
    if head in LM_HEADS:
        cases["labels alone"] = {"input_ids": cases["no mask"]["input_ids"]}
    return cases


def ending(inputs: dict[str, Any], config: Any) -> dict[str, Any]:
    """Return inputs where each row has one token that ends it, in its middle or at its end."""
    end = config.eos_token_id
    ids = inputs["input_ids"].copy()
    ids[ids == end] = end + 1
    ids[np.arange(BATCH), np.array([ids.shape[1] - 1, ids.shape[1] // 2, 0])] = end
    return inputs | {"input_ids": ids}


def targets(config: Any, rng: np.random.Generator) -> np.ndarray:
    """Return labels int [BATCH, TARGET], some of which are ignored."""
    ids = rng.integers(0, target_size(config), (BATCH, TARGET))
    return np.where(rng.random(ids.shape) < 0.6, ids, -100)
