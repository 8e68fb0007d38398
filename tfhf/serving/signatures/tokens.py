"""Ids in, the model's outputs out."""

from __future__ import annotations

import tensorflow as tf

from tfhf.modeling import TFPreTrainedModel
from tfhf.serving.signatures.signature import Signature, Tensors, named_tensors


def tokens(model: TFPreTrainedModel) -> Signature:
    """Make the signature that every model has.

    Its inputs are the model's: int32 ``input_ids``, ``attention_mask``, … [batch, length]. Its
    outputs are ``logits``, ``last_hidden_state``, …; tuples come as ``hidden_states_0``, ….
    """

    @tf.function(autograph=False)
    def run(**inputs: tf.Tensor) -> Tensors:
        outputs = model(**inputs, **model.final_inputs, return_dict=True, training=False)
        return dict(named_tensors(outputs))

    function = run.get_concrete_function(**model.input_signature)
    return Signature(function, warmup=[_blank(model)])


def _blank(model: TFPreTrainedModel) -> Tensors:
    """The smallest input that every model takes: one row of two visible padding tokens."""
    return {
        name: tf.fill(
            [1, *(size or 2 for size in spec.shape[1:])],
            tf.constant(int(name == "attention_mask"), spec.dtype),
        )
        for name, spec in model.input_signature.items()
    }
