"""A graph tokenizer in a SavedModel, loaded by a process that knows nothing of this package."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf
from tokenizers import AddedToken

from tfhf.serving.operations import TEXT_OPERATIONS, check_operations, operations_of
from tfhf.tokenization.graph import GraphTokenizer

LOADER = """
import json, sys
import tensorflow as tf
import tensorflow_text
folder, texts, pairs = json.load(sys.stdin)
signatures = tf.saved_model.load(folder).signatures
assert not any(name.split(".")[0] in ("tfhf", "transformers", "tokenizers") for name in sys.modules)
outputs = [
    signatures["single"](text=tf.constant(texts)),
    signatures["pair"](text=tf.constant(texts), text_pair=tf.constant(pairs)),
]
rows = [{name: tensor.numpy().tolist() for name, tensor in out.items()} for out in outputs]
json.dump(rows, sys.stdout)
"""


@pytest.fixture(scope="module")
def tokenizer(train):
    tokenizer = train()
    tokenizer.add_tokens([AddedToken("<t>", lstrip=True), AddedToken("tt", single_word=True)])
    return tokenizer


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory):
    text = tf.TensorSpec([None], tf.string, "text")
    module = tf.Module()
    module.tokenizer = GraphTokenizer.from_tokenizer(tokenizer, max_length=24)
    single = tf.function(lambda text: module.tokenizer(text), input_signature=[text])
    pair = tf.function(
        lambda text, text_pair: module.tokenizer(text, text_pair),
        input_signature=[text, tf.TensorSpec([None], tf.string, "text_pair")],
    )
    folder = str(tmp_path_factory.mktemp("saved"))
    tf.saved_model.save(module, folder, signatures={"single": single, "pair": pair})
    return folder


def test_loaded_in_a_fresh_process(tokenizer, folder, odd_texts):
    texts = odd_texts(500, seed=50)
    run = subprocess.run(
        [sys.executable, "-c", LOADER],
        input=json.dumps([folder, texts, texts[::-1]]),
        capture_output=True,
        text=True,
        cwd=folder,
    )
    assert run.returncode == 0, run.stderr
    single, pair = json.loads(run.stdout)
    tokenizer.enable_truncation(24)
    tokenizer.enable_padding()
    for outputs, inputs in ((single, texts), (pair, list(zip(texts, texts[::-1])))):
        encodings = tokenizer.encode_batch(inputs)
        assert outputs["input_ids"] == [encoding.ids for encoding in encodings]
        assert outputs["token_type_ids"] == [encoding.type_ids for encoding in encodings]
        assert outputs["attention_mask"] == [encoding.attention_mask for encoding in encodings]


def test_operations(folder):
    """All are TensorFlow's but one, which TF Serving has linked since 2.12."""
    check_operations(folder)
    text_operations = frozenset().union(*TEXT_OPERATIONS.values())
    assert text_operations.intersection(operations_of(folder)) == {
        "FastWordpieceTokenizeWithOffsets"
    }


def test_size(folder):
    files = [path for path in Path(folder).rglob("*") if path.is_file()]
    assert not [path for path in files if "assets" in path.parts]
    assert sum(path.stat().st_size for path in files) < 3e6
