"""Added tokens in text, found as `tokenizers` finds them."""

import random
import re

import pytest
import tensorflow as tf
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from tfhf.tokenization.graph import GraphTokenizer, UnsupportedTokenizerError
from tfhf.tokenization.graph.added_tokens import AddedTokens

PIECES = [
    *"\0abxé5_-! \t\n\u3000\u0301漢",
    "  ",
    "foo",
    "Foo",
    "<t>",
    "<T>",
    "[MASK]",
    "[MA",
    "SK]",
    "ab",
]


def library_tokenizer(*added, special=(), normalizer=None):
    """Make a tokenizer of single characters, so that ids tell where each character went."""
    alphabet = ["[UNK]", *dict.fromkeys("".join(PIECES[1:]) + "AFST"), "foo"]
    vocabulary = alphabet + [f"##{piece}" for piece in alphabet]
    tokenizer = Tokenizer(
        models.WordPiece(
            {piece: index for index, piece in enumerate(vocabulary)}, unk_token="[UNK]"
        )
    )
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(list(special))
    tokenizer.add_tokens(list(added))
    return tokenizer


def assert_same_ids(tokenizer, texts):
    found = GraphTokenizer.from_tokenizer(tokenizer, padding=False)(texts)["input_ids"].to_list()
    for text, ids, encoding in zip(texts, found, tokenizer.encode_batch(texts), strict=True):
        assert ids == encoding.ids, ascii(text)


def texts_of_pieces(count=1500):
    rng = random.Random(2)
    return ["".join(rng.choices(PIECES, k=rng.randrange(12))) for _ in range(count)]


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("lstrip", [False, True])
@pytest.mark.parametrize("rstrip", [False, True])
def test_each_kind(normalized, lstrip, rstrip):
    kind = {"normalized": normalized, "lstrip": lstrip, "rstrip": rstrip}
    tokens = [AddedToken(content, **kind) for content in ("[MASK]", "foo", "5")]
    tokens += [AddedToken(content, single_word=True, **kind) for content in ("<T>", "é", "ab")]
    tokenizer = library_tokenizer(*tokens, normalizer=normalizers.BertNormalizer())
    assert_same_ids(tokenizer, texts_of_pieces(500))


@pytest.mark.parametrize("normalizer", [None, normalizers.BertNormalizer(lowercase=False)])
@pytest.mark.parametrize("split_special_tokens", [False, True])
def test_kinds_together(normalizer, split_special_tokens):
    tokenizer = library_tokenizer(
        AddedToken("[MASK]", normalized=False, lstrip=True),
        AddedToken("<t>", normalized=False, rstrip=True, single_word=True),
        AddedToken("<t>foo", normalized=False),  # the longer one of two at one place is taken
        AddedToken("a  ", normalized=False),
        AddedToken("é", single_word=True),
        AddedToken("foo", lstrip=True, rstrip=True),
        special=[AddedToken("[MA", normalized=False), AddedToken("Foo")],
        normalizer=normalizer,
    )
    tokenizer.encode_special_tokens = split_special_tokens
    assert_same_ids(tokenizer, texts_of_pieces())


def test_white_space_and_word_characters(characters):
    """What is text to the library and what is not, seen by the lengths of the texts."""
    library = Tokenizer(models.WordLevel({"text": 0}, unk_token="text"))
    library.add_tokens(
        [
            AddedToken("<l>", normalized=False, lstrip=True),
            AddedToken("<r>", normalized=False, rstrip=True),
            AddedToken("<w>", normalized=False, single_word=True),
        ]
    )

    def lengths(text, begins):
        length = tf.strings.length(text, "UTF8_CHAR")
        return tf.RaggedTensor.from_row_lengths(
            1000 + length[length > 0], tf.cast(length > 0, tf.int64)
        )

    rng = random.Random(3)
    texts = [f"x{c}{c}<l>{c}<r>{c}{c}x" for c in characters[:0x3100]]
    texts += [f"x {c}<w>, <w>{c}" for c in characters[:0x3100] + rng.sample(characters, 4000)]
    added = AddedTokens(library.get_added_tokens_decoder())
    found = added(tf.constant(texts), tf.fill(len(texts), True), lengths).to_list()
    for text, ids, encoding in zip(texts, found, library.encode_batch(texts), strict=True):
        expected = zip(encoding.ids, encoding.offsets)
        expected = [token or 1000 + end - start for token, (start, end) in expected]
        assert ids == expected, ascii(text)


def test_tokens_side_by_side_touch_each_other():
    tokenizer = library_tokenizer(
        AddedToken("ab", single_word=True), AddedToken("é", normalized=False)
    )
    assert_same_ids(
        tokenizer, ["abab", "abéab", "éab", "abé", "ab ab", "ab", "é", "ab!ab", "x", "ab"]
    )


def test_content_that_is_a_regular_expression():
    contents = [".*", "(a|b)", "\\1", "[^x]", "$", "^", "a{2}", "\\", "\n", "\t|"]
    tokenizer = library_tokenizer(*(AddedToken(content, normalized=False) for content in contents))
    assert_same_ids(tokenizer, [*contents, "".join(contents), "aab\\1b", "x" * 10, "(a|b)(a)"])


def test_many_tokens():
    contents = [f"<extra_{index}>" for index in range(2000)]
    tokenizer = library_tokenizer(*(AddedToken(content, normalized=False) for content in contents))
    assert_same_ids(tokenizer, [f"a {content}{content}" for content in contents[::7]] + ["<extra_"])


def test_tokens_that_normalize_to_the_same_are_refused():
    tokenizer = library_tokenizer(
        AddedToken("<T>"), AddedToken("<t>"), normalizer=normalizers.BertNormalizer()
    )
    with pytest.raises(
        UnsupportedTokenizerError, match=re.escape("['<t>', '<t>'] once normalized")
    ):
        GraphTokenizer.from_tokenizer(tokenizer, padding=False)


def test_token_that_normalizes_to_nothing_is_refused():
    tokenizer = library_tokenizer(AddedToken("\u0301"), normalizer=normalizers.BertNormalizer())
    with pytest.raises(UnsupportedTokenizerError, match="added tokens"):
        GraphTokenizer.from_tokenizer(tokenizer, padding=False)


def test_no_added_tokens_at_all():
    assert_same_ids(library_tokenizer(), ["", "ab <t>", "foo"])


def test_empty_batch():
    tokenizer = library_tokenizer(AddedToken("ab", single_word=True, lstrip=True))
    graph_tokenizer = GraphTokenizer.from_tokenizer(tokenizer, padding=False)
    assert graph_tokenizer(tf.constant([], tf.string))["input_ids"].shape[0] == 0
