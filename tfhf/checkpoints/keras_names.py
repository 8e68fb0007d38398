"""Keras variables, as Transformers 4 saved them, under PyTorch names and in PyTorch layouts.

What Keras 2 calls `tf_bert_model/bert/encoder/layer_._0/output/dense/kernel:0`, PyTorch calls
`bert.encoder.layer.0.output.dense.weight`, and keeps its transpose. The rules are those of
`convert_tf_weight_name_to_pt_weight_name` in Transformers 4, without a PyTorch model at hand whose
shapes could be asked for.
"""

import re
from typing import Any

import numpy as np

from tfhf.checkpoints.checkpoint import TensorEntry

_TORCH_NAMES = {
    "kernel": "weight",
    "embeddings": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
    "depthwise_kernel": "depthwise.weight",  # SeparableConv1D: two PyTorch layers.
    "pointwise_kernel": "pointwise.weight",
}


def without_model_scope(name: str) -> str:
    """Strip the model's own name from a variable's full name.

    Example:
        >>> without_model_scope("tf_bert_model/bert/pooler/dense/kernel:0")
        'bert/pooler/dense/kernel:0'
        >>> without_model_scope("final_logits_bias:0")
        'final_logits_bias:0'
    """
    return name.partition("/")[2] or name


def saved_name(name: str) -> str:
    """Undo what Transformers 4 did to names in h5 shards and in safetensors files of format "tf".

    It stripped the model's scope, except from names with "model." in them (BART's embeddings).

    Example:
        >>> saved_name("bert/pooler/dense/kernel:0")
        'bert/pooler/dense/kernel:0'
        >>> saved_name("model.shared/model.shared/embeddings:0")
        'model.shared/embeddings:0'
    """
    return without_model_scope(name) if "model." in name else name


def torch_name(name: str) -> str:
    """Translate a Keras variable's name, without the model's scope, into PyTorch's.

    Example:
        >>> torch_name("bert/encoder/layer_._0/attention/self/query/kernel:0")
        'bert.encoder.layer.0.attention.self.query.weight'
        >>> torch_name("mlm___cls/predictions/transform/LayerNorm/gamma:0")
        'cls.predictions.transform.LayerNorm.weight'
    """
    *scopes, variable = _levels(name)
    return ".".join([*scopes, _TORCH_NAMES.get(variable, variable)])


def torch_entry(name: str, entry: TensorEntry) -> TensorEntry:
    """Put a Keras variable, whose name has no model scope, under PyTorch's name and layout.

    Example:
        >>> kernel = TensorEntry("", (2, 3), np.dtype("int8"), lambda: np.zeros((2, 3), "int8"))
        >>> entry = torch_entry("classifier/kernel:0", kernel)
        >>> entry.name, entry.shape, entry.read().shape
        ('classifier.weight', (3, 2), (3, 2))
    """
    axes = _torch_axes(_levels(name), entry.shape)
    shape = tuple(entry.shape[axis] for axis in axes)
    if name.endswith("/bias:0") and len(shape) == 2 and shape[0] == 1:
        shape = shape[1:]  # The bias of GPT-2's Conv1D.

    def read() -> np.ndarray:
        return entry.read().transpose(axes).reshape(shape)

    return entry._replace(name=torch_name(name), shape=shape, read=read)


def _levels(name: str) -> list[str]:
    """Split `a___b/c_._0/d:0` into b, c, 0, d."""
    levels = re.split(r"/+", name.removesuffix(":0").replace("_._", "/").strip("/"))
    return [level.rpartition("___")[2] for level in levels]


def _torch_axes(levels: list[str], shape: tuple[Any, ...]) -> tuple[int, ...]:
    """The order in which PyTorch has the axes of a Keras variable."""
    rank = len(shape)
    if levels[-1] == "depthwise_kernel" and rank == 3:
        return (1, 2, 0)  # [width, channels, 1] -> [channels, 1, width]
    if rank >= 2 and (
        levels[-1] in ("kernel", "pointwise_kernel")
        or {"emb_projs", "out_projs"} & set(levels)  # Transformer-XL's matrices have no layer.
    ):
        return (rank - 1, rank - 2, *range(rank - 2))  # [*window, in, out] -> [out, in, *window]
    return tuple(range(rank))
