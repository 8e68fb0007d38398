"""Character rules against the normalizer and the pre-tokenizer that they were read from."""

import json
import random

import pytest
import tensorflow as tf
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from tfhf.tokenization.graph import UnsupportedTokenizerError
from tfhf.tokenization.graph.characters import CharacterMap, CharacterRules, unicode_pages
from tfhf.tokenization.graph.normalization import Normalization, normalizer_rules
from tfhf.tokenization.graph.pre_tokenization import pre_tokenizer_replacements

FLAGS = {
    "uncased": {},
    "cased": {"lowercase": False},
    "cased, accents stripped": {"lowercase": False, "strip_accents": True},
    "lowercase, accents kept": {"strip_accents": False},
    "accents stripped only": {
        "clean_text": False,
        "handle_chinese_chars": False,
        "strip_accents": True,
        "lowercase": False,
    },
}


def spec_of(flags):
    defaults = {"clean_text": True, "handle_chinese_chars": True, "strip_accents": None}
    return {"type": "BertNormalizer", "lowercase": True} | defaults | flags


@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS)
def test_every_character_and_sorted_marks(flags, marks):
    rng = random.Random(1)
    texts = list(unicode_pages())
    texts += ["".join(rng.choices([*marks, "a", "\U0001d160"], k=9)) for _ in range(5000)]
    normalize = normalizers.BertNormalizer(**flags).normalize_str
    character_map = CharacterMap(normalizer_rules(spec_of(flags)))
    for text, normalized in zip(texts, character_map(tf.constant(texts)).numpy(), strict=True):
        assert normalized.decode() == normalize(text), ascii(text)


def test_marks_are_indeed_sorted_somewhere():
    rules = normalizer_rules(spec_of({}))
    adlam = "\U0001e944\U0001e94a"
    assert set(adlam) <= rules.mark_order.keys()
    assert CharacterMap(rules)(tf.constant([adlam])).numpy()[0].decode() == adlam[::-1]
    assert normalizer_rules(spec_of({"lowercase": False})).mark_order == {}


def test_pre_tokenizer(odd_texts):
    texts = [*unicode_pages(), *odd_texts(2000)]
    split = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    character_map = CharacterMap(
        CharacterRules.of(pre_tokenizer_replacements({"type": "BertPreTokenizer"}))
    )
    for text, words in zip(texts, tf.strings.split(character_map(tf.constant(texts))).to_list()):
        assert [word.decode() for word in words] == [word for word, _ in split(text)], ascii(text)


def test_rules_in_succession():
    first = CharacterRules.of({"A": "a-", "b": "", "c": " c "}, {"\u0301": 230})
    joined = first.then({"-": " - ", "a": "x", "b": "y", "c": "d"})
    assert [joined[character] for character in "Abc-aze\u0301"] == [
        *["x - ", "", " d ", " - ", "x", "z", "e", "\u0301"]
    ]
    assert joined.mark_order == first.mark_order
    assert first["c"] == " c ", "the first rules must not change"


@pytest.mark.parametrize("texts", [[], [""], ["", "", ""], ["a", "", "b!"]])
def test_empty_texts(texts):
    character_map = CharacterMap(CharacterRules.of({"b": "", "!": " ! "}))
    expected = [text.replace("b", "").replace("!", " ! ").encode() for text in texts]
    assert character_map(tf.constant(texts, tf.string)).numpy().tolist() == expected


def test_no_normalizer():
    rules = normalizer_rules(None)
    assert "".join(rules[character] for character in "Aé漢 \0") == "Aé漢 \0"


@pytest.mark.parametrize(
    ("read", "spec", "name"),
    [
        (normalizer_rules, {"type": "NFKC"}, "NFKC"),
        (normalizer_rules, {"type": "Sequence", "normalizers": []}, "Sequence"),
        (pre_tokenizer_replacements, {"type": "ByteLevel"}, "ByteLevel"),
        (pre_tokenizer_replacements, None, "missing"),
    ],
)
def test_others_are_refused_by_name(read, spec, name):
    with pytest.raises(UnsupportedTokenizerError, match=f"is {name}, expected Bert.*`tokens`"):
        read(spec)


SEQUENCES = {
    "spaces": [
        normalizers.Strip(),
        normalizers.Replace(Regex(" {2,}"), " "),
        normalizers.Prepend("▁"),
        normalizers.Replace(" ", "▁"),
    ],
    "Pegasus": [normalizers.Replace(Regex(r"\n"), " "), normalizers.Replace("``", '\\"')],
    "a sequence": [
        normalizers.Lowercase(),
        normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " "),
        normalizers.Strip(left=False, right=True),
    ],
    "ALBERT": [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()],
}


@pytest.mark.parametrize("steps", SEQUENCES.values(), ids=SEQUENCES)
def test_sequences(steps, marks, odd_texts):
    rng = random.Random(2)
    texts = ["", " ", "\n", "  a  b  ", *unicode_pages(), *odd_texts(2000, seed=120)]
    texts += ["".join(rng.choices([*marks, *"aeE\u0c46가ᄀ"], k=9)) for _ in range(3000)]
    tokenizer = Tokenizer(models.WordLevel({}, ""))
    tokenizer.normalizer = normalizers.Sequence(steps)
    spec = json.loads(tokenizer.to_str())["normalizer"]
    found = Normalization(spec)(tf.constant(texts)).numpy()
    for text, normalized in zip(texts, found, strict=True):
        assert normalized.decode() == tokenizer.normalizer.normalize_str(text), ascii(text)


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ({"type": "NFC"}, "NFC"),
        ({"type": "NFKC"}, "NFKC"),
        ({"type": "NFKD"}, "NFKD"),
        ({"type": "Nmt"}, "Nmt"),
        ({"type": "Replace", "pattern": {"Regex": r"\d"}, "content": ""}, r"Replace of '\\\\d'"),
    ],
)
def test_steps_that_are_refused(spec, found):
    with pytest.raises(UnsupportedTokenizerError, match=f"its normalizer is {found}, expected"):
        Normalization({"type": "Sequence", "normalizers": [{"type": "Lowercase"}, spec]})
