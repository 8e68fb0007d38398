from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text as tf_text
from tensorflow.core.protobuf import config_pb2, saved_model_pb2

from tfhf.serving.operations import (
    CORE_OPERATIONS,
    NEW_OPERATIONS,
    PYTHON_OPERATIONS,
    TEXT_OPERATIONS,
    check_operations,
    lowest_tf_serving,
    op_libraries,
    operations_of,
    remove_xla,
)


def save(folder, function, dtype=tf.string):
    module = tf.Module()
    module.function = tf.function(function, [tf.TensorSpec([None], dtype)], autograph=False)
    tf.saved_model.save(module, str(folder), module.function)
    return folder


def test_operations_of_nested_functions(tmp_path):
    inner = tf.function(lambda x: tf.sin(x))
    save(tmp_path, lambda x: tf.cond(x[0] > 0, lambda: inner(x), lambda: tf.cos(x)), tf.float32)
    operations = operations_of(tmp_path)
    assert {"Sin", "Cos", "Greater"} <= set(operations)
    assert operations == sorted(set(operations))
    assert not any(name.startswith("__inference") for name in operations)


def test_a_folder_without_saved_model(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no saved_model\.pb"):
        operations_of(tmp_path)


def test_text_operations_and_their_libraries(tmp_path):
    """Everything that Serving links from TensorFlow Text is allowed and its library is known."""
    vocabulary = ["[UNK]", "a", "##b"]
    wordpiece = tf_text.FastWordpieceTokenizer(vocabulary, token_out_type=tf.int32)

    def tokenize(text):
        text = tf_text.normalize_utf8(tf_text.case_fold_utf8(text), "NFKD")
        words = tf_text.WhitespaceTokenizer().tokenize(text)
        parts = tf_text.regex_split(text, r"\s")
        return {"ids": wordpiece.tokenize(words.values).flat_values, "parts": parts.flat_values}

    save(tmp_path, tokenize)
    check_operations(tmp_path)
    libraries = [Path(library) for library in op_libraries(tmp_path)]
    assert all(library.is_file() for library in libraries)
    assert {library.stem for library in libraries} == {
        "_fast_wordpiece_tokenizer",
        "_normalize_ops",
        "_regex_split_ops",
        "_whitespace_tokenizer_v2",
    }


def test_no_libraries_without_text(tmp_path):
    assert op_libraries(save(tmp_path, tf.strings.lower)) == []


@pytest.mark.parametrize(
    ("operation", "function"),
    [
        ("PyFunc", lambda text: tf.numpy_function(lambda x: x, [text], tf.string)),
        ("EagerPyFunc", lambda text: tf.py_function(lambda x: x, [text], tf.string)),
        (
            "TFText>RoundRobinTrim",
            lambda text: tf_text.RoundRobinTrimmer(3).trim([tf.strings.split(text)])[0].flat_values,
        ),
    ],
)
def test_foreign_operations_are_named(tmp_path, operation, function):
    save(tmp_path, function)
    with pytest.raises(ValueError, match=f"TF Serving does not have: {operation};"):
        check_operations(tmp_path)


def write(folder, *operations):
    """Write a SavedModel that has these operations, and does nothing."""
    proto = saved_model_pb2.SavedModel()
    nodes = proto.meta_graphs.add().graph_def.node
    for i, operation in enumerate(operations):
        nodes.add(name=str(i), op=operation)
    (folder / "saved_model.pb").write_bytes(proto.SerializeToString())
    return folder


@pytest.mark.parametrize(
    ("operations", "lowest"),
    [
        (["MatMul", "FastWordpieceTokenizeWithOffsets"], "2.12"),
        (["RaggedFillEmptyRows", "MatMul"], "2.13"),
        (["FFTND", "RaggedFillEmptyRows"], "2.15"),
        (["CheckPinned"], "2.18"),
        (["MatMul", "DecodeWebP", "FFTND"], "2.20"),
    ],
)
def test_the_lowest_version_that_has_all(tmp_path, operations, lowest):
    check_operations(write(tmp_path, *operations))
    assert lowest_tf_serving(tmp_path) == lowest


@pytest.mark.parametrize("operation", ["DecodeJxl", "XlaLaunch", "NoSuchOperation"])
def test_what_the_newest_version_has_not(tmp_path, operation):
    """TensorFlow 2.21 has the first one."""
    with pytest.raises(ValueError, match=f"TF Serving does not have: {operation};"):
        check_operations(write(tmp_path, "MatMul", operation))


def test_core_operations_are_those_of_tensorflow():
    """The list in the repository is that of 2.20; 2.21 has more."""
    installed = {name for name in dir(tf.raw_ops) if not name.startswith("_")}
    newer = {"2.20": set(), "2.21": {"DecodeJxl"}}[".".join(tf.__version__.split(".")[:2])]
    assert installed - CORE_OPERATIONS == newer
    assert CORE_OPERATIONS - installed == set()
    assert PYTHON_OPERATIONS < CORE_OPERATIONS
    assert all(added < CORE_OPERATIONS for added in NEW_OPERATIONS.values())


def test_each_text_operation_is_in_its_library():
    folder = Path(tf_text.__file__).parent / "python" / "ops"
    for name, operations in TEXT_OPERATIONS.items():
        library = tf.load_op_library(str(folder / f"{name}.so"))
        for operation in operations:
            assert hasattr(library, operation.replace(">", "_")), (name, operation)


def with_xla_scope(x):
    with tf.xla.experimental.jit_scope():
        return tf.sin(x)


@pytest.mark.parametrize(
    ("function", "everywhere", "mark"),
    [
        (tf.function(tf.sin, jit_compile=True), False, "_XlaMustCompile"),
        (with_xla_scope, False, "_XlaCompile"),
        (tf.function(lambda x: tf.sin(x)), True, "global_jit_level"),
    ],
)
def test_remove_xla(tmp_path, function, everywhere, mark):
    tf.config.optimizer.set_jit(everywhere)
    try:
        save(tmp_path, function, tf.float32)
    finally:
        tf.config.optimizer.set_jit(False)
    assert mark in described(tmp_path)
    remove_xla(tmp_path)
    assert mark not in described(tmp_path)
    served = tf.saved_model.load(tmp_path).signatures["serving_default"]
    (answer,) = served(tf.constant([1.0])).values()
    np.testing.assert_allclose(answer, np.sin([1.0]), rtol=1e-6)


def described(folder):
    """The graph and the settings inside it as text."""
    content = (folder / "saved_model.pb").read_bytes()
    graph = saved_model_pb2.SavedModel.FromString(content).meta_graphs[0].graph_def
    nodes = [node for function in graph.library.function for node in function.node_def]
    configs = [node.attr["config_proto"].s for node in (*graph.node, *nodes)]
    return f"{graph}{[config_pb2.ConfigProto.FromString(config) for config in configs]}"


def test_a_saved_model_without_xla_stays_as_it_is(tmp_path):
    save(tmp_path, tf.strings.lower)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    remove_xla(tmp_path)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
