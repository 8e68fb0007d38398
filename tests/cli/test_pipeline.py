"""``tfhf pipeline``: its results are those of the pipelines, whatever the files' formats."""

import csv
import io
import json

import golden
import pytest

import tfhf

#: A task's settings that the cases of one run share.
RUNS = {
    "feature-extraction": {},
    "fill-mask": {"top_k": 2},
    "question-answering": {"top_k": 2},
    "summarization": {"max_new_tokens": 5},
    "text-classification": {"top_k": 2},
    "text-generation": {"max_new_tokens": 4, "return_full_text": False},
    "token-classification": {"aggregation_strategy": "simple"},
    "translation": {"max_new_tokens": 5},
    "zero-shot-classification": {"candidate_labels": ["sport", "film"], "multi_label": True},
}


def checkpoint(task):
    return next(iter(sorted((golden.FIXTURES / task).glob("*/"))))


def inputs(task):
    """Return a few inputs of a task, as its pipeline takes them."""
    texts = ["A cat sleeps on the warm roof.", "Straße 🐈, café", "Who?"]
    if task == "question-answering":
        return [{"question": "Who sleeps?", "context": text} for text in texts]
    return [f"{text} [MASK]" for text in texts] if task == "fill-mask" else texts


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read_lines(text):
    return [json.loads(line) for line in text.splitlines()]


def read_csv(text):
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize(
    "task",
    [
        # Runs as summarization does.
        pytest.param(task, marks=[pytest.mark.slow] if task == "translation" else [])
        for task in RUNS
    ],
)
def test_results_are_those_of_the_pipeline(task, tfhf_command, tmp_path):
    folder = checkpoint(task)
    rows = inputs(task)
    given = [row if isinstance(row, dict) else {"text": row} for row in rows]
    source = write_lines(tmp_path / "in.jsonl", given)
    options = [f"--set={name}={json.dumps(value)}" for name, value in RUNS[task].items()]
    target = tmp_path / "out.jsonl"
    done = tfhf_command("pipeline", task, "--model", folder, "-i", source, "-o", target, *options)
    assert done.exit_code == 0, done.stderr
    assert done.stdout == ""
    pipe = tfhf.pipeline(task, str(folder), **RUNS[task])
    assert read_lines(target.read_text()) == list(pipe(iter(rows)))


@pytest.fixture
def classify(tfhf_command, tmp_path):
    """Classify what a file with some content holds; its name says its format."""

    def run(content, *options, name="in.jsonl", task="text-classification", **settings):
        source = tmp_path / name
        source.write_text(content, newline="")
        folder = golden.FIXTURES / task / "bert"
        return tfhf_command(
            "pipeline", task, "--model", folder, "--input", source, *options, **settings
        )

    return run


def expected(*texts, task="text-classification", **options):
    pipe = golden.make(task, "bert", **options)
    return list(pipe(iter(texts)))


def test_csv_has_the_rows_with_their_labels(classify, tmp_path):
    content = '\ufefftext,label\r\n"Two\r\nlines, ""quoted""",1\r\n\r\nStraße 🐈,0\r\n'
    target = tmp_path / "out.csv"
    done = classify(content, "--output", target, "--top-k", 2, name="in.csv")
    assert done.exit_code == 0, done.stderr
    texts = ['Two\r\nlines, "quoted"', "Straße 🐈"]
    results = expected(*texts, top_k=2)
    assert read_csv(target.read_bytes().decode()) == [
        {"text": text, "label": gold, "result_label": each["label"], "score": repr(each["score"])}
        for text, gold, result in zip(texts, "10", results)
        for each in result
    ]


@pytest.mark.parametrize("name", ["in.jsonl", "-"])
def test_csv_of_rows_with_different_columns(name, classify, tmp_path, tfhf_command):
    """One of them is what the command itself wrote."""
    written = {"text": "A dog.", "label": 1, "result_label": "neutral", "score": 0.5}
    content = "".join(json.dumps(row) + "\n" for row in ({"text": "A cat.", "id": 7}, written))
    target = tmp_path / "out.csv"
    if name == "-":
        folder = golden.FIXTURES / "text-classification/bert"
        line = ["pipeline", "text-classification", "--model", folder, "--output", target]
        done = tfhf_command(*line, input=content)
    else:
        done = classify(content, "--output", target)
    assert done.exit_code == 0, done.stderr
    first, second = expected("A cat.", "A dog.")
    nothing = dict.fromkeys(written, "")
    assert read_csv(target.read_text()) == [
        {
            **nothing,
            "text": "A cat.",
            "id": "7",
            "result_result_label": first["label"],
            "result_score": repr(first["score"]),
        },
        {
            **{column: str(value) for column, value in written.items()},
            "id": "",
            "result_result_label": second["label"],
            "result_score": repr(second["score"]),
        },
    ]


def test_pairs_and_other_names_for_columns(classify):
    content = '{"premise": "A cat.", "hypothesis": "A dog."}\n{"premise": "A cat."}\n\n'
    done = classify(content, "--column", "text=premise", "--column", "text_pair=hypothesis")
    pair = {"text": "A cat.", "text_pair": "A dog."}
    assert read_lines(done.stdout) == expected(pair, "A cat.")


def test_standard_input_and_output(tfhf_command):
    folder = golden.FIXTURES / "text-classification/bert"
    done = tfhf_command(
        "pipeline", "sentiment-analysis", "--model", folder, input='"A cat."\n{"text": "🐈"}\n'
    )
    assert done.exit_code == 0, done.stderr
    assert read_lines(done.stdout) == expected("A cat.", "🐈")


def test_more_rows_than_are_read_at_a_time(classify):
    texts = [f"{'very ' * (i % 7)}cat {i}" for i in range(70)]
    content = "".join(json.dumps(text) + "\n" for text in texts)
    results = expected(*texts, batch_size=2)
    assert read_lines(classify(content, "--batch-size=2").stdout) == results


@pytest.mark.parametrize("name", ["in.jsonl", "in.csv"])
def test_no_rows(name, classify, tmp_path):
    target = tmp_path / "out.csv"
    assert classify("", "--output", target, name=name).exit_code == 0
    assert target.read_text() == ""


def test_csv_of_entities_and_of_labels_without_training(classify, tmp_path):
    target = tmp_path / "out.csv"
    texts = ["", "Anna lives in Zürich.", " ", "A cat."]
    content = "".join(json.dumps(text) + "\n" for text in texts)
    done = classify(content, "--output", target, task="token-classification")
    assert done.exit_code == 0, done.stderr
    results = expected(*texts, task="token-classification")
    assert results[0] == [] and len(results[1]) > 1
    assert read_csv(target.read_text()) == [
        {"text": text, **{name: str(value) for name, value in entity.items()}}
        for text, result in zip(texts, results)
        for entity in result
    ]

    options = ["--candidate-labels", "sport,film", "--output", target]
    assert classify('"A cat."', *options, task="zero-shot-classification").exit_code == 0
    (best,) = expected("A cat.", task="zero-shot-classification", candidate_labels="sport,film")
    assert read_csv(target.read_text()) == [
        {"text": "A cat.", "label": label, "score": repr(score)}
        for label, score in zip(best["labels"], best["scores"])
    ]


def test_chats(tfhf_command, tmp_path):
    folder = golden.FIXTURES / "text-generation/gpt2"
    chat = [{"role": "user", "content": "Hello"}]
    lines = [json.dumps({"messages": chat}), json.dumps({"text": chat}), '"Hello"']
    options = ["--model", folder, "--set", "max_new_tokens=2", "--set", "do_sample=False"]
    done = tfhf_command("pipeline", "text-generation", *options, input="\n".join(lines))
    assert done.exit_code == 0, done.stderr
    pipe = golden.make("text-generation", "gpt2", max_new_tokens=2, do_sample=False)
    first, second, third = read_lines(done.stdout)
    assert first == second == pipe(chat)
    assert third == pipe("Hello")


def test_vectors_of_tensors(classify):
    done = classify('"A cat."', "--set=return_tensors=true", task="feature-extraction")
    assert read_lines(done.stdout) == expected("A cat.", task="feature-extraction")


BROKEN = {
    "no JSON": ('{"text": "A"}\n{"text": }', "in.jsonl", "in.jsonl, line 2 is no JSON"),
    "no object": ('{"text": "A"}\n\n[1]', "in.jsonl", "line 3 must be a JSON object or a text"),
    "no column": ('"A"\n{"review": "B"}', "in.jsonl", "row 2 has no column 'text' but review:"),
    "too few cells": ("text,label\nA,0\nB\n", "in.csv", "in.csv, line 3 has not the 2 cells"),
    "too many cells": ("text\nA,0\n", "in.csv", "in.csv, line 2 has not the 1 cells"),
    "open quote": ('text\n"A\n', "in.csv", "is no CSV"),
    "no text": ('{"text": 3}', "in.jsonl", "an input must be a string, but is 3"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_input_leaves_the_output_as_it_was(case, classify, tmp_path):
    content, name, message = BROKEN[case]
    target = tmp_path / "out.jsonl"
    target.write_text("old")
    done = classify(content, "--output", target, name=name)
    assert done.exit_code == 1
    assert done.stderr.startswith("tfhf: ") and message in done.stderr
    assert target.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["out.jsonl", name])


def test_input_that_is_no_utf_8(classify, tmp_path):
    path = tmp_path / "latin.csv"
    path.write_bytes("text\nStraße\n".encode("latin-1"))
    done = classify("", "--input", path)
    assert done.exit_code == 1 and "latin.csv" in done.stderr and "utf-8" in done.stderr


def test_a_text_without_a_mask(classify):
    done = classify('"A cat."', task="fill-mask")
    assert done.exit_code == 1 and done.stderr.startswith("tfhf: No mask_token ([MASK]) found")


@pytest.mark.parametrize(
    "options, message",
    [
        (["--input", "absent.jsonl"], "there is no file absent.jsonl"),
        (["--output", "labels.txt"], "must end in .jsonl or .csv"),
        (["--output", "absent/labels.csv"], "there is no folder absent"),
        (["--set", "top_k"], "must be NAME=VALUE"),
        (["--set", "top_k=1", "--set", "top_k=2"], "twice"),
        (["--column", "question=text"], "the columns of text-classification are text, text_pair"),
        (["--batch-size", "0"], "batch-size"),
    ],
)
def test_wrong_use(options, message, classify):
    done = classify("", *options)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.replace("│", " ").split())


def test_unknown_settings_are_named(classify):
    done = classify('"A cat."', "--set", "topk=1", task="token-classification")
    assert done.exit_code == 1 and "topk" in done.stderr


def test_vectors_are_not_for_csv(classify, tmp_path):
    done = classify("", "--output", tmp_path / "out.csv", task="feature-extraction")
    assert done.exit_code == 2 and "write JSON lines" in done.stderr
