"""Tokenizers with ``return_tensors="tf"``: the oracle is the same tokenizer with ``"np"``."""

import copy
import functools
import json
import pickle

import datasets
import dill
import numpy as np
import pytest
import sentencepiece
import tensorflow as tf
import tokenizers
import transformers
from datasets.fingerprint import Hasher

from tfhf.tokenization import AutoTokenizer, auto, tensorflow_tokenizer

SENTENCES = [
    "The quick brown fox jumps over the lazy dog.",
    "Tokenizers turn text into numbers; models turn numbers into text.",
    "Hello",
    "",
    "A café, naïve façade — 42 déjà vus!",
]
CHAT_TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}"
    "{% endgeneration %}{% else %}{{ m.content }} {% endif %}{% endfor %}"
)
CHAT = [{"role": "user", "content": "the lazy dog"}, {"role": "assistant", "content": "jumps"}]


@functools.cache  # the trainer breaks ties at random
def wordpiece_vocabulary():
    model = tokenizers.BertWordPieceTokenizer()
    model.train_from_iterator(SENTENCES, vocab_size=150, min_frequency=1, show_progress=False)
    return model.get_vocab()


def wordpiece():
    return transformers.BertTokenizer(vocab=wordpiece_vocabulary(), model_max_length=32)


def byte_level_bpe():
    model = tokenizers.ByteLevelBPETokenizer()
    model.train_from_iterator(SENTENCES, vocab_size=300, show_progress=False)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=model._tokenizer)
    tokenizer.add_special_tokens({"pad_token": "<pad>", "eos_token": "</s>"})
    tokenizer.padding_side = "left"
    return tokenizer


def pure_python():
    return transformers.ByT5Tokenizer(model_max_length=32)


@pytest.fixture(params=[wordpiece, byte_level_bpe, pure_python])
def pair(request, tmp_path):
    """A tokenizer of Transformers, and the same loaded by tfhf."""
    request.param().save_pretrained(tmp_path)
    return transformers.AutoTokenizer.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(
        tmp_path
    )


def assert_same(tensors, arrays):
    assert list(tensors) == list(arrays)
    for name, array in arrays.items():
        assert isinstance(tensors[name], tf.Tensor)
        assert tensors[name].dtype == tf.int32
        np.testing.assert_array_equal(tensors[name].numpy(), array)


@pytest.mark.parametrize(
    "options",
    [
        {"padding": True},
        {"padding": "max_length", "max_length": 20, "truncation": True},
        {"padding": True, "pad_to_multiple_of": 8, "return_special_tokens_mask": True},
        {"padding": True, "padding_side": "left", "return_length": True},
    ],
)
def test_call_gives_what_numpy_gives(pair, options):
    plain, ours = pair
    tensors = ours(SENTENCES, return_tensors="tf", **options)
    assert_same(tensors, plain(SENTENCES, return_tensors="np", **options))
    assert tensors.input_ids is tensors["input_ids"]
    assert type(tensors) is transformers.BatchEncoding


def test_one_text_pairs_and_targets(pair):
    plain, ours = pair
    for arguments in [
        {"text": "the dog"},
        {"text": "the dog", "text_pair": "jumps over"},
        {"text": ["the dog"], "text_target": ["le chien"]},
        {"text_target": ["le chien"]},
    ]:
        assert_same(ours(return_tensors="tf", **arguments), plain(return_tensors="np", **arguments))
    np.testing.assert_array_equal(
        ours.encode("the dog", return_tensors="tf"), plain.encode("the dog", return_tensors="np")
    )


def test_offsets_and_overflow_of_fast_tokenizers():
    options = {
        "truncation": True,
        "max_length": 6,
        "stride": 2,
        "padding": True,
        "return_overflowing_tokens": True,
        "return_offsets_mapping": True,
    }
    tensors = tensorflow_tokenizer(wordpiece())(SENTENCES, return_tensors="tf", **options)
    arrays = wordpiece()(SENTENCES, return_tensors="np", **options)
    assert_same(tensors, arrays)
    assert tensors.offset_mapping.shape[2] == 2
    assert tensors.word_ids(0) == arrays.word_ids(0)


def test_other_answers_are_untouched(pair):
    plain, ours = pair
    assert ours(SENTENCES).data == plain(SENTENCES).data
    array = ours(SENTENCES, padding=True, return_tensors="np").input_ids
    assert isinstance(array, np.ndarray) and array.dtype == np.int64
    with pytest.raises(ValueError, match="xx"):
        ours("a", return_tensors="xx")


def test_rows_of_different_lengths_are_an_error(pair):
    with pytest.raises(ValueError, match=r"'input_ids' have different lengths.*padding=True"):
        pair[1](SENTENCES, return_tensors="tf")


def test_empty_text_gives_integers():
    ours = tensorflow_tokenizer(wordpiece())
    ids = ours("", add_special_tokens=False, return_tensors="tf").input_ids
    assert ids.dtype == tf.int32 and ids.shape == (1, 0)


def test_pad_takes_lists_arrays_and_tensors(pair):
    plain, ours = pair
    rows = [plain(sentence) for sentence in SENTENCES]
    expected = plain.pad([dict(row) for row in rows], return_tensors="np")
    tensor_rows = [{name: tf.constant(ids) for name, ids in row.items()} for row in rows]
    ragged = {
        name: tf.ragged.constant([row[name] for row in rows], dtype=tf.int32) for name in rows[0]
    }
    listed = {name: [row[name] for row in tensor_rows] for name in rows[0]}
    assert_same(ours.pad(rows, return_tensors="tf"), expected)
    for tensors in (tensor_rows, ragged, listed, transformers.BatchEncoding(listed)):
        assert_same(ours.pad(tensors), expected)
    assert isinstance(ours.pad(tensor_rows, return_tensors="np")["input_ids"], np.ndarray)
    assert isinstance(ours.pad(rows)["input_ids"], list)
    assert isinstance(tensor_rows[0]["input_ids"], tf.Tensor)  # the caller's rows are as before
    square = ours(SENTENCES, padding=True, return_tensors="tf")
    assert_same(
        ours.pad(square, padding="max_length", max_length=70),
        plain.pad(dict(expected), padding="max_length", max_length=70, return_tensors="np"),
    )


def test_decode_takes_tensors(pair):
    plain, ours = pair
    tokens = ours(SENTENCES, padding=True, return_tensors="tf").input_ids
    arrays = tokens.numpy()
    for skip in (True, False):
        texts = plain.batch_decode(arrays, skip_special_tokens=skip)
        assert ours.batch_decode(tokens, skip_special_tokens=skip) == texts
        assert ours.decode(tokens, skip_special_tokens=skip) == texts
        assert ours.batch_decode(list(tokens), skip_special_tokens=skip) == texts
        assert ours.decode(tokens[0], skip_special_tokens=skip) == texts[0]
    assert ours.decode(tokens[0, 1]) == plain.decode(int(arrays[0, 1]))
    ragged = tf.ragged.constant([[9, 10], [11]])
    assert ours.batch_decode(ragged) == plain.batch_decode([[9, 10], [11]])
    assert ours.decode([9, 10]) == plain.decode([9, 10])


def test_chat_templates():
    plain, ours = wordpiece(), tensorflow_tokenizer(wordpiece())
    plain.chat_template = ours.chat_template = CHAT_TEMPLATE
    for options in ({}, {"return_assistant_tokens_mask": True}):
        arrays = plain.apply_chat_template(CHAT, return_tensors="np", **options)
        assert_same(ours.apply_chat_template(CHAT, return_tensors="tf", **options), arrays)
    ids = ours.apply_chat_template(CHAT, return_tensors="tf", return_dict=False)
    np.testing.assert_array_equal(ids, arrays["input_ids"])
    assert ours.apply_chat_template(CHAT, tokenize=False) == "the lazy dog jumps"
    batch = [CHAT, CHAT[:1]]
    assert_same(
        ours.apply_chat_template(batch, padding=True, return_tensors="tf"),
        plain.apply_chat_template(batch, padding=True, return_tensors="np"),
    )


def test_class_and_files_are_those_of_transformers(pair, tmp_path):
    plain, ours = pair
    assert isinstance(ours, type(plain))
    assert type(ours).__name__ == type(plain).__name__
    assert repr(ours) == repr(plain)
    for tokenizer, folder in ((plain, tmp_path / "plain"), (ours, tmp_path / "ours")):
        tokenizer.save_pretrained(folder)
    for file in (tmp_path / "plain").iterdir():
        assert (tmp_path / "ours" / file.name).read_bytes() == file.read_bytes()
    config = json.loads((tmp_path / "ours/tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == type(plain).__name__
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "ours")
    assert type(again) is type(plain)
    assert again(SENTENCES).data == plain(SENTENCES).data
    assert type(ours).from_pretrained(tmp_path / "ours")("a", return_tensors="tf")


@pytest.mark.parametrize(
    "duplicate",
    [
        copy.deepcopy,
        copy.copy,
        lambda ours: pickle.loads(pickle.dumps(ours)),
        lambda ours: dill.loads(dill.dumps(ours)),
    ],
)
def test_copies_keep_answering(pair, duplicate):
    ours = pair[1]
    again = duplicate(ours)
    assert type(again) is type(ours)
    assert_same(
        again(SENTENCES, padding=True, return_tensors="tf"),
        pair[0](SENTENCES, padding=True, return_tensors="np"),
    )


def test_datasets_map_hashes_and_ships_it(pair):
    plain, ours = pair
    before = Hasher.hash(ours)
    assert Hasher.hash(copy.deepcopy(ours)) == before == Hasher.hash(ours)
    data = datasets.Dataset.from_dict({"text": SENTENCES})
    rows = data.map(lambda row: ours(row["text"]), num_proc=2)
    assert rows["input_ids"][:] == plain(SENTENCES)["input_ids"]


def test_the_first_copy_changes_no_hash(monkeypatch):
    """It changes the class of most objects, whose contents datasets hashes."""
    monkeypatch.setattr(auto, "_tensorflow_class", auto._tensorflow_class.__wrapped__)
    ours = tensorflow_tokenizer(wordpiece())
    before = Hasher.hash(ours)
    copy.deepcopy(ours)
    assert Hasher.hash(ours) == before


def test_training_a_new_tokenizer_keeps_tensors():
    ours = tensorflow_tokenizer(wordpiece()).train_new_from_iterator([SENTENCES], vocab_size=90)
    assert isinstance(ours("dog", return_tensors="tf").input_ids, tf.Tensor)


def test_learning_twice_changes_nothing():
    tokenizer = wordpiece()
    ours = tensorflow_tokenizer(tokenizer)
    assert ours is tokenizer and type(tensorflow_tokenizer(ours)) is type(ours)
    assert type(tensorflow_tokenizer(wordpiece())) is type(ours)


def test_bad_arguments():
    with pytest.raises(TypeError, match=r"tokenizer: expected a tokenizer.*got dict"):
        tensorflow_tokenizer({})
    with pytest.raises(ValueError, match="trust_remote_code"):
        AutoTokenizer.from_pretrained("anything", trust_remote_code=True)


def test_source_and_target_of_marian(tmp_path):
    """A tokenizer of two SentencePiece models, each for the texts of its language."""
    texts = {"source": SENTENCES[:3], "target": ["Der schnelle braune Fuchs", "Hallo, müder Hund"]}
    words = ["</s>", "<unk>"]
    for side, lines in texts.items():
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_prefix=str(tmp_path / side),
            vocab_size=60,
            hard_vocab_limit=False,
            minloglevel=2,
        )
        pieces = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / f"{side}.model"))
        words += [pieces.id_to_piece(i) for i in range(3, pieces.get_piece_size())]
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys([*words, "<pad>"]))}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    files = [str(tmp_path / name) for name in ("source.model", "target.model", "vocab.json")]
    theirs = transformers.MarianTokenizer(*files, source_lang="en", target_lang="de")
    theirs.save_pretrained(tmp_path / "saved")
    ours = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert isinstance(ours, transformers.MarianTokenizer)
    given = {"text": texts["source"][1:], "text_target": texts["target"], "padding": True}
    expected, got = theirs(**given, return_tensors="np"), ours(**given, return_tensors="tf")
    assert list(got) == list(expected) == ["input_ids", "attention_mask", "labels"]
    for name, rows in expected.items():
        assert got[name].dtype == tf.int32
        np.testing.assert_array_equal(got[name], rows)
    decoded = ours.batch_decode(got["labels"], skip_special_tokens=True, use_source_tokenizer=False)
    assert decoded == texts["target"]
    assert got["labels"].numpy().max() < len(ours) and (got["labels"][:, -1].numpy() != 1).all()
