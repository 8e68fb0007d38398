"""Summaries, against what Transformers 4.57.6 answers."""

import pytest
from golden import FIXTURES, answer, load, make, parameters, same

import tfhf

TASK = "summarization"


def repeats(case):
    """Whether BART shows what T5 shows, too: each set of options is compiled anew."""
    return case["checkpoint"] == "bart" and bool(case["call"] or case["options"])


@pytest.mark.parametrize("case", parameters(TASK, slow=repeats))
def test_golden(case):
    same(answer(TASK, case), case["result"])


def test_settings_of_the_task():
    load(TASK, "t5")
    pipe = tfhf.pipeline(TASK, str(FIXTURES / TASK / "t5"))
    assert pipe.prefix == "summarize: "
    assert (pipe.generation_config.max_length, pipe.generation_config.num_beams) == (15, 2)
    generic = tfhf.pipeline(model=str(FIXTURES / TASK / "t5"))
    assert generic.task == "text2text-generation"
    assert generic.prefix is None
    (ours,) = generic("summarize: A cat.", max_length=15, min_length=4, num_beams=2)
    assert ours["generated_text"] == pipe("A cat.")[0]["summary_text"]


def test_warnings(caplog):
    pipe = make(TASK, "bart")
    pipe("cat", min_length=9, max_length=8)
    assert "min_length is 9, but max_length only 8" in caplog.text
    assert "its summary may have max_length=8: for a shorter one" in caplog.text


def test_wrong_use():
    with pytest.raises(TypeError, match="an input must be a string, but is 3"):
        make(TASK, "bart")(["a", 3])
    with pytest.raises(ValueError, match="max_lenght"):
        make(TASK, "bart")("a", max_lenght=3)
