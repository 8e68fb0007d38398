"""Marian's tokenizer in the graph against that of Transformers."""

import json
import random

import pytest
import sentencepiece
import tensorflow as tf
from tokenizers import AddedToken
from transformers import MarianTokenizer

from tfhf.serving.operations import check_operations
from tfhf.tokenization.graph import GraphTokenizer, UnsupportedTokenizerError

SIDES = ["left", "right"]
CODES = [">>de<<", ">>fr<<", ">>xx<<", ">><<", ">>", "<<", "</s>", "<pad>", "<unk>"]


@pytest.fixture(scope="module")
def files(training_texts, tmp_path_factory):
    """Models of two languages, and the vocabulary that they share, which has other ids."""
    folder = tmp_path_factory.mktemp("marian")
    sentences = [line for text in training_texts for line in text.split("\n")]
    half = len(sentences) // 2
    vocab = {"</s>": 0, "<unk>": 1, ">>de<<": 2, ">>fr<<": 3}
    for name, part in (("source", sentences[:half]), ("target", sentences[half:])):
        with open(folder / f"{name}.spm", "wb") as file:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(part), model_writer=file, vocab_size=800, minloglevel=3
            )
        model = sentencepiece.SentencePieceProcessor(str(folder / f"{name}.spm"))
        pieces = [model.id_to_piece(index) for index in range(3, model.get_piece_size())]
        # Some pieces of a model are not in the vocabulary.
        vocab |= {
            piece: len(vocab) + place
            for place, piece in enumerate({*pieces[::-1][5:]} - vocab.keys())
        }
    vocab["<pad>"] = len(vocab)
    (folder / "vocab.json").write_text(json.dumps(vocab))
    return folder


@pytest.fixture
def tokenizer(files):
    return MarianTokenizer(
        str(files / "source.spm"), str(files / "target.spm"), str(files / "vocab.json")
    )


@pytest.fixture
def separate_tokenizer(files):
    """One of which the target language has a vocabulary of its own."""
    vocab = json.loads((files / "vocab.json").read_text())
    pieces = sorted(vocab.keys() - {"</s>", "<unk>", "<pad>"})
    target = vocab | dict(zip(pieces, [vocab[piece] for piece in reversed(pieces)], strict=True))
    (files / "target_vocab.json").write_text(json.dumps(target))
    return MarianTokenizer(
        str(files / "source.spm"),
        str(files / "target.spm"),
        str(files / "vocab.json"),
        str(files / "target_vocab.json"),
        separate_vocabs=True,
    )


def with_codes(texts):
    rng = random.Random(12)
    return [rng.choice([*CODES, "", "", ""]) + rng.choice(["", " "]) + text for text in texts]


def assert_same_ids(tokenizer, texts):
    graph_tokenizer = GraphTokenizer.from_tokenizer(tokenizer, padding=False, truncation=False)
    found = graph_tokenizer(texts)["input_ids"].to_list()
    for text, ids, expected in zip(texts, found, tokenizer(texts)["input_ids"], strict=True):
        assert ids == expected, ascii(text)


def test_1000_texts(tokenizer, odd_texts):
    assert_same_ids(tokenizer, with_codes(odd_texts(1000, seed=110)))


@pytest.mark.slow
def test_20000_texts(tokenizer, odd_texts):
    texts = with_codes(odd_texts(20_000, seed=111))
    assert_same_ids(tokenizer, texts)
    for side in SIDES:
        assert_same_inputs(tokenizer, side, texts)
    assert_same_text(tokenizer, tokenizer(texts)["input_ids"])


def assert_same_inputs(tokenizer, side, texts):
    tokenizer.padding_side = tokenizer.truncation_side = side
    found = GraphTokenizer.from_tokenizer(tokenizer, max_length=24)(texts)
    expected = tokenizer(texts, padding=True, truncation=True, max_length=24)
    assert set(found) == set(expected)
    for name, rows in expected.items():
        assert found[name].numpy().tolist() == rows, name


@pytest.mark.parametrize("side", SIDES)
def test_truncated_and_padded(tokenizer, side, odd_texts):
    assert_same_inputs(tokenizer, side, odd_texts(200, seed=112))


def assert_same_text(tokenizer, rows):
    graph_tokenizer = GraphTokenizer.from_tokenizer(tokenizer)
    found = graph_tokenizer.decode(tf.ragged.constant(rows, tf.int64)).numpy()
    expected = tokenizer.batch_decode(rows, skip_special_tokens=True)
    for row, text, expected_text in zip(rows, found, expected, strict=True):
        assert text.decode() == expected_text, tokenizer.convert_ids_to_tokens(row)


def random_ids(tokenizer, count):
    rng = random.Random(13)
    return [rng.choices(sorted(tokenizer.decoder), k=rng.randrange(12)) for _ in range(count)]


def test_decoding(tokenizer, odd_texts):
    rows = tokenizer(odd_texts(500, seed=113))["input_ids"]
    assert_same_text(tokenizer, rows + random_ids(tokenizer, 1000))
    graph_tokenizer = GraphTokenizer.from_tokenizer(tokenizer)
    with pytest.raises(UnsupportedTokenizerError, match="decoder is Marian's with special tokens"):
        graph_tokenizer.decode([[1]], skip_special_tokens=False)


def test_vocabularies_of_their_own(separate_tokenizer, odd_texts):
    texts = odd_texts(300, seed=115)
    assert_same_ids(separate_tokenizer, texts)
    assert_same_text(separate_tokenizer, random_ids(separate_tokenizer, 500))
    expected = separate_tokenizer(text_target=texts)["input_ids"]
    assert_same_text(separate_tokenizer, expected)
    separate_tokenizer._switch_to_target_mode()
    found = GraphTokenizer.from_tokenizer(separate_tokenizer, padding=False, truncation=False)
    assert found(texts)["input_ids"].to_list() == expected


def test_in_a_saved_model(tokenizer, odd_texts, tmp_path):
    module = tf.Module()
    module.tokenizer = GraphTokenizer.from_tokenizer(tokenizer)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def there_and_back(text):
        return module.tokenizer.decode(module.tokenizer(text)["input_ids"])

    tf.saved_model.save(module, str(tmp_path), signatures=there_and_back)
    check_operations(tmp_path)
    texts = odd_texts(100, seed=114)
    signature = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    (found,) = signature(tf.constant(texts)).values()
    ids = tokenizer(texts, truncation=True)["input_ids"]
    expected = tokenizer.batch_decode(ids, skip_special_tokens=True)
    assert [text.decode() for text in found.numpy()] == expected


def test_what_is_refused(tokenizer, files):
    graph_tokenizer = GraphTokenizer.from_tokenizer(tokenizer)
    with pytest.raises(UnsupportedTokenizerError, match="its template for pairs is missing"):
        graph_tokenizer(["a"], ["b"])
    with pytest.raises(UnsupportedTokenizerError, match="model is Marian's, which keeps no"):
        graph_tokenizer(["a"], return_offsets_mapping=True)
    tokenizer.add_tokens([AddedToken("<x>", lstrip=True)])
    with pytest.raises(UnsupportedTokenizerError, match="list of added tokens is with AddedToken"):
        GraphTokenizer.from_tokenizer(tokenizer)
    names = [str(files / name) for name in ("source.spm", "target.spm", "vocab.json")]
    sampling = MarianTokenizer(*names, sp_model_kwargs={"enable_sampling": True})
    with pytest.raises(UnsupportedTokenizerError, match="sp_model_kwargs is {'enable_sampling'"):
        GraphTokenizer.from_tokenizer(sampling)
