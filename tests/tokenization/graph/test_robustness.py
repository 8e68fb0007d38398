"""What a server must live through: huge, broken and hostile texts beside good ones."""

import random
import threading

import pytest
import tensorflow as tf
from tokenizer_families import FAMILIES as ALL

from tfhf.tokenization.graph import GraphTokenizer

SOME = ["BERT", "Qwen2", "T5", "Llama-2"]
FAMILIES = [pytest.param(name, marks=[] if name in SOME else pytest.mark.slow) for name in ALL]
GOOD = ["A good text, isn't it?", "Où l'été naît"]
BAD = [
    b"\xff\xfe\xfd",
    b"\xc3",
    b"\xed\xa0\x80 surrogate",
    b"a\0b\0",
    b"\0",
    b"",
    "\u0301".encode() * 300,
    b"e" + "\u0323\u0302".encode() * 200,
    "가".encode() * 2 + "\u1161\u11a8".encode() * 100,
    "👨\u200d".encode() * 200,
    b"<0xFF>[MASK]<s>" * 20,
    b" \t" * 500,
]


def ids_of(graph_tokenizer, texts):
    return graph_tokenizer(texts)["input_ids"].to_list()


@pytest.mark.parametrize("family", FAMILIES)
def test_bad_texts_do_not_disturb_their_neighbours(family, tokenizer_of):
    """Each answer is the library's, whatever stands beside it in the batch."""
    tokenizer = tokenizer_of(family)
    graph_tokenizer = GraphTokenizer.from_tokenizer(tokenizer, padding=False, truncation=False)
    decoded = [text.decode(errors="replace") for text in BAD]
    texts = [part for text in BAD for part in (GOOD[0].encode(), text, GOOD[1].encode())]
    found = graph_tokenizer(texts, return_offsets_mapping=True)
    assert found["input_ids"].to_list() == ids_of(graph_tokenizer, texts)
    good = tokenizer(GOOD, return_offsets_mapping=True)
    bad = tokenizer(decoded, return_offsets_mapping=True)
    for name, part in (("input_ids", list), ("offset_mapping", lambda row: [*map(tuple, row)])):
        rows = [part(row) for row in found[name].to_list()]
        assert rows[0::3] == [good[name][0]] * len(BAD)
        assert rows[1::3] == bad[name]
        assert rows[2::3] == [good[name][1]] * len(BAD)


@pytest.mark.slow
def test_texts_of_a_megabyte(tokenizer, odd_texts):
    odd = odd_texts(5000, seed=70)
    huge = [" ".join(odd)[:1_000_000], "word " * 200_000, "\n" * 1_000_000]
    huge += ["x y" * 300_000 + "\0", "e\u0301 " * 250_000]
    graph_tokenizer = GraphTokenizer.from_tokenizer(tokenizer, padding=False)
    for text in huge:
        found = graph_tokenizer([GOOD[0], text, GOOD[1]], return_offsets_mapping=True)
        expected = tokenizer([GOOD[0], text, GOOD[1]], return_offsets_mapping=True)
        for row, theirs in zip(found["input_ids"].to_list(), expected["input_ids"], strict=True):
            assert row == theirs
        for row, theirs in zip(found["offset_mapping"].to_list(), expected["offset_mapping"]):
            assert list(map(tuple, row)) == theirs


@pytest.mark.slow
@pytest.mark.parametrize("family", SOME)
def test_10000_calls_by_16_threads(family, tokenizer_of, odd_texts):
    tokenizer = tokenizer_of(family)
    graph_tokenizer = GraphTokenizer.from_tokenizer(tokenizer, padding=False, truncation=False)
    encode = tf.function(graph_tokenizer, input_signature=[tf.TensorSpec([None], tf.string)])
    texts = [text for text in odd_texts(300, seed=71) if len(text) < 300]
    expected = tokenizer(texts)["input_ids"]
    wrong = []

    def call(seed):
        rng = random.Random(seed)
        for _ in range(10_000 // 16):
            places = rng.sample(range(len(texts)), rng.randrange(4))
            found = encode(tf.constant([texts[place] for place in places], tf.string))
            if found["input_ids"].to_list() != [expected[place] for place in places]:
                wrong.append(places)

    threads = [threading.Thread(target=call, args=[seed]) for seed in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
