"""Text from ids, where the `tokenizers` library has something particular about it."""

import random

import pytest
import tensorflow as tf
from tokenizers import AddedToken, Tokenizer, decoders, models
from transformers import BertTokenizer

from tfhf.tokenization.graph import GraphTokenizer, UnsupportedTokenizerError
from tfhf.tokenization.graph.byte_level import BYTE_CHARACTERS
from tfhf.tokenization.graph.decoding import Decoder

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
LLAMA = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
STRIPPING = [*LLAMA, decoders.Strip(" ", 1, 0)]


def tokenizer_of(tokens, decoder):
    tokenizer = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, "?"))
    if decoder is not None:
        tokenizer.decoder = decoder
    return tokenizer


@pytest.mark.parametrize(
    ("tokens", "decoder"),
    [
        ([*BYTES, "▁a", "▁", "é", "\ufffd", "<0xab>", "<0xZZ>"], decoders.Sequence(LLAMA)),
        ([*BYTES, "▁a", "▁", "é", " "], decoders.Sequence(STRIPPING)),
        ([*BYTE_CHARACTERS, "Ġa", "<é >", "ÃŃ"], decoders.ByteLevel()),
        (["▁a", "▁▁", "b▁c", "▁", "<s>"], decoders.Metaspace()),
        (["▁a", "▁▁", "b▁c", "▁", "<s>"], decoders.Metaspace(prepend_scheme="never")),
        (["a", "##b", "##", "#", ".", "n't", "##.", " ", "do not"], decoders.WordPiece()),
        (["a", "##b", ".", "'s", "?"], decoders.WordPiece(cleanup=False)),
        (["a", "##b", "Ġc", " "], None),
    ],
    ids=str,
)
def test_random_ids(tokens, decoder):
    rng = random.Random(10)
    tokenizer = tokenizer_of(tokens, decoder)
    few = [*rng.sample(range(len(tokens)), min(len(tokens), 12)), len(tokens) - 1, len(tokens) - 2]
    rows = [
        rng.choices(rng.choice([few, range(len(tokens))]), k=rng.randrange(9)) for _ in range(2000)
    ]
    found = Decoder(tokenizer)(tf.ragged.constant(rows, tf.int32)).numpy()
    for row, text in zip(rows, found, strict=True):
        assert text.decode() == tokenizer.decode(row), [tokens[index] for index in row]


def test_special_tokens_and_ids_of_no_token():
    tokenizer = tokenizer_of(["a", "b"], decoders.Metaspace())
    tokenizer.add_special_tokens(["<s>"])
    tokenizer.add_tokens([AddedToken("<t>")])
    ids = tf.constant([[2, 0, 3, 99, 1, -1, 2]], tf.int64)
    assert Decoder(tokenizer)(ids).numpy().tolist() == [b"a<t>b"]
    assert Decoder(tokenizer)(ids, skip_special_tokens=False).numpy() == [b"<s>a<t>b<s>"]


def test_spaces_that_are_cleaned_up():
    words = ["Do", "n't", "we", "'ve", "'m", "'s", "'re", "'", "x", ".", "?", "!", ","]
    vocab = {token: i for i, token in enumerate(["[PAD]", "[UNK]", *words])}
    rng = random.Random(11)
    rows = [rng.choices(range(2, len(vocab)), k=12) for _ in range(300)]
    for clean_up in (False, True):
        tokenizer = BertTokenizer(vocab, clean_up_tokenization_spaces=clean_up)
        tokenizer.backend_tokenizer.decoder = decoders.WordPiece(cleanup=False)
        graph_tokenizer = GraphTokenizer.from_tokenizer(tokenizer)
        found = [text.decode() for text in graph_tokenizer.decode(rows).numpy()]
        assert found == tokenizer.batch_decode(rows)


@pytest.mark.parametrize(
    "decoder",
    [
        decoders.CTC(),
        decoders.BPEDecoder(),
        decoders.Sequence([decoders.Fuse()]),
        decoders.Sequence([*LLAMA, decoders.Strip(" ", 1, 1)]),
        decoders.Sequence([*LLAMA, decoders.Strip("_", 1, 0)]),
    ],
    ids=str,
)
def test_others_are_refused_when_they_are_used(decoder):
    tokenizer = BertTokenizer({"[PAD]": 0, "[UNK]": 1, "a": 2})
    tokenizer.backend_tokenizer.decoder = decoder
    graph_tokenizer = GraphTokenizer.from_tokenizer(tokenizer)
    with pytest.raises(UnsupportedTokenizerError, match="its decoder is .*, expected WordPiece"):
        graph_tokenizer.decode([[2]])


@pytest.mark.parametrize("ids", [2, [2], [[2.0]], [["a"]], [[[2]]]], ids=str)
def test_what_is_no_matrix_of_ids(ids):
    graph_tokenizer = GraphTokenizer.from_tokenizer(BertTokenizer({"[PAD]": 0, "[UNK]": 1}))
    with pytest.raises(ValueError, match=r"ids: expected integers \[n, tokens\], got shape"):
        graph_tokenizer.decode(ids)
