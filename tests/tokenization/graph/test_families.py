"""Tokenizers of every family against the `tokenizers` library, on vocabularies trained here."""

import itertools
import json
import random
import subprocess
import sys

import pytest
import tensorflow as tf
from tokenizer_families import FAMILIES
from tokenizers import models

from tfhf.serving.operations import check_operations
from tfhf.tokenization.graph import GraphTokenizer

BATCH = 500
SIDES = ["left", "right"]


def assert_same_inputs(tokenizer, texts, pairs=None, **options):
    """Compare all that a model takes, and offsets."""
    options = {"padding": False, "truncation": False} | options
    inputs = [texts] if pairs is None else [texts, pairs]
    graph_tokenizer = GraphTokenizer.from_tokenizer(tokenizer, **options)
    for start in range(0, len(texts), BATCH):
        some = [part[start : start + BATCH] for part in inputs]
        expected = tokenizer(*some, return_offsets_mapping=True, **options)
        expected["offset_mapping"] = [list(map(list, row)) for row in expected["offset_mapping"]]
        found = graph_tokenizer(*some, return_offsets_mapping=True)
        assert set(found) == set(expected)
        without_offsets = graph_tokenizer(*some)
        assert set(found) - set(without_offsets) == {"offset_mapping"}
        for name, tensor in [*found.items(), *without_offsets.items()]:
            for *row, ours, theirs in zip(*some, rows(tensor), expected[name], strict=True):
                same = ours == theirs or any(may_differ(tokenizer, text) for text in row)
                assert same, (name, ascii(row))


def rows(tensor):
    return tensor.to_list() if isinstance(tensor, tf.RaggedTensor) else tensor.numpy().tolist()


def may_differ(tokenizer, text):
    """Unigram's known rest: words of hundreds of pieces, whose scores sum up to more than 2048."""
    is_unigram = isinstance(tokenizer.backend_tokenizer.model, models.Unigram)
    return is_unigram and max(map(len, text.split()), default=0) > 400


def assert_same_text(tokenizer, ids, skip_special_tokens):
    graph_tokenizer = GraphTokenizer.from_tokenizer(tokenizer, padding=False)
    found = graph_tokenizer.decode(
        tf.ragged.constant(ids, tf.int64), skip_special_tokens=skip_special_tokens
    )
    expected = tokenizer.batch_decode(ids, skip_special_tokens=skip_special_tokens)
    for row, text, expected_text in zip(ids, found.numpy(), expected, strict=True):
        assert text.decode() == expected_text, tokenizer.convert_ids_to_tokens(row)


def random_ids(tokenizer, count, seed):
    rng = random.Random(seed)
    size = max(tokenizer.get_vocab().values()) + 1
    return [[rng.randrange(size) for _ in range(rng.randrange(12))] for _ in range(count)]


def test_300_texts(tokenizer, odd_texts):
    assert_same_inputs(tokenizer, odd_texts(300, seed=60))


@pytest.mark.slow
def test_20000_texts(tokenizer, odd_texts):
    assert_same_inputs(tokenizer, odd_texts(20_000, seed=61))


@pytest.mark.slow
def test_20000_texts_on_every_side(tokenizer, odd_texts, monkeypatch):
    """Of one text and of pairs, with all paddings and truncations on both sides, and back."""
    sides = list(itertools.product([False, True], SIDES, SIDES, ["longest", "max_length"]))
    texts = odd_texts(20_000, seed=65)
    for index, (in_pairs, padding_side, truncation_side, padding) in enumerate(sides):
        monkeypatch.setattr(tokenizer, "padding_side", padding_side)
        monkeypatch.setattr(tokenizer, "truncation_side", truncation_side)
        some = texts[index :: len(sides)]
        pairs = some[::-1] if in_pairs else None
        options = {"padding": padding, "truncation": True, "max_length": 20 + index}
        assert_same_inputs(tokenizer, some, pairs, **options)
        ids = tokenizer(some, pairs, truncation=True, max_length=20 + index)["input_ids"]
        assert_same_text(tokenizer, ids, skip_special_tokens=bool(index % 2))


@pytest.mark.slow
def test_20000_rows_of_ids(tokenizer):
    assert_same_text(tokenizer, random_ids(tokenizer, 20_000, seed=66), skip_special_tokens=True)


def test_the_texts_put_it_to_the_test(tokenizer, odd_texts):
    """They hold most tokens, and few that are unknown."""
    ids = [token for row in tokenizer(odd_texts(1500, seed=60))["input_ids"] for token in row]
    assert ids.count(tokenizer.unk_token_id) < 0.35 * len(ids)
    assert len(set(ids)) > 0.6 * len(tokenizer)


@pytest.mark.parametrize("side", SIDES)
def test_pairs_truncated_and_padded(tokenizer, side, odd_texts, monkeypatch):
    texts = odd_texts(100, seed=62)
    monkeypatch.setattr(tokenizer, "padding_side", side)
    monkeypatch.setattr(tokenizer, "truncation_side", side)
    options = {"padding": "longest", "truncation": True, "max_length": 24}
    assert_same_inputs(tokenizer, texts, texts[::-1], **options)


@pytest.mark.parametrize("family", ["BERT", "Qwen2", "T5", "Llama-2"])
def test_in_an_input_pipeline(family, tokenizer_of, odd_texts):
    tokenizer, texts = tokenizer_of(family), odd_texts(150, seed=67)
    graph_tokenizer = GraphTokenizer.from_tokenizer(tokenizer, max_length=16, padding="max_length")
    dataset = tf.data.Dataset.from_tensor_slices(texts).batch(64).map(graph_tokenizer)
    found = [ids for batch in dataset for ids in rows(batch["input_ids"])]
    expected = tokenizer(texts, padding="max_length", truncation=True, max_length=16)
    assert found == expected["input_ids"]


def test_empty_batch_and_empty_texts(tokenizer):
    graph_tokenizer = GraphTokenizer.from_tokenizer(tokenizer, padding=False)
    assert graph_tokenizer(tf.constant([], tf.string))["input_ids"].to_list() == []
    texts = ["", " ", "\n", "a", "\0"]
    assert graph_tokenizer(texts)["input_ids"].to_list() == tokenizer(texts)["input_ids"]
    assert graph_tokenizer.decode(tf.zeros([0, 3], tf.int32)).shape == (0,)
    assert graph_tokenizer.decode(tf.zeros([2, 0], tf.int32)).numpy().tolist() == [b"", b""]


@pytest.mark.parametrize("skip_special_tokens", [False, True])
def test_decoding(tokenizer, skip_special_tokens, odd_texts):
    ids = tokenizer(odd_texts(200, seed=64))["input_ids"]
    ids += random_ids(tokenizer, 500, seed=64)
    assert_same_text(tokenizer, ids, skip_special_tokens)


LOADER = """
import json, sys
import tensorflow as tf
import tensorflow_text
folder, texts = json.load(sys.stdin)
signatures = tf.saved_model.load(folder).signatures
assert not any(name.split(".")[0] in ("tfhf", "transformers", "tokenizers") for name in sys.modules)
answers = {}
for name, signature in signatures.items():
    outputs = signature(text=tf.constant(texts))
    decoded = [text.decode() for text in outputs["decoded"].numpy()]
    answers[name] = [outputs[key].numpy().tolist() for key in ("input_ids", "offset_mapping")]
    answers[name].append(decoded)
json.dump(answers, sys.stdout)
"""


@pytest.mark.parametrize(
    "families",
    [
        pytest.param(["T5"], id="T5"),
        pytest.param(list(FAMILIES), id="all", marks=pytest.mark.slow),
    ],
)
def test_loaded_in_a_fresh_process(families, tokenizer_of, odd_texts, tmp_path):
    """Several families in one SavedModel, each with a signature and with pieces of its own."""
    module = tf.Module()
    module.tokenizers = [
        GraphTokenizer.from_tokenizer(tokenizer_of(family), max_length=24) for family in families
    ]

    def signature_of(graph_tokenizer):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
        def encode_and_decode(text):
            inputs = graph_tokenizer(text, return_offsets_mapping=True)
            return {**inputs, "decoded": graph_tokenizer.decode(inputs["input_ids"])}

        return encode_and_decode

    signatures = {
        f"family_{index}": signature_of(graph_tokenizer)
        for index, graph_tokenizer in enumerate(module.tokenizers)
    }
    tf.saved_model.save(module, str(tmp_path), signatures=signatures)
    check_operations(tmp_path)
    texts = odd_texts(300, seed=63)
    run = subprocess.run(
        [sys.executable, "-c", LOADER],
        input=json.dumps([str(tmp_path), texts]),
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stderr
    answers = json.loads(run.stdout)
    for index, family in enumerate(families):
        ids, offsets, decoded = answers[f"family_{index}"]
        tokenizer = tokenizer_of(family)
        expected = tokenizer(
            texts, padding=True, truncation=True, max_length=24, return_offsets_mapping=True
        )
        assert ids == expected["input_ids"], family
        assert [[*map(tuple, row)] for row in offsets] == expected["offset_mapping"], family
        assert decoded == tokenizer.batch_decode(ids, skip_special_tokens=True), family
