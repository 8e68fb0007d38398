"""Streamers print what Transformers' do, from tensors of every kind."""

import queue
import threading

import numpy as np
import pytest
import tensorflow as tf
import transformers
from tokenizers import Tokenizer, decoders, models

from tfhf.generation.streamers import TextIteratorStreamer, TextStreamer

TOKENS = ["?", " one", " tw", "o", ",", "\n", "中", "文", " th", "ree", "<end>"]


@pytest.fixture(scope="module")
def tokenizer():
    backend = Tokenizer(models.WordLevel({token: i for i, token in enumerate(TOKENS)}, "?"))
    backend.decoder = decoders.Fuse()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>")


def recorded(streamer, chunks):
    """What a streamer gives after each chunk."""
    texts = []
    streamer.on_finalized_text = lambda text, stream_end=False: texts.append((text, stream_end))
    for chunk in chunks:
        streamer.put(chunk)
    streamer.end()
    return texts


@pytest.mark.parametrize("options", [{}, {"skip_prompt": True}, {"skip_special_tokens": True}])
def test_equals_transformers(tokenizer, options):
    rng = np.random.default_rng(0)
    for _ in range(30):
        tokens = rng.integers(0, len(TOKENS), 12)
        chunks = [tokens[None, :3], *(tokens[i : i + 1] for i in range(3, 12))]
        expected = recorded(transformers.TextStreamer(tokenizer, **options), chunks)
        for kind in (np.asarray, tf.constant, np.ndarray.tolist):
            given = [kind(chunk) for chunk in chunks]
            assert recorded(TextStreamer(tokenizer, **options), given) == expected


def test_whole_words_are_printed_at_once(tokenizer, capsys):
    streamer = TextStreamer(tokenizer)
    shown = []
    for token in (1, 2, 3, 5, 6, 7, 8, 9):
        streamer.put(tf.constant([token]))
        shown.append(capsys.readouterr().out)
    assert shown == [" ", "one ", "", "two\n", "中", "文", " ", ""]
    streamer.end()
    assert capsys.readouterr().out == "three\n"


def test_iterates_beside_the_thread_that_generates(tokenizer):
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, timeout=30)

    def generate():
        streamer.put(tf.constant([[4, 4]]))
        for token in (1, 2, 3, 10):
            streamer.put(tf.constant([token]))
        streamer.end()

    thread = threading.Thread(target=generate)
    thread.start()
    assert "".join(streamer) == " one two<end>"
    thread.join()


def test_iterator_gives_up(tokenizer):
    with pytest.raises(queue.Empty):
        next(TextIteratorStreamer(tokenizer, timeout=0.01))


@pytest.mark.parametrize("make", [TextStreamer, TextIteratorStreamer])
def test_more_rows(tokenizer, make):
    with pytest.raises(ValueError, match=r"value has the shape \(2, 1\)"):
        make(tokenizer).put(tf.constant([[1], [2]]))
