"""The precision that a model computes in, changed after it was made."""

from __future__ import annotations

import copy
from typing import Any

from tfhf.layers import loading_weights


def compute_in(model: Any, dtype: str) -> None:
    """Let a model of float32 weights compute in another precision.

    It is then as if made with ``dtype``: layers that must stay precise do.

    Args:
        model: a model of tfhf.
        dtype: the Keras policy, "mixed_bfloat16" or "mixed_float16".

    Raises:
        ValueError: the weights are not of float32, or the model has other layers than its class.

    Example:
        >>> import tfhf
        >>> from transformers import BertConfig
        >>> model = tfhf.TFBertModel(BertConfig(num_hidden_layers=1, vocab_size=9))
        >>> compute_in(model, "mixed_bfloat16")
        >>> model.compute_dtype, model.variable_dtype
        ('bfloat16', 'float32')
    """
    if model.variable_dtype != "float32":
        raise ValueError(
            f"{dtype} needs a model with weights of float32, but they are {model.variable_dtype}: "
            "leave dtype out of from_pretrained"
        )
    with loading_weights():
        twin = type(model)(copy.deepcopy(model.config), dtype=dtype)
    # Policies belong to layers, and each architecture chooses some by its own.
    for layer, other in zip(model._flatten_layers(), twin._flatten_layers(), strict=True):
        layer.dtype_policy = other.dtype_policy
    if model.can_generate:
        model.generation_functions.clear()
