"""SentencePiece's normalizations, as the `tokenizers` library does them."""

import base64
import io
import random
import struct

import pytest
import sentencepiece
import tensorflow as tf
from sentencepiece.sentencepiece_model_pb2 import ModelProto
from tokenizers import normalizers

from tfhf.tokenization.graph import UnsupportedTokenizerError
from tfhf.tokenization.graph.characters import unicode_pages
from tfhf.tokenization.graph.normalization import read_normalizer
from tfhf.tokenization.graph.precompiled import precompiled_rules, read_charsmap

LETTERS = "aeiouAEIOUªﬁ①½\u0958\u0600 \u200d\u200b\n\r\x01\xad©®™ÅΩｶ가"


def charsmap_of(**arguments):
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a few words are enough"] * 50),
        model_writer=written,
        vocab_size=20,
        hard_vocab_limit=False,
        minloglevel=3,
        **arguments,
    )
    model = ModelProto()
    model.ParseFromString(written.getvalue())
    return model.normalizer_spec.precompiled_charsmap


@pytest.mark.parametrize("name", ["nmt_nfkc", "nmt_nfkc_cf"])
def test_characters_and_graphemes(name, marks, odd_texts):
    charsmap = charsmap_of(normalization_rule_name=name)
    spec = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap).decode()}
    rng = random.Random(9)
    texts = list(unicode_pages())
    for _ in range(3000):
        pool = rng.choice([marks, marks[:100], marks[:100]])
        texts.append(
            "".join(
                rng.choice([*rng.choices(pool, k=3), *rng.choices(LETTERS, k=3)]) for _ in range(12)
            )
        )
    texts += odd_texts(1000, seed=90)
    normalize = normalizers.Precompiled(charsmap).normalize_str
    found = read_normalizer(spec)(tf.constant(texts)).numpy()
    assert sum(normalize(text) != text for text in texts) > 1500
    for text, normalized in zip(texts, found, strict=True):
        assert normalized.decode() == normalize(text), ascii(text)


def test_marks_get_lost():
    """The library drops the accent of "ﬁ\u0301"; that is how its tokenizers were trained."""
    charsmap = charsmap_of(normalization_rule_name="nmt_nfkc")
    spec = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap).decode()}
    texts = ["ﬁ\u0301", "ﬁ\u0301\u0301", "e\u0301", "e\u0302\u0301", "\r\n", ""]
    found = [text.decode() for text in read_normalizer(spec)(tf.constant(texts)).numpy()]
    assert found == ["fi", "fi\u0301\u0301", "é", "ê", " ", ""]


def test_entries(tmp_path):
    rules = tmp_path / "rules.tsv"
    rules.write_text("41\t78\n61 301\tE1\nFB01\t66 69\n")
    charsmap = charsmap_of(normalization_rule_tsv=str(rules))
    assert read_charsmap(charsmap) == {"A": "x", "a\u0301": "á", "ﬁ": "fi"}
    assert struct.unpack_from("<I", charsmap)[0] < len(charsmap)


def test_entries_that_are_refused(tmp_path):
    rules = tmp_path / "rules.tsv"
    rules.write_text("61 62\t78 79\n")
    charsmap = base64.b64encode(charsmap_of(normalization_rule_tsv=str(rules))).decode()
    with pytest.raises(UnsupportedTokenizerError, match="charsmap is with an entry 'ab' -> 'xy'"):
        precompiled_rules(charsmap)
