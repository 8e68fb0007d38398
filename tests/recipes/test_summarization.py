"""The whole recipe as a person runs it, on reports of which a small model keeps one part."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer
from transformers import AutoTokenizer

RECIPE = Path(__file__).parents[2] / "recipes/summarization.py"
SIZES = {"train": 480, "validation": 24, "test": 40}
PEOPLE = ["Ada", "Ben", "Cleo", "Dan", "Eve", "Finn"]
DEEDS = ["won", "lost", "slept", "sang", "left", "cooked"]


def write_reports(folder):
    """Write reports as "It rained. Ada sang. Ben left: news.", whose news are the summary."""
    random = np.random.default_rng(0)
    folder.mkdir()
    for split, size in SIZES.items():
        lines = []
        for _ in range(size):
            people, deeds = random.permutation(PEOPLE), random.permutation(DEEDS)
            told = [f"{person} {deed}" for person, deed in zip(people, deeds)][:3]
            report = f"It rained. {told[0]}. {told[1]}: news. {told[2]}."
            lines.append(json.dumps({"report": report, "news": f"{told[1]} in the rain."}))
        (folder / f"{split}.jsonl").write_text("\n".join(lines))


def run_recipe(folder, *options):
    run = subprocess.run(
        [sys.executable, RECIPE, *options], cwd=folder, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def printed_scores(output, name):
    """Return ROUGE-1, ROUGE-2 and ROUGE-L of the model or of the first words."""
    line = re.search(rf"^{name} +ROUGE-1 (.+), ROUGE-2 (.+), ROUGE-L (.+)$", output, re.M)
    return [float(score) for score in line.groups()]


def rouge(summaries, references):
    names = ["rouge1", "rouge2", "rougeL"]
    scorer = RougeScorer(names, use_stemmer=True)
    scores = [scorer.score(*pair) for pair in zip(references, summaries)]
    return [100 * np.mean([score[name].fmeasure for score in scores]) for name in names]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder in which the recipe ran, and what it printed."""
    folder = tmp_path_factory.mktemp("recipe")
    write_reports(folder / "reports")
    data = ["--dataset=reports", "--document-column=report", "--summary-column=news"]
    options = ["--prefix=news: ", "--max-target-length=16", "--epochs=6", "--batch-size=16"]
    return folder, run_recipe(folder, *data, *options)


def reports(folder):
    lines = (folder / "reports/test.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return [row["report"] for row in rows], [row["news"] for row in rows]


def test_it_learns_and_says_so(finished):
    folder, output = finished
    documents, references = reports(folder)
    first_words = [" ".join(document.split()[:5]) for document in documents]
    expected = rouge(first_words, references)
    assert printed_scores(output, "first words") == pytest.approx(expected, abs=0.051)
    for score, unlearnt in zip(printed_scores(output, "model"), expected):
        assert score > max(1.3 * unlearnt, 60)


def test_it_is_judged_after_each_epoch(finished):
    for score in ("rouge1", "rouge2", "rougeL"):
        values = [float(value) for value in re.findall(rf" {score}: ([\d.]+)", finished[1])]
        assert len(values) == 6
        assert values[0] < values[-1] <= 100
        assert values[-1] > 60


@pytest.mark.oracle
def test_pytorch_summarizes_the_same(finished):
    import torch
    from transformers import AutoModelForSeq2SeqLM

    folder, output = finished
    tokenizer = AutoTokenizer.from_pretrained(folder / "runs/summarization")
    model = AutoModelForSeq2SeqLM.from_pretrained(folder / "runs/summarization")
    documents, references = reports(folder)
    texts = [f"news: {document}" for document in documents]
    tokens = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        answers = model.generate(**tokens, num_beams=4, max_new_tokens=16, no_repeat_ngram_size=3)
    answers = tokenizer.batch_decode(answers, skip_special_tokens=True)
    assert f"summary      {answers[0]}\n" in output
    assert printed_scores(output, "model") == pytest.approx(rouge(answers, references), abs=0.051)


def test_the_reports_made_for_it():
    data = runpy.run_path(str(RECIPE))["made_reports"](seed=0)
    seen = set(data["train"]["document"])
    for document, summary in zip(data["test"]["document"], data["test"]["summary"]):
        facts = re.fullmatch(r"(\w+) won the race in (\w+) on (\w+), before (\w+)\.", summary)
        assert all(fact in document for fact in facts.groups())
        assert document.count(".") == 8
        assert document not in seen


@pytest.mark.slow
def test_its_figures_are_those_it_promises(tmp_path):
    output = run_recipe(tmp_path)
    for name in ("model", "first words"):
        promised = re.search(rf"^ +{name} +([\d.]+) +([\d.]+) +([\d.]+)$", RECIPE.read_text(), re.M)
        expected = [float(score) for score in promised.groups()]
        assert printed_scores(output, name) == pytest.approx(expected, abs=2)
