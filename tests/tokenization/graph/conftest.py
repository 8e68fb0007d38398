"""Vocabularies to try, trained on the spot, and texts that are meant to break tokenizers."""

import functools
import random
import unicodedata
from pydoc_data.topics import topics  # Python's own reference, as plain text

import pytest
from tokenizer_families import FAMILIES
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SPOKEN = [
    "Où l'été naît, le cœur s'égaie — ça va ?",
    "Straße, Übermut und ÄÖÜ; Å, Æ, Ø, Œ.",
    "Zażółć gęślą jaźń. Příliš žluťoučký kůň.",
    "Hôm nay trời đẹp quá, bạn ơi!",
    "Съешь же ещё этих мягких французских булок. Ёлка.",
    "Ο γρήγορος καφές. ΟΔΟΣ, σίγμα. Ἀρχή.",
    "İstanbul'da ılık bir gün. Iğdır.",
    "这是一个测试。東京で日本語を話す。한국어 시험입니다.",
    "यह हिन्दी है। ภาษาไทย ไม่มีช่องว่าง மொழி",
    "שָׁלוֹם עוֹלָם. مَرْحَبًا بِالْعَالَمِ ٣٤٥",
    "ꦗꦮ ꦱꦺꦩꦫꦁ ᬩᬮᬶ 𞤀𞤣𞤤𞤢𞤥 𞤆𞤵𞤤𞤢𞤪 ⰀⰁ 𝅘𝅥𝅮",
    "😀 👍🏽 👨‍👩‍👧 ❤️ ☕ © ™ 1️⃣ ½ ² Ⅷ ﬁ Ａ１",
]
PARAGRAPHS = [part.strip() for topic in topics.values() for part in topic.split("\n\n")]
PARAGRAPHS = [part for part in PARAGRAPHS if part]

CHARACTERS = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000]
ASSIGNED = [c for c in CHARACTERS if unicodedata.category(c) not in ("Cn", "Co")]
MARKS = [c for c in ASSIGNED if unicodedata.category(c)[0] == "M"]
SPACES = " \t\n\r\v\f\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
NOT_SPACES = "\x00\x01\x7f\xad\u034f\u180e\u200b\u200d\u200e\u2060\ufe0f\ufeff\ufffc\ufffd\ufffe"
PUNCTUATION = ".,;:!?\"'()[]{}<>-_=+*/\\|@#$%^&~`…—–«»“”‘’、。！？「」·¿¡§¶†‡•‰′€£₩№"
EMOJI = ["😀", "👍🏽", "👨‍👩‍👧", "🇰🇷", "❤️", "☕", "™", "1️⃣", "🤷🏻‍♀️", "🫠", "🪿"]
NUMBERS = ["0", "42", "3.14e-10", "1,000,000", "½", "²³", "٣٤٥", "Ⅷ", "１２３", "१२३", "①②", "0x1F"]
TOKENS = [
    *SPECIAL_TOKENS,
    "[mask]",
    "[MASK",
    "MASK]",
    "[ CLS ]",
    "##ing",
    "<t>",
    "<T>",
    "<é>",
    "tt",
]
# What splits, merges and normalizers of others than BERT treat in a way of their own.
AT_THE_SEAMS = [
    *["▁", "▁▁", "<0x41>", "``", "''", "I'm", "don't", "'S", "'LL", "'ſ", "'re're", "\r\n\r\n"],
    *[" \n\n", "\n x", "<s>", "</s>", "<mask>", "<extra_id_0>", "<|end|>", "<|endoftext|>"],
    *["e\u0301", "n\u0303o", "ﬁ\u0301", "Å", "①\u0308", "가\u11a8", "\u1100\u1161", "ｶﾞ"],
]
ODD = ["", " ", "\n", "\u3000", "\x00", "\u200b", "\ufffd", "\xad", "a ", " a", "  a  b  ", "\r\n"]


def _one_text(rng):
    """Make one text, of one of many kinds."""

    def some(choices, low=1, high=40):
        return [rng.choice(choices) for _ in range(rng.randrange(low, high))]

    def around(characters):
        place = rng.randrange(len(characters))
        return characters[max(0, place - 40) : place + 40]

    paragraph = rng.choice(PARAGRAPHS)
    words = paragraph.split()
    kinds = [
        lambda: paragraph[:300],
        lambda: rng.choice(SPOKEN),
        lambda: " ".join(rng.sample(SPOKEN, 3)).swapcase(),
        lambda: rng.choice(ODD),
        lambda: rng.choice(["", " "]).join(some(words + list(PUNCTUATION) + NUMBERS)),
        lambda: "".join(some(words + list(SPACES))),
        lambda: "".join(some(list(SPACES + NOT_SPACES) + words[:5])),
        lambda: rng.choice(["", " "]).join(some(TOKENS + words[:3] + list(SPACES), high=15)),
        lambda: rng.choice(["", " "]).join(some(AT_THE_SEAMS + words[:5], high=15)),
        lambda: "".join(some([*TOKENS, "a", "é", "_", "5", "\u0301", "!", " "], high=15)),
        lambda: "".join(chr(rng.randrange(0x80)) for _ in range(rng.randrange(60))),
        lambda: "".join(some(CHARACTERS[:0x600])),
        lambda: "".join(some(CHARACTERS)),
        lambda: "".join(some(ASSIGNED)),
        lambda: rng.choice(["", " "]).join(some(around(ASSIGNED))),
        lambda: "".join(some(MARKS + ["a", "e", "가"] * 200)),
        lambda: "".join(some(around(MARKS))),
        lambda: rng.choice("aE가ᄀ𝅗") + "".join(some(MARKS, high=6)),
        lambda: "".join(some([*EMOJI, " ", "a", "\u200d", "\ufe0f", words[0]])),
        lambda: "".join(some(CHARACTERS[0x3000:0xD800] + CHARACTERS[0xF100:0xF7F0])),
        lambda: "".join(some(CHARACTERS[0x1F800:0x2F200])),
        lambda: "".join(
            word * rng.choice([1, 2, 5, 40, 150])
            for word in some(["a", "=", "é", *words[:5]], high=6)
        ),
        lambda: " ".join(rng.choice("aéßя漢😀") * rng.randrange(96, 105) for _ in range(3)),
        lambda: "".join(some("abcdefgé가", 95, 210)) + rng.choice(["", " end", "!"]),
        lambda: "".join(rng.choice([c.upper(), c.lower(), c.title()]) for c in rng.choice(SPOKEN)),
    ]
    return rng.choice(kinds)()


@pytest.fixture(scope="session")
def characters():
    """All characters of Unicode."""
    return CHARACTERS


@pytest.fixture(scope="session")
def marks():
    """All combining marks of Unicode."""
    return MARKS


@pytest.fixture(scope="session")
def odd_texts():
    """Make any number of texts, always the same."""

    def make(count, seed=0):
        rng = random.Random(seed)
        return [_one_text(rng) for _ in range(count)]

    return make


@pytest.fixture(scope="session")
def training_texts():
    """Text to train small vocabularies on."""
    return PARAGRAPHS[:1000] + SPOKEN * 20


@pytest.fixture(scope="session")
def train(training_texts):
    """Train a WordPiece tokenizer with given flags of BertNormalizer.

    Beside what it learns, its vocabulary has every mark and all that is common in Europe, so that
    few words come out as [UNK], which hides what became of them.
    """

    def make(**flags):
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(**flags)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(
            vocab_size=6000, special_tokens=SPECIAL_TOKENS, show_progress=False
        )
        tokenizer.train_from_iterator(training_texts, trainer)
        vocabulary = tokenizer.get_vocab()
        for character in (
            CHARACTERS[0x12:0x600] + MARKS + list(PUNCTUATION) + CHARACTERS[0x1100:0x1200]
        ):
            for piece in (character, f"##{character}"):
                vocabulary.setdefault(piece, len(vocabulary))
        tokenizer.model = models.WordPiece(vocabulary, unk_token="[UNK]")
        sep, cls = (tokenizer.token_to_id(token) for token in ("[SEP]", "[CLS]"))
        tokenizer.post_processor = processors.BertProcessing(("[SEP]", sep), ("[CLS]", cls))
        return tokenizer

    return make


@pytest.fixture(scope="session")
def tokenizer_of(training_texts):
    """Train a tokenizer of a family."""
    return functools.lru_cache(lambda family: FAMILIES[family](training_texts))


@pytest.fixture(params=FAMILIES)
def tokenizer(request, tokenizer_of):
    """The tokenizers of all families, one by one."""
    return tokenizer_of(request.param)
