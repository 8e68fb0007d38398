"""Stop strings against PyTorch's class, and against plain text search."""

import random

import numpy as np
import pytest
import tensorflow as tf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import BertTokenizer, PreTrainedTokenizerFast

from tfhf.generation.stopping import StopStringCriteria, token_texts

ALPHABET = "abcé\n 中😀"


def pieces(rng, count=60, alphabet=ALPHABET):
    """Short texts, single characters among them."""
    longer = {"".join(rng.choices(alphabet, k=rng.randint(2, 5))) for _ in range(count)}
    return [*alphabet, *sorted(longer)]


def plain(rng):
    """Tokens are written one after the other."""
    backend = Tokenizer(
        models.WordLevel({t: i for i, t in enumerate(["?", "abcdef", *pieces(rng)])}, "?")
    )
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=backend)


def byte_level(rng):
    """GPT-2's: tokens are bytes, also parts of characters."""
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    texts = [splitter.pre_tokenize_str(text)[0][0] for text in pieces(rng)]
    tokens = [*pre_tokenizers.ByteLevel.alphabet(), *(text for text in texts if len(text) > 1)]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(sorted(tokens)))}
    backend = Tokenizer(models.BPE(vocabulary, []))
    backend.pre_tokenizer, backend.decoder = splitter, decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>")
    tokenizer.add_tokens(["中<end"])
    return tokenizer


def byte_fallback(rng):
    """Llama's: a space is ▁, an unknown character is its bytes."""
    tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    tokens += [text.replace(" ", "▁") for text in pieces(rng)] + ["<0xZZ>", "<unk>"]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    backend = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")


def wordpiece(rng):
    """BERT's: tokens are words, or go on with one."""
    words = pieces(rng, alphabet="abc")
    tokens = ["[UNK]", "abcdef", *words, *(f"##{word}" for word in words)]
    return BertTokenizer(vocab={token: i for i, token in enumerate(tokens)})


TOKENIZERS = [plain, byte_level, byte_fallback, wordpiece]


def stops(rng, alphabet):
    texts = ["".join(rng.choices(alphabet, k=rng.randint(1, 6))) for _ in range(rng.randint(1, 3))]
    return texts[0] if len(texts) == 1 and rng.random() < 0.5 else texts


@pytest.mark.oracle
@pytest.mark.parametrize("make", TOKENIZERS)
def test_equals_pytorch(make):
    import torch
    from transformers.generation import StopStringCriteria as Oracle

    rng = random.Random(make.__name__)
    tokenizer = make(rng)
    # Short tokens twice as often: stop strings are made of them. Some ids have no token.
    short = [i for token, i in tokenizer.get_vocab().items() if len(token) < 4]
    ids = [*range(len(tokenizer) + 3), *short, *short]
    alphabet = "abc " if make is wordpiece else ALPHABET
    outcomes = []
    for _ in range(40):
        strings = stops(rng, alphabet)
        got, expected = StopStringCriteria(tokenizer, strings), Oracle(tokenizer, strings)
        for length in (1, 2, 9):
            rows = [rng.choices(ids, k=length) for _ in range(30)]
            buffer = np.pad(rows, ((0, 0), (0, 2)), constant_values=short[0]).astype(np.int32)
            stopped = got(tf.constant(buffer), tf.constant(length)).numpy()
            np.testing.assert_array_equal(stopped, expected(torch.tensor(rows), None).numpy())
            outcomes += stopped.tolist()
    assert 20 < sum(outcomes) < len(outcomes) / 2


@pytest.mark.parametrize("xla", [False, True])
def test_is_a_text_search(xla):
    """A stop string is there that was not there before the last token's first character."""
    rng = random.Random(1)
    tokenizer = plain(rng)
    texts = token_texts(tokenizer)
    strings = ["ab", "a", "b c", "\ncab"]
    criterion = StopStringCriteria(tokenizer, strings)
    rows = np.array([rng.choices(range(len(tokenizer)), k=8) for _ in range(200)], np.int32)
    stopped = tf.function(criterion, jit_compile=xla)
    for length in (1, 5, 8):
        expected = []
        for row in rows:
            text = "".join(texts[token] for token in row[:length])
            start = len(text) - len(texts[row[length - 1]])
            ends = [
                place + len(string)
                for string in strings
                for place in range(len(text))
                if text.startswith(string, place)
            ]
            expected.append(max(ends, default=0) > start)
        got = stopped(tf.constant(rows), tf.constant(length)).numpy()
        np.testing.assert_array_equal(got, expected)
        assert 0 < sum(expected) < 200
    assert stopped.experimental_get_tracing_count() == 1


def test_texts_of_tokens():
    rng = random.Random(0)
    texts = token_texts(byte_fallback(rng))
    assert texts[10] == b"\n" and texts[0x41] == b"A"
    assert b"<0xZZ>" in texts.values()
    vocabulary = byte_level(rng).get_vocab()
    texts = token_texts(byte_level(random.Random(0)))
    assert texts[vocabulary["Ġ"]] == b" " and texts[vocabulary["Ċ"]] == b"\n"
    tokenizer = wordpiece(rng)
    texts = token_texts(tokenizer)
    vocabulary = tokenizer.get_vocab()
    assert texts[vocabulary["a"]] == " a" and texts[vocabulary["##a"]] == "a"


def test_nothing_generated_yet():
    criterion = StopStringCriteria(plain(random.Random(0)), "a")
    assert criterion(tf.ones((2, 4), tf.int32), 0).numpy().tolist() == [False, False]
    assert criterion(tf.ones((2, 4), tf.int32), 1).numpy().tolist() == [True, True]


@pytest.mark.parametrize("strings", [[], "", ["a", ""], [1], "xyz", ["x", "y"]])
def test_wrong_stop_strings(strings):
    with pytest.raises(ValueError, match="^stop_strings must be"):
        StopStringCriteria(plain(random.Random(0)), strings)
