"""Rows and labels for training, where the command's own tests do not go."""

import datasets
import pytest
from transformers import BertConfig, BertTokenizer

from tfhf.cli.training_data import label_names, load_rows, with_names
from tfhf.cli.training_tasks import LanguageModeling, TextClassification, TokenClassification

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film", "##s"]


def make(task_class, name, **config):
    tokenizer = BertTokenizer(vocab={word: i for i, word in enumerate(WORDS)})
    return task_class(name, tokenizer, BertConfig(**config), 8)


def rows(features=None, **columns):
    return datasets.Dataset.from_dict(columns, features and datasets.Features(features))


def named(*names):
    return datasets.ClassLabel(names=list(names))


def test_names_of_labels():
    text = datasets.Value("string")
    assert label_names(rows(label=["b", "a", "b"]), "label") == ["a", "b"]
    assert label_names(rows(label=[0, 3]), "label") == [f"LABEL_{i}" for i in range(4)]
    assert label_names(rows(label=[0.5, 1.0]), "label") is None
    assert label_names(rows({"label": named("x", "a")}, label=[1]), "label") == ["x", "a"]
    tags = {"tags": datasets.List(named("O", "B"))}
    assert label_names(rows(tags, tags=[[1], []]), "tags") == ["O", "B"]
    assert label_names(rows({"tags": datasets.List(text)}, tags=[["O"], ["B"]]), "tags") == [
        "B",
        "O",
    ]


def test_names_replace_numbers():
    tags = {"tags": datasets.List(named("O", "B")), "text": datasets.Value("string")}
    found = with_names(rows(tags, tags=[[1, 0], []], text=["a", "b"]), "tags")
    assert found["tags"][:] == [["B", "O"], []] and found["text"][:] == ["a", "b"]
    plain = rows(label=[1])
    assert with_names(plain, "label") is plain


def test_labels_of_a_dataset_go_by_name():
    """The checkpoint counts them in another order than the dataset."""
    task = make(TextClassification, "text-classification", id2label={0: "pos", 1: "neg"},
                label2id={"pos": 0, "neg": 1})  # fmt: skip
    data = rows({"text": datasets.Value("string"), "label": named("neg", "pos")},
                text=["good", "bad"], label=[1, 0])  # fmt: skip
    assert task.tokenize(data)["labels"][:] == [0, 1]


def test_decimals_are_a_regression():
    task = make(TextClassification, "text-classification")
    data = rows(text=["good", "bad"], label=[0.5, -1.0])
    task.learn_labels(data)
    assert (task.config.num_labels, task.config.problem_type) == (1, "regression")
    assert task.tokenize(data)["labels"][:] == [0.5, -1.0]


@pytest.mark.parametrize("label", [2, -1, 0.5])
def test_numbers_that_no_label_has(label):
    task = make(TextClassification, "text-classification")
    task.set_labels(["neg", "pos"])
    with pytest.raises(ValueError, match=f"the label {label} is none of the model's: neg, pos"):
        task.tokenize(rows(text=["good"], label=[label]))


def test_pairs_and_cut_texts():
    task = make(TextClassification, "text-classification")
    found = task.tokenize(rows(text=["good " * 20], text_pair=["bad"]), with_target=False)[0]
    assert found["input_ids"] == [2, 5, 5, 5, 5, 3, 6, 3] and sum(found["token_type_ids"]) == 2


def test_tags_stand_at_first_tokens():
    task = make(TokenClassification, "token-classification")
    data = rows(tokens=[["good", "films"], []], tags=[["O", "X"], []])
    task.learn_labels(data)
    assert task.tokenize(data)["labels"][:] == [[-100, 0, 1, -100, -100], [-100, -100]]
    assert task.tokenize(data, with_target=False)["words"][:] == [[-1, 0, 1, -1, -1], [-1, -1]]


@pytest.mark.parametrize("tokens", [["good films"], [["good", "film"]]])
def test_words_must_have_a_tag_each(tokens):
    task = make(TokenClassification, "token-classification")
    with pytest.raises(ValueError, match="tokens must be a list of words, with a tag each"):
        task.tokenize(rows(tokens=tokens, tags=[[0]]))


def test_texts_are_joined_and_cut():
    task = make(LanguageModeling, "fill-mask")
    pieces = task.tokenize(rows(text=["good film", "bad " * 11]))
    assert [len(ids) for ids in pieces["input_ids"]] == [8, 8]
    assert pieces["input_ids"][0] == [2, 5, 7, 3, 2, 6, 6, 6]
    with pytest.raises(ValueError, match="fewer than --max-length 8"):
        task.tokenize(rows(text=["good"]))


def test_structures_have_parts(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"translation": {"en": "a", "de": "b"}, "target": "old"}\n')
    found = load_rows(path, {"text": "translation.en", "target": "translation.de"})
    assert found[0] == {"text": "a", "target": "b"}


@pytest.mark.parametrize("name, content", [("x.txt", "a"), ("x.jsonl", "{"), ("x.csv", "")])
def test_files_that_cannot_be_read(name, content, tmp_path):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ValueError, match=name):
        load_rows(path, {})


def test_words_that_pandas_takes_for_nothing(tmp_path):
    path = tmp_path / "films.csv"
    path.write_text("text,label\nNA,None\nnull,nan\n,1\n")
    found = load_rows(path, {})
    assert found["text"][:] == ["NA", "null", None]
    assert found["label"][:] == ["None", "nan", "1"]
