"""Character rules against the normalizer and the pre-tokenizer that they were read from."""

import json
import random

import pytest
import tensorflow as tf
from tokenizer_families import charsmap
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from tfhf.tokenization.graph import UnsupportedTokenizerError
from tfhf.tokenization.graph.characters import CharacterMap, CharacterRules, unicode_pages
from tfhf.tokenization.graph.normalization import normalizer_rules, read_normalizer
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
    "ALBERT": [
        normalizers.NFKD(),
        normalizers.StripAccents(),
        normalizers.Lowercase(),
        normalizers.Precompiled(charsmap()),
    ],
    "DeBERTa": [
        normalizers.Lowercase(),
        normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " "),
        normalizers.NFC(),
        normalizers.Strip(left=False, right=True),
    ],
    "NFC": [normalizers.NFC()],
    "NFD": [normalizers.NFD()],
    "NFKC": [normalizers.NFKC()],
    "NFKD": [normalizers.NFKD()],
    "NFD, no accents": [normalizers.NFD(), normalizers.StripAccents()],
    "no accents": [normalizers.StripAccents()],
    "Precompiled": [normalizers.Precompiled(charsmap())],
}


@pytest.mark.parametrize("steps", SEQUENCES.values(), ids=SEQUENCES)
def test_sequences(steps, marks, odd_texts):
    """What becomes of texts, and which character each new one comes from."""
    rng = random.Random(2)
    texts = ["", " ", "\n", "  a  b  ", *odd_texts(500, seed=120)]
    alphabets = (
        [*marks, *"aeE\u0c46가ᄀ"],
        ["e", *"\u0323\u0302\u0301\u0344\u0345\u0308\u05b4ﬁﾞ\x01ﷺ"],
    )
    texts += ["".join(rng.choices(rng.choice(alphabets), k=9)) for _ in range(2000)]
    tokenizer = Tokenizer(models.WordLevel({"?": 0}, "?"))
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    normalize = read_normalizer(json.loads(tokenizer.to_str())["normalizer"])
    pages = list(unicode_pages())
    for page, normalized in zip(pages, normalize(tf.constant(pages)).numpy(), strict=True):
        assert normalized.decode() == tokenizer.normalizer.normalize_str(page), ascii(page)
    normalized, source = normalize.with_source(tf.constant(texts))
    answers = zip(texts, normalize(tf.constant(texts)).numpy(), normalized.numpy(), strict=True)
    for text, *found in answers:
        expected = tokenizer.normalizer.normalize_str(text)
        assert [answer.decode() for answer in found] == [expected] * 2, ascii(text)
    for text, places, encoding in zip(texts, source.to_list(), tokenizer.encode_batch(texts)):
        assert places == [start for start, _ in encoding.offsets], ascii(text)


def test_nothing_to_normalize():
    assert read_normalizer(None) is None
    assert read_normalizer({"type": "Sequence", "normalizers": []}) is None


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ({"type": "Nmt"}, "Nmt"),
        ({"type": "Replace", "pattern": {"Regex": r"\d"}, "content": ""}, r"Replace of '\\\\d'"),
    ],
)
def test_steps_that_are_refused(spec, found):
    with pytest.raises(UnsupportedTokenizerError, match=f"its normalizer is {found}, expected"):
        read_normalizer({"type": "Sequence", "normalizers": [{"type": "Lowercase"}, spec]})
