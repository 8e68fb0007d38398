"""GraphTokenizer against the `tokenizers` library, on texts that are meant to break it."""

import random

import numpy as np
import pytest
import tensorflow as tf
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import (
    AutoTokenizer,
    BertTokenizer,
    CTRLTokenizer,
    OpenAIGPTTokenizer,
    PreTrainedTokenizerFast,
)

from tfhf.tokenization.graph import GraphTokenizer, UnsupportedTokenizerError

FLAGS = {
    "uncased": {},
    "cased": {"lowercase": False},
    "cased, accents stripped": {"lowercase": False, "strip_accents": True},
    "lowercase, accents kept": {"strip_accents": False},
    "no cleaning": {"clean_text": False},
    "no cleaning, Chinese as words": {"clean_text": False, "handle_chinese_chars": False},
}
ADDED = [
    AddedToken("<t>", lstrip=True),
    AddedToken("<T>", rstrip=True, normalized=False),
    AddedToken("<é>", lstrip=True, rstrip=True, normalized=False),
    AddedToken("tt", single_word=True),
    AddedToken("[mask]", single_word=True, normalized=False, lstrip=True),
]


def assert_same_ids(tokenizer, texts, batch=500):
    graph_tokenizer = GraphTokenizer.from_tokenizer(tokenizer, padding=False)
    for start in range(0, len(texts), batch):
        some = texts[start : start + batch]
        found = graph_tokenizer(some)["input_ids"].to_list()
        for text, ids, encoding in zip(some, found, tokenizer.encode_batch(some), strict=True):
            assert ids == encoding.ids, ascii(text)


@pytest.mark.parametrize("kind", ["uncased", "no cleaning, Chinese as words"])
def test_3000_texts(kind, train, odd_texts):
    assert_same_ids(train(**FLAGS[kind]), odd_texts(3000))


@pytest.mark.slow
@pytest.mark.parametrize("kind", FLAGS)
def test_20000_texts(kind, train, odd_texts):
    assert_same_ids(train(**FLAGS[kind]), odd_texts(20_000, seed=list(FLAGS).index(kind) + 1))


@pytest.mark.slow
@pytest.mark.parametrize("split_special_tokens", [False, True])
def test_20000_texts_with_added_tokens(split_special_tokens, train, odd_texts):
    tokenizer = train()
    tokenizer.add_tokens(ADDED)
    tokenizer.encode_special_tokens = split_special_tokens
    assert_same_ids(tokenizer, odd_texts(20_000, seed=9))


def test_the_texts_put_it_to_the_test(train, odd_texts):
    """Few tokens may be unknown, for words that are tell little; some 45 are special ones.

    How many depends on Python's version, for the texts have words of its reference.
    """
    tokenizer = train()
    ids = [token for row in tokenizer.encode_batch(odd_texts(2000)) for token in row.ids]
    assert ids.count(tokenizer.token_to_id("[UNK]")) < 0.25 * len(ids)
    assert ids.count(tokenizer.token_to_id("[MASK]")) > 20


def test_real_vocabulary(minilm_folder, odd_texts):
    tokenizer = AutoTokenizer.from_pretrained(minilm_folder)
    texts = odd_texts(2000, seed=20)
    found = GraphTokenizer.from_tokenizer(tokenizer, max_length=64)(texts, texts[::-1])
    expected = tokenizer(texts, texts[::-1], padding=True, truncation=True, max_length=64)
    for name, rows in expected.items():
        assert found[name].numpy().tolist() == rows, name


def test_bytes_that_are_not_utf8(train):
    rng = random.Random(4)
    parts = ["a", "é", "漢", "😀", "\ufeff", "\0", "\ufffd", " "]
    parts = [part.encode() for part in parts]
    parts += [b"\xff", b"\xc3", b"\xe6\xbc", b"\xf0\x9f\x98", b"\x80", b"\xed\xa0\x80", b"\xc0\x80"]
    texts = [b"".join(rng.choices(parts, k=rng.randrange(12))) for _ in range(1000)]
    tokenizer = train(clean_text=False)  # or else replacement characters are removed
    vocabulary = tokenizer.get_vocab()
    vocabulary |= {"\ufffd": len(vocabulary), "##\ufffd": len(vocabulary) + 1}
    tokenizer.model = models.WordPiece(vocabulary, unk_token="[UNK]")
    found = GraphTokenizer.from_tokenizer(tokenizer, padding=False)(texts)["input_ids"].to_list()
    encodings = tokenizer.encode_batch([text.decode(errors="replace") for text in texts])
    assert found == [encoding.ids for encoding in encodings]


def test_empty_batch_and_empty_texts(train):
    graph_tokenizer = GraphTokenizer.from_tokenizer(train())
    for pair in (False, True):
        inputs = graph_tokenizer([], [] if pair else None)
        assert all(tensor.shape == (0, 0) for tensor in inputs.values())
        inputs = graph_tokenizer(["", " "], ["", "\0"] if pair else None)
        assert inputs["input_ids"].shape == (2, 3 if pair else 2)
    fixed = GraphTokenizer.from_tokenizer(train(), padding="max_length", max_length=8)
    assert fixed([])["attention_mask"].shape == (0, 8)


def test_one_text_alone_gives_what_it_gives_in_a_batch(train, odd_texts):
    graph_tokenizer = GraphTokenizer.from_tokenizer(train(), padding=False)
    texts = odd_texts(40, seed=30)
    together = graph_tokenizer(texts)["input_ids"].to_list()
    assert [graph_tokenizer([text])["input_ids"].to_list()[0] for text in texts] == together


def test_tf_data(train, odd_texts):
    tokenizer = train()
    tokenizer.add_tokens(ADDED)
    graph_tokenizer = GraphTokenizer.from_tokenizer(tokenizer, max_length=32)
    texts = odd_texts(600, seed=40)
    dataset = tf.data.Dataset.from_tensor_slices((texts, texts[::-1])).batch(64)
    dataset = dataset.map(graph_tokenizer, num_parallel_calls=tf.data.AUTOTUNE)
    assert dataset.element_spec["input_ids"] == tf.TensorSpec([None, None], tf.int32)
    found = [row[row != 0].tolist() for batch in dataset for row in batch["input_ids"].numpy()]
    tokenizer.enable_truncation(32)
    expected = [encoding.ids for encoding in tokenizer.encode_batch(list(zip(texts, texts[::-1])))]
    assert found == [[token for token in ids if token] for ids in expected]


def test_shapes_are_static_where_they_can_be(train):
    graph_tokenizer = GraphTokenizer.from_tokenizer(train(), padding="max_length", max_length=16)
    dataset = tf.data.Dataset.from_tensor_slices(["a"] * 9).batch(4, drop_remainder=True)
    spec = dataset.map(graph_tokenizer).element_spec
    assert set(spec.values()) == {tf.TensorSpec([4, 16], tf.int32)}


def test_inside_a_function_of_unknown_rank(train):
    graph_tokenizer = GraphTokenizer.from_tokenizer(train())
    encode = tf.function(graph_tokenizer, input_signature=[tf.TensorSpec(None, tf.string)])
    expected = graph_tokenizer(["a b", ""])["input_ids"].numpy()
    np.testing.assert_array_equal(encode(tf.constant(["a b", ""]))["input_ids"], expected)
    with pytest.raises(tf.errors.InvalidArgumentError):
        encode(tf.constant([["a b"]]))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("a text", r"text: expected a vector of strings, got shape \(\)"),
        ([["a", "b"]], r"text: expected a vector of strings, got shape \(1, 2\)"),
        ([1, 2], r"text: expected a vector of strings, got \[1, 2\]"),
        (None, "text: expected a vector of strings, got None"),
        (["a", None], r"text: expected a vector of strings, got \['a', None\]"),
        (["\ud800"], "text: expected a vector of strings"),
        (tf.constant([1.0]), "text: expected a vector of strings"),
    ],
)
def test_what_is_no_vector_of_strings(texts, message, train):
    graph_tokenizer = GraphTokenizer.from_tokenizer(train())
    with pytest.raises(ValueError, match=message):
        graph_tokenizer(texts)
    if texts is not None:
        with pytest.raises(ValueError, match=message.replace("text:", "text_pair:")):
            graph_tokenizer(["a"], texts)


def test_pairs_of_different_length(train):
    graph_tokenizer = GraphTokenizer.from_tokenizer(train())
    with pytest.raises(tf.errors.InvalidArgumentError, match="text and text_pair: expected the"):
        graph_tokenizer(["a"], ["a", "b"])


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("model", models.WordLevel(), "model is WordLevel, expected .*`tokens` signature"),
        ("normalizer", normalizers.NFC(), "normalizer is NFC, expected BertNormalizer"),
        ("pre_tokenizer", pre_tokenizers.Whitespace(), "pre_tokenizer is Whitespace"),
    ],
)
def test_other_parts_are_refused_by_name(part, value, message, train):
    tokenizer = train()
    setattr(tokenizer, part, value)
    with pytest.raises(UnsupportedTokenizerError, match=message):
        GraphTokenizer.from_tokenizer(tokenizer)


@pytest.mark.parametrize("other", [None, "bert-base-uncased", object()])
def test_what_is_no_tokenizer(other):
    with pytest.raises(
        UnsupportedTokenizerError, match=f"implementation is {type(other).__name__}"
    ):
        GraphTokenizer.from_tokenizer(other)


def test_special_tokens_can_be_text(train):
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[", "]", "mask"]
    vocabulary = {token: token_id for token_id, token in enumerate(tokens)}
    for split in (False, True):
        tokenizer = BertTokenizer(vocabulary, split_special_tokens=split)
        found = GraphTokenizer.from_tokenizer(tokenizer)(["[MASK]"])["input_ids"].numpy()
        assert found.tolist() == tokenizer(["[MASK]"])["input_ids"]


def test_a_tokenizer_is_left_as_it_was(train):
    tokenizer = train()
    tokenizer.enable_padding(length=7)
    tokenizer.enable_truncation(9)
    before = Tokenizer.from_str(tokenizer.to_str()).to_str()
    GraphTokenizer.from_tokenizer(tokenizer)(["a"])
    assert tokenizer.to_str() == before


def bloom(folder):
    """Return a tokenizer that splits as BLOOM's."""
    vocab = {character: i for i, character in enumerate(pre_tokenizers.ByteLevel.alphabet())}
    backend = Tokenizer(models.BPE(vocab, []))
    pattern = Regex(r" ?[^(\s|[.,!?…。，、।۔،])]+")
    split = pre_tokenizers.Split(pattern, behavior="isolated")
    bytes_alone = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_alone])
    return PreTrainedTokenizerFast(tokenizer_object=backend)


def ctrl(folder):
    """Return a tokenizer in Python."""
    (folder / "vocab.json").write_text('{"<unk>": 0, "a</w>": 1}')
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CTRLTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))


def openai_gpt(folder):
    """Return a tokenizer whose tokens end words."""
    return OpenAIGPTTokenizer({"<unk>": 0, "a</w>": 1, "a": 2}, [])


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (openai_gpt, "its normalizer is BertNormalizer"),
        (bloom, r"its pre_tokenizer is .* \?\["),
        (ctrl, "its implementation is CTRLTokenizer"),
    ],
)
def test_tokenizers_of_these_families_are_refused(make, fault, tmp_path):
    """What graphs cannot do exactly is named."""
    with pytest.raises(UnsupportedTokenizerError, match=fault):
        GraphTokenizer.from_tokenizer(make(tmp_path), padding=False)
