"""The TensorFlow operations inside a SavedModel, and which of them a stock TF Serving can run.

``tensorflow_model_server`` is one binary: it has the operations that were linked into it, and no
Python. These are TensorFlow's own, of the same version, and a part of TensorFlow Text's.

Sources: TensorFlow's operations are those in ``tensorflow/_api/v2/raw_ops`` of its releases 2.12
to 2.20, compared with one another; ``core_operations.txt`` has those of 2.20. TensorFlow Text's are
those that TF Serving links by its ``SUPPORTED_TENSORFLOW_OPS``: version 2.12 of it until TF Serving
2.19, 2.20 in TF Serving 2.20.
"""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from tensorflow.core.framework import attr_value_pb2, graph_pb2, node_def_pb2
from tensorflow.core.protobuf import config_pb2, saved_model_pb2

#: Versions of TF Serving, the oldest first.
TF_SERVING = tuple(f"2.{minor}" for minor in range(12, 21))

#: TensorFlow's own operations, of the newest of these versions.
CORE_OPERATIONS = frozenset(
    line
    for line in Path(__file__).with_name("core_operations.txt").read_text().splitlines()
    if not line.startswith("#")
)

# Version -> what TensorFlow has only since then, but for operations of TPUs and of tf.data.
NEW_OPERATIONS = {
    "2.13": {
        "CollectiveAllToAllV2",
        "DebugIdentityV3",
        "RaggedFillEmptyRows",
        "RaggedFillEmptyRowsGrad",
        "SegmentMaxV2",
        "SegmentMinV2",
    },
    "2.14": {
        "Conv",
        "SparseSegmentMeanGradV2",
        "SparseSegmentSqrtNGradV2",
        "SparseSegmentSumGradV2",
    },
    "2.15": {
        "EmptyTensorMap",
        "FFTND",
        "FileSystemSetConfiguration",
        "IFFTND",
        "IRFFTND",
        "KMC2ChainInitialization",
        "KmeansPlusPlusInitialization",
        "NearestNeighbors",
        "RFFTND",
        "TensorMapErase",
        "TensorMapHasKey",
        "TensorMapInsert",
        "TensorMapLookup",
        "TensorMapSize",
        "TensorMapStackKeys",
    },
    "2.16": {"ConvertToCooTensor"},
    "2.18": {"CheckPinned"},
    "2.20": {"DecodeWebP"},
}

# TensorFlow has these, but they call back into a Python interpreter.
PYTHON_OPERATIONS = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})

# Shared library of TensorFlow Text -> the operations in it that TF Serving links since 2.12.
TEXT_OPERATIONS = {
    "_byte_splitter": {"TFText>ByteSplitByOffsets", "TFText>ByteSplitWithOffsets"},
    "_fast_bert_normalizer": {"FastBertNormalize"},
    "_fast_sentencepiece_tokenizer": {
        "TFText>FastSentencepieceDetokenize",
        "TFText>FastSentencepieceTokenize",
    },
    "_fast_wordpiece_tokenizer": {
        "FastWordpieceTokenizeWithOffsets",
        "TFText>FastWordpieceDetokenize",
    },
    "_normalize_ops": {
        "CaseFoldUTF8",
        "FindSourceOffsets",
        "NormalizeUTF8",
        "NormalizeUTF8WithOffsetsMap",
    },
    "_regex_split_ops": {"RegexSplitWithOffsets"},
    "_sentencepiece_tokenizer": {
        "SentencepieceDetokenizeOp",
        "SentencepieceIdToStringOp",
        "SentencepieceOp",
        "SentencepieceStringToIdOp",
        "SentencepieceTokenizeOp",
        "SentencepieceTokenizeWithOffsetsOp",
        "SentencepieceVocabSizeOp",
    },
    "_whitespace_tokenizer": {"WhitespaceTokenizeWithOffsets"},
    "_whitespace_tokenizer_v2": {"TFText>WhitespaceTokenizeWithOffsetsV2"},
    "_wordpiece_tokenizer": {"WordpieceTokenizeWithOffsets"},
}


def operations_of(saved_model: str | os.PathLike[str]) -> list[str]:
    """List the operations that a SavedModel uses, sorted, each once.

    Args:
        saved_model: A version folder: the one that holds ``saved_model.pb``.

    Raises:
        FileNotFoundError: ``saved_model`` holds no ``saved_model.pb``.

    Example:
        >>> import tempfile
        >>> import tensorflow as tf
        >>> module = tf.Module()
        >>> module.twice = tf.function(lambda x: x + x, [tf.TensorSpec([], tf.float32)])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tf.saved_model.save(module, folder)
        ...     "AddV2" in operations_of(folder)
        True
    """
    operations: set[str] = set()
    for meta_graph in _read(saved_model).meta_graphs:
        graph = meta_graph.graph_def
        operations.update(node.op for node in _nodes(graph))
        operations.difference_update(function.signature.name for function in graph.library.function)
    return sorted(operations)


def check_operations(saved_model: str | os.PathLike[str]) -> None:
    """Refuse a SavedModel that a stock TF Serving, without Python, could not run.

    Args:
        saved_model: A version folder.

    Raises:
        ValueError: It uses operations that TF Serving does not link; the message names them.
    """
    served = CORE_OPERATIONS.union(*TEXT_OPERATIONS.values()) - PYTHON_OPERATIONS
    foreign = [operation for operation in operations_of(saved_model) if operation not in served]
    if foreign:
        raise ValueError(
            f"the model uses operations that TF Serving does not have: {', '.join(foreign)}; "
            "expected only those of TensorFlow itself (without Python functions and XLA) and the "
            "tokenizers of TensorFlow Text"
        )


def lowest_tf_serving(saved_model: str | os.PathLike[str]) -> str:
    """Return the lowest version of TF Serving, from 2.12 on, that links all operations.

    Args:
        saved_model: A version folder that :func:`check_operations` passes.

    Raises:
        FileNotFoundError: ``saved_model`` holds no ``saved_model.pb``.

    Example:
        >>> import tempfile
        >>> import tensorflow as tf
        >>> module = tf.Module()
        >>> module.f = tf.function(lambda x: tf.sin(x), [tf.TensorSpec([], tf.float32)])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tf.saved_model.save(module, folder)
        ...     lowest_tf_serving(folder)
        '2.12'
    """
    used = set(operations_of(saved_model))
    needed = [version for version in TF_SERVING if used & NEW_OPERATIONS.get(version, set())]
    return needed[-1] if needed else TF_SERVING[0]


def op_libraries(saved_model: str | os.PathLike[str]) -> list[str]:
    """List the shared libraries that a program must load before it loads a SavedModel.

    A program that links TensorFlow's C library lacks the operations of TensorFlow Text: it hands
    these paths to ``TF_LoadLibrary``. TF Serving needs none of them, and in Python
    ``import tensorflow_text`` does the same.

    Args:
        saved_model: A version folder.

    Returns:
        Absolute paths; empty for a model that was exported without a tokenizer.

    Raises:
        FileNotFoundError: ``saved_model`` holds no ``saved_model.pb``.

    Example:
        >>> from tfhf.serving import op_libraries
        >>> op_libraries("saved_models/movie-sentiment/1")  # doctest: +SKIP
        ['/…/tensorflow_text/python/ops/_fast_wordpiece_tokenizer.so']
    """
    used = set(operations_of(saved_model))
    package = find_spec("tensorflow_text")
    assert package is not None and package.origin is not None  # a dependency of tfhf
    folder = Path(package.origin).parent / "python" / "ops"
    return [str(folder / f"{name}.so") for name, ops in TEXT_OPERATIONS.items() if used & ops]


def remove_xla(saved_model: str | os.PathLike[str]) -> None:
    """Have what was marked for compilation by XLA run as plain graphs: TF Serving has XLA off.

    Args:
        saved_model: A version folder; its ``saved_model.pb`` is changed.

    Raises:
        FileNotFoundError: ``saved_model`` holds no ``saved_model.pb``.
    """
    proto = _read(saved_model)
    marked = False
    for meta_graph in proto.meta_graphs:
        graph = meta_graph.graph_def
        for part in (*_nodes(graph), *graph.library.function):
            for name in [name for name in part.attr if _is_for_xla(name, part.attr[name])]:
                del part.attr[name]
                marked = True
    if marked:
        Path(saved_model, "saved_model.pb").write_bytes(proto.SerializeToString())
        Path(saved_model, "fingerprint.pb").unlink()  # optional, and that of the other file


def _is_for_xla(attribute: str, value: attr_value_pb2.AttrValue) -> bool:
    if attribute == "config_proto":  # that of the exporting program: tf.config.optimizer.set_jit
        config = config_pb2.ConfigProto.FromString(value.s)
        return config.graph_options.optimizer_options.global_jit_level > 0
    return attribute.startswith("_Xla")


def _read(saved_model: str | os.PathLike[str]) -> saved_model_pb2.SavedModel:
    file = Path(saved_model, "saved_model.pb")
    if not file.is_file():
        raise FileNotFoundError(f"saved_model: {os.fspath(saved_model)!r} holds no saved_model.pb")
    return saved_model_pb2.SavedModel.FromString(file.read_bytes())


def _nodes(graph: graph_pb2.GraphDef) -> Iterator[node_def_pb2.NodeDef]:
    """Give the nodes of a graph and of the functions that it calls."""
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def
