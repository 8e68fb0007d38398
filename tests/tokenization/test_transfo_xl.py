"""Transformer-XL's tokenizer against Transformers 4's (tools/transfo_xl_fixtures)."""

import collections
import copy
import json
import pickle
import shutil
import sys
from pathlib import Path

import pytest
import transformers

import tfhf
from tfhf.checkpoints.checkpoint import CorruptCheckpointError, UnsafeCheckpointError
from tfhf.tokenization.transfo_xl import read_vocabulary

FIXTURES = Path(__file__).parents[1] / "fixtures/transfo_xl/tokenizer"
GOLDEN = json.loads((FIXTURES / "golden.json").read_text())
WORDS = (FIXTURES / "vocab.txt").read_text().split()
PICKLES = ("legacy.bin", "zip.bin", "original.pkl", "transformers.pkl")


@pytest.fixture(scope="module")
def tokenizer():
    return tfhf.TransfoXLTokenizer(str(FIXTURES / "vocab.txt"))


@pytest.mark.parametrize("name", ["vocab.txt", *PICKLES])
def test_all_formats_have_the_same_words(name):
    assert read_vocabulary(str(FIXTURES / name)) == WORDS


@pytest.mark.parametrize("case", GOLDEN, ids=[case["text"] for case in GOLDEN])
def test_same_as_transformers_4(tokenizer, case):
    assert tokenizer.tokenize(case["text"]) == case["tokens"]
    assert tokenizer(case["text"]).input_ids == case["ids"]
    assert tokenizer.decode(case["ids"]) == case["decoded"]
    assert tokenizer.convert_tokens_to_string(case["tokens"]) == case["detokenized"]


def test_answers_are_ids_alone(tokenizer):
    assert list(tokenizer("the cat")) == ["input_ids"]
    assert len(tokenizer) == len(WORDS) + 1  # <formula>
    assert tokenizer.convert_tokens_to_ids(["<unk>", "<eos>", "<formula>"]) == [0, 1, len(WORDS)]
    assert tokenizer.get_vocab()["cat"] == WORDS.index("cat")


class TestFolder:
    @pytest.mark.parametrize(
        ("source", "name"),
        [("transformers.pkl", "vocab.pkl"), ("legacy.bin", "vocab.bin"), ("vocab.txt",) * 2],
    )
    def test_auto_tokenizer(self, source, name, tmp_path):
        """A checkpoint as it was published: a configuration of the model and a vocabulary."""
        tfhf.TransfoXLConfig().save_pretrained(tmp_path)
        shutil.copy(FIXTURES / source, tmp_path / name)
        tokenizer = tfhf.AutoTokenizer.from_pretrained(tmp_path)
        assert isinstance(tokenizer, tfhf.TransfoXLTokenizer)
        for case in GOLDEN:
            assert tokenizer(case["text"]).input_ids == case["ids"]
        plain = transformers.AutoTokenizer.from_pretrained(tmp_path)
        assert plain.idx2sym == WORDS

    def test_saved_without_a_pickle(self, tokenizer, tmp_path):
        tokenizer.save_pretrained(tmp_path)
        assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".txt"}
        assert (tmp_path / "vocab.txt").read_text().split() == WORDS
        again = tfhf.TransfoXLTokenizer.from_pretrained(tmp_path)
        for case in GOLDEN:
            assert again(case["text"]).input_ids == case["ids"]

    def test_options_are_kept(self, tmp_path):
        options = {"lower_case": True, "never_split": ["cat"], "eos_token": "."}
        tokenizer = tfhf.TransfoXLTokenizer(str(FIXTURES / "vocab.txt"), **options)
        assert tokenizer.tokenize("The CAT-mat") == ["the", "cat", "@-@", "mat"]
        tokenizer.save_pretrained(tmp_path)
        again = tfhf.AutoTokenizer.from_pretrained(tmp_path)
        assert again.lower_case and again.never_split == ["cat"] and again.eos_token == "."
        assert again.tokenize("The CAT") == ["the", "cat"]

    def test_settings_that_transformers_4_wrote(self, tmp_path):
        shutil.copy(FIXTURES / "transformers.pkl", tmp_path / "vocab.pkl")
        settings = {"additional_special_tokens": ["mat"], "extra_special_tokens": {}, "special": []}
        settings |= {"tokenizer_class": "TransfoXLTokenizer", "min_freq": 0, "lower_case": True}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
        tokenizer = tfhf.TransfoXLTokenizer.from_pretrained(tmp_path)
        assert tokenizer.lower_case and "mat" in tokenizer.all_special_tokens
        assert len(tokenizer) == len(WORDS)

    def test_words_with_spaces_cannot_be_saved(self, tmp_path):
        path = tmp_path / "vocab.pkl"
        path.write_bytes(pickle.dumps({"idx2sym": ["<unk>", "<eos>", "two words"]}))
        tokenizer = tfhf.TransfoXLTokenizer(pretrained_vocab_file=str(path))
        with pytest.raises(ValueError, match="'two words', which has spaces"):
            tokenizer.save_pretrained(tmp_path)


def test_tensors(tmp_path):
    shutil.copy(FIXTURES / "vocab.txt", tmp_path)
    tokenizer = tfhf.TransfoXLTokenizer.from_pretrained(tmp_path, pad_token="<eos>")
    tokens = tokenizer(["the cat", "on"], padding=True, return_tensors="tf")
    assert tokens.input_ids.numpy().tolist() == [[2, 5], [7, 1]]


def test_characters(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("<unk>\n<eos>\na\nb\n")
    tokenizer = tfhf.TransfoXLTokenizer(str(path), delimiter="")
    assert tokenizer("abca").input_ids == [2, 3, 0, 2]


def test_copies(tokenizer):
    for other in (copy.deepcopy(tokenizer), pickle.loads(pickle.dumps(tokenizer))):
        assert other("the cat").input_ids == [2, 5]


def test_without_sacremoses(monkeypatch, tokenizer):
    from tfhf.tokenization import transfo_xl

    transfo_xl._moses.cache_clear()
    monkeypatch.setitem(sys.modules, "sacremoses", None)
    with pytest.raises(ImportError, match="pip install sacremoses"):
        tokenizer("the cat")


class Evil:
    def __reduce__(self):
        return print, ("evil code ran",)


class TestRefused:
    @pytest.mark.parametrize(
        ("content", "error", "message"),
        [
            ({"idx2sym": Evil()}, UnsafeCheckpointError, "builtins.print"),
            ({"idx2sym": ["the"], "counter": Evil()}, UnsafeCheckpointError, "builtins.print"),
            ({"idx2sym": collections.deque(["the"])}, UnsafeCheckpointError, "collections.deque"),
            ({"sym2idx": {"the": 0}}, ValueError, "holds no vocabulary"),
            ({"idx2sym": []}, ValueError, "holds no vocabulary"),
            ({"idx2sym": ["the", 3]}, ValueError, "holds no vocabulary"),
            ({"idx2sym": collections.Counter("the")}, ValueError, "holds no vocabulary"),
            ({"idx2sym": ["the", "cat", "the"]}, ValueError, "under several ids"),
            (["the"], ValueError, "holds no vocabulary"),
            (3, ValueError, "holds no vocabulary"),
        ],
    )
    def test_pickle(self, content, error, message, tmp_path, capsys):
        path = tmp_path / "vocab.pkl"
        path.write_bytes(pickle.dumps(content))
        with pytest.raises(error, match=f"vocab.pkl.*{message}"):
            tfhf.TransfoXLTokenizer(pretrained_vocab_file=str(path))
        assert "evil" not in capsys.readouterr().out

    def test_parts_of_tokenizers_are_not_made(self, tmp_path):
        """Names that are passed over are not looked up, nor what stands for them called."""
        path = tmp_path / "vocab.pkl"
        for program in (
            b"\x80\x02csacremoses.tokenize\nMosesTokenizer\n)R)R.",  # calls what it made
            b"\x80\x02csacremoses.tokenize\nMosesTokenizer.x\n)R.",
            b"\x80\x02ccollections\nOrderedDict\n)\x81.",
        ):
            path.write_bytes(program)
            with pytest.raises((CorruptCheckpointError, UnsafeCheckpointError), match="vocab.pkl"):
                read_vocabulary(str(path))

    @pytest.mark.parametrize("size", [0, 1, 40, 300])
    @pytest.mark.parametrize("name", PICKLES)
    def test_cut_short(self, name, size, tmp_path):
        path = tmp_path / name
        path.write_bytes((FIXTURES / name).read_bytes()[:size])
        with pytest.raises((CorruptCheckpointError, UnsafeCheckpointError), match=name):
            read_vocabulary(str(path))

    def test_no_words(self, tmp_path):
        path = tmp_path / "vocab.txt"
        path.write_text("\n")
        with pytest.raises(ValueError, match="holds no vocabulary"):
            tfhf.TransfoXLTokenizer(str(path))

    def test_no_file(self):
        with pytest.raises(ValueError, match="needs a vocabulary"):
            tfhf.TransfoXLTokenizer()

    def test_unknown_word_without_a_token_for_it(self, tmp_path):
        path = tmp_path / "vocab.txt"
        path.write_text("the\ncat\n")
        tokenizer = tfhf.TransfoXLTokenizer(str(path))
        assert tokenizer("the cat").input_ids == [0, 1]
        with pytest.raises(ValueError, match="'dog' is not in the vocabulary"):
            tokenizer("the dog")
