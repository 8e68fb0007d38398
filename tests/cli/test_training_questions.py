"""Questions for training, from rows to tokens and to metrics, and through the command."""

import json

import datasets
import numpy as np
import pytest
from transformers import BertConfig, BertTokenizerFast

import tfhf
from tfhf.cli.training_questions import MultipleChoice, QuestionAnswering

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "who", "sang", "?", ".", "ada", "ben", "fin"]
TOKENIZER = BertTokenizerFast(vocab={word: i for i, word in enumerate([*WORDS, "##n"])})


def make(task_class, max_length=16):
    return task_class("the task", TOKENIZER, BertConfig(), max_length)


def rows(**columns):
    return datasets.Dataset.from_dict(columns)


def asked(context, answer, start, max_length=16):
    """Return the windows of a question, as tokens, and the tokens of the answer in each."""
    data = rows(question=["who sang?"], context=[context], answer=[answer], answer_start=[start])
    found = make(QuestionAnswering, max_length).tokenize(data)
    windows = [TOKENIZER.convert_ids_to_tokens(ids) for ids in found["input_ids"]]
    places = zip(found["start_positions"], found["end_positions"])
    return windows, [window[i : j + 1] for window, (i, j) in zip(windows, places)]


@pytest.mark.parametrize(
    ("answer", "start", "expected"),
    [
        ("Finn", 4, ["fin", "##n"]),
        ("Fin", 4, ["fin"]),
        ("Ben. Finn", 17, ["ben", ".", "fin", "##n"]),
        (["Ben", "Ada"], [17, 0], ["ben"]),
        ([], [], ["[CLS]"]),
    ],
)
def test_answers_are_found_among_tokens(answer, start, expected):
    context = "Ada Finn sang .  Ben. Finn"
    assert asked(context, answer, start) == (
        [TOKENIZER.convert_ids_to_tokens(TOKENIZER("who sang?", context)["input_ids"])],
        [expected],
    )


def test_windows_overlap_and_most_lack_the_answer():
    windows, answers = asked("sang " * 6 + "Ada", "Ada", 30, max_length=8)
    assert all(window[:4] == ["[CLS]", "who", "sang", "?"] for window in windows)
    assert [len(window) for window in windows] == [8] * len(windows)
    assert answers == [*[["[CLS]"]] * (len(windows) - 1), ["ada"]]


def test_a_question_must_leave_room():
    windows, _ = asked("Ada sang", "Ada", 0, max_length=8)  # two tokens at a time
    assert [window[5:] for window in windows] == [["ada", "sang", "[SEP]"]]
    with pytest.raises(ValueError, match="of 3 tokens leaves no room .* there are 7"):
        asked("Ada sang", "Ada", 0, max_length=7)


def test_an_answer_must_stand_where_it_is_said_to():
    with pytest.raises(ValueError, match="the answer 'Ben' does not stand at 1 of 'Ada sang.'"):
        asked("Ada sang.", "Ben", 1)


def test_spans_are_judged_by_their_tokens():
    """The second window's best end lies before its start, so the next best counts."""
    start = np.array([[0, 9, 0, 0], [0, 0, 9, 0], [9, 0, 0, 0]], float)
    end = np.array([[0, 9, 0, 0], [0, 9, 0, 8], [9, 0, 0, 0]], float)
    labels = np.array([1, 3, 0]), np.array([1, 3, 0])
    found = make(QuestionAnswering).metrics((start, end), labels)
    assert found["exact_match"] == pytest.approx(2 / 3)
    assert found["f1"] == pytest.approx((1 + 2 / 3 + 1) / 3)


def test_each_choice_is_a_row():
    task = make(MultipleChoice)
    columns = {"text": ["who sang"], "choice0": ["ada"], "choice1": ["ben"], "choice2": ["fin ."]}
    found = task.tokenize(rows(**columns, label=["2"]))[0]
    assert found["labels"] == 2
    expected = TOKENIZER(["who sang"] * 3, ["ada", "ben", "fin ."])
    assert found["input_ids"] == expected["input_ids"]
    assert found["token_type_ids"] == expected["token_type_ids"]
    begun = task.tokenize(rows(**columns, text_pair=["."]), with_target=False)[0]
    expected = TOKENIZER(["who sang"] * 3, [". ada", ". ben", ". fin ."])
    assert begun["input_ids"] == expected["input_ids"] and "labels" not in begun


@pytest.mark.parametrize("label", [2, -1, "ada", 0.5])
def test_labels_are_numbers_of_choices(label):
    data = rows(text=["who"], choice0=["ada"], choice1=["ben"], label=[label])
    with pytest.raises(ValueError, match="the number of a choice, 0 to 1"):
        make(MultipleChoice).tokenize(data)


def test_every_row_has_all_choices():
    data = rows(text=["who"] * 2, choice0=["ada"] * 2, choice1=["ben"] * 2, choice2=["fin", None])
    with pytest.raises(ValueError, match="each row needs .*choice2"):
        make(MultipleChoice).tokenize(data, with_target=False)
    with pytest.raises(ValueError, match="needs the column 'choice1'"):
        make(MultipleChoice).tokenize(rows(text=["who"], choice0=["ada"]), with_target=False)


def question(i, first, second):
    context = f"{first} sang . {second}"
    return {"question": "who sang?", "context": context, "answer": first, "answer_start": 0}


def choice(i, first, second):
    right = i % 2
    choices = ("?", first) if right else (first, "?")
    return {"text": f"{first} sang", "choice0": choices[0], "choice1": choices[1], "label": right}


SINGERS = ["ada", "ben", "fin"]
TRAINED = {
    "question-answering": (question, "eval_exact_match"),
    "multiple-choice": (choice, "eval_accuracy"),
}


@pytest.mark.slow
@pytest.mark.parametrize("task", TRAINED)
def test_they_are_learnt_from_files(task, tmp_path, tfhf_command):
    config = BertConfig(
        vocab_size=len(TOKENIZER),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
        initializer_range=0.3,
    )
    tfhf.TFBertModel(config).save_pretrained(tmp_path / "bert")
    TOKENIZER.save_pretrained(tmp_path / "bert")
    make_row, metric = TRAINED[task]
    path = tmp_path / "rows.jsonl"
    pairs = [(a, b) for a in SINGERS for b in SINGERS if a != b] * 8
    data = [make_row(i, *pair) for i, pair in enumerate(pairs)]
    path.write_text("".join(json.dumps(row) + "\n" for row in data))
    done = tfhf_command(
        "train", "--task", task, "--model", tmp_path / "bert", "--train-file", path,
        "--output-dir", tmp_path / "run", "--num-train-epochs=8", "--learning-rate=0.02",
        "--report-to=none", "--disable-tqdm",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    line = ["--task", task, "--model", tmp_path / "run", "--file", path]
    done = tfhf_command("eval", *line)
    assert json.loads(done.stdout)[metric] > 0.95, done.stderr
    done = tfhf_command("predict", *line)
    if task == "question-answering":
        assert done.exit_code == 2 and "use `tfhf pipeline question-answering`" in done.stderr
        return
    found = [json.loads(line) for line in done.stdout.splitlines()]
    right = [each["choice"] == row["label"] for each, row in zip(found, data)]
    assert np.mean(right) > 0.95
