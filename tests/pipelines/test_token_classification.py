"""Labels for tokens and entities, against those of Transformers 4.57.6."""

import pytest
from golden import answer, make, parameters, same

TASK = "token-classification"


@pytest.mark.parametrize("case", parameters(TASK))
@pytest.mark.filterwarnings("ignore:the tokenizer does not know words")
@pytest.mark.filterwarnings("ignore:grouped_entities")
def test_golden(case):
    same(answer(TASK, case), case["result"])


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        ([], {}, "At least one input is required"),
        (None, {}, "At least one input is required"),
        (["a", 3], {}, "is_split_into_words=False, an input must be a string, but is 3"),
        ("a b", {"is_split_into_words": True}, "must be a list of words, but is 'a b'"),
        ("a", {"aggregation_strategy": "most"}, "one of none, simple, first, average, max, not"),
        ("a", {"stride": 2}, "stride needs an aggregation_strategy other than 'none'"),
        ("a", {"stride": 24, "aggregation_strategy": "max"}, "less than tokenizer.model_max_leng"),
        (["a", "b"], {"offset_mapping": [[(0, 1)]]}, "the places of as many texts as inputs"),
    ],
)
def test_wrong_use(inputs, options, message):
    with pytest.raises(ValueError, match=message):
        make(TASK, "bert")(inputs, **options)


def test_offset_mapping():
    pipe = make(TASK, "bert", ignore_labels=[])
    (found,) = pipe("Anna", offset_mapping=[(0, 0), (7, 9), (9, 11), (11, 13), (0, 0)])[:1]
    assert (found["start"], found["end"]) == (7, 9)
    assert pipe("Anna")[0]["start"] == 0


def test_entities_are_places_in_the_text():
    pipe = make(TASK, "bert", aggregation_strategy="simple", ignore_labels=[])
    text = "Zoë 🐈 lives in München, near the 東京 Straße."
    found = pipe(text)
    assert found
    for entity in found:
        assert pipe.tokenizer.tokenize(text[entity["start"] : entity["end"]])
        assert all(type(entity[name]) is kind for name, kind in (("score", float), ("start", int)))
