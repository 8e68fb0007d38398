"""Continued texts and chats, against what Transformers 4.57.6 answers."""

import types

import pytest
from golden import FIXTURES, answer, load, make, parameters, same

import tfhf

TASK = "text-generation"


@pytest.mark.parametrize("case", parameters(TASK))
def test_golden(case):
    same(answer(TASK, case), case["result"])


CHAT = [{"role": "user", "content": "Who?"}]


def test_streams_of_texts_and_chats():
    pipe = make(TASK, "gpt2", max_new_tokens=3)
    alone = [pipe("Hello"), pipe(CHAT), pipe("What a")]
    same(list(pipe(each for each in ("Hello", CHAT, "What a"))), alone)


def test_batches_of_one_length_are_not_padded():
    pipe = make(TASK, "gpt2", max_new_tokens=4)
    texts = [text * n for n in (1, 2, 3) for text in ("a", "the", "film", "🐈")]
    alone = [pipe(text, return_tensors=True) for text in texts]
    same(pipe(texts, return_tensors=True, batch_size=8), alone)


def test_sequences_that_end_early_are_as_long_as_alone():
    pipe = make(TASK, "gpt2", max_new_tokens=12, return_tensors=True)
    texts = ["a", "b", "c", "d", "e", "f"]
    ends = [pipe(text)[0]["generated_token_ids"][3] for text in texts]
    options = {"eos_token_id": ends[0], "pad_token_id": ends[0], "num_beams": 2}
    for each in (options, options | {"pad_token_id": 0}):
        alone = [pipe(text, **each) for text in texts]
        assert len({len(one[0]["generated_token_ids"]) for one in alone}) > 1
        same(pipe(texts, batch_size=6, **each), alone)


def test_options_of_generate():
    pipe = make(TASK, "gpt2", max_new_tokens=4)
    found = pipe("Hello", do_sample=True, num_return_sequences=3)
    assert len(found) == 3
    assert all(one["generated_text"].startswith("Hello") for one in found)
    greedy = pipe("Hello", return_full_text=False, max_new_tokens=8)[0]["generated_text"]
    stopped = pipe("Hello", stop_strings=[greedy[2]], max_new_tokens=8)[0]["generated_text"]
    assert stopped.startswith("Hello" + greedy[:3])
    assert len(stopped) < len("Hello" + greedy)
    words = []
    streamer = types.SimpleNamespace(put=words.append, end=lambda: words.append(None))
    pipe("Hello", streamer=streamer)
    assert words[-1] is None
    assert len(words) > 3


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        ("a", {"return_full_text": True, "return_text": True}, "`return_full_text` is mutually"),
        (
            "a",
            {"return_full_text": True, "return_tensors": True},
            "exclusive with `return_tensors`",
        ),
        ("a", {"return_text": True, "return_tensors": True}, "`return_text` is mutually exclusive"),
        ("a", {"handle_long_generation": "cut"}, "must be None or 'hole', not 'cut'"),
        ("a", {"handle_long_generation": "hole", "max_new_tokens": 99}, "99 new tokens are wanted"),
        ("a", {"max_new_token": 3}, "not used by the model: .'max_new_token'"),
        ([{"role": "user"}], {}, "each message of a chat must have a 'role' and a 'content'"),
        (3, {}, "an input must be a text or a chat, but is 3"),
        (["a", None], {}, "an input must be a text or a chat, but is None"),
    ],
)
def test_wrong_use(inputs, options, message):
    with pytest.raises(ValueError, match=message):
        make(TASK, "gpt2")(inputs, **options)


def test_chat_without_a_template():
    with pytest.raises(ValueError, match="chat_template is not set"):
        make(TASK, "prefixed")(CHAT)


def test_prefix_of_the_configuration_is_kept():
    load(TASK, "prefixed")
    again = tfhf.pipeline(TASK, str(FIXTURES / TASK / "prefixed"))
    assert again.prefix == make(TASK, "prefixed").prefix == "Once upon a time, "
