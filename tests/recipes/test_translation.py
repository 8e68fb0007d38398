"""The whole recipe as a person runs it, on numbers, which a small model learns in seconds."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sacrebleu
from transformers import AutoTokenizer

RECIPE = Path(__file__).parents[2] / "recipes/translation.py"
ENGLISH = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
GERMAN = ["eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"]
SIZES = {"train": 800, "validation": 30, "test": 50}


def write_numbers(folder):
    """Write pairs as {"en": "one two …", "de": "eins zwei …"}, of 2 to 6 numbers."""
    random = np.random.default_rng(0)
    folder.mkdir()
    for split, size in SIZES.items():
        lines = []
        for _ in range(size):
            numbers = random.integers(9, size=random.integers(2, 7))
            pair = {"en": ENGLISH, "de": GERMAN}
            pair = {lang: " ".join(words[n] for n in numbers) for lang, words in pair.items()}
            lines.append(json.dumps({"translation": pair}))
        (folder / f"{split}.jsonl").write_text("\n".join(lines))


def run_recipe(folder, *options):
    run = subprocess.run(
        [sys.executable, RECIPE, *options], cwd=folder, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def printed(output):
    """Return {name: text} of the last lines that the recipe printed."""
    return dict(re.findall(r"^(\w+(?: match)?) {2,}(.+)$", output, re.M))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder in which the recipe ran, and what it printed."""
    folder = tmp_path_factory.mktemp("recipe")
    write_numbers(folder / "numbers")
    options = ["--target-lang=de", "--max-length=8", "--epochs=4", "--batch-size=16"]
    return folder, run_recipe(folder, "--dataset=numbers", *options)


def test_it_learns_and_says_so(finished):
    _, output = finished
    found = printed(output)
    assert float(found["exact match"]) >= 0.9
    assert found["BLEU"].endswith(" on 50 sentences of test")
    assert found["translation"] == found["reference"]
    numbers = dict(zip(ENGLISH, GERMAN))
    assert [numbers[word] for word in found["source"].split()] == found["reference"].split()


def test_it_is_judged_after_each_epoch(finished):
    for score, best in {"bleu": 100, "exact_match": 1}.items():
        values = [float(value) for value in re.findall(rf" {score}: ([\d.]+)", finished[1])]
        assert len(values) == 4
        assert values[0] < values[-1] <= best
        assert values[-1] > 0.8 * best


@pytest.mark.oracle
def test_pytorch_translates_the_same(finished):
    import torch
    from transformers import AutoModelForSeq2SeqLM

    folder, output = finished
    tokenizer = AutoTokenizer.from_pretrained(folder / "runs/translation")
    model = AutoModelForSeq2SeqLM.from_pretrained(folder / "runs/translation")
    lines = (folder / "numbers/test.jsonl").read_text().splitlines()
    pairs = [json.loads(line)["translation"] for line in lines]
    tokens = tokenizer([pair["en"] for pair in pairs], padding=True, return_tensors="pt")
    with torch.no_grad():
        answers = model.generate(**tokens, num_beams=4, max_new_tokens=8)
    answers = tokenizer.batch_decode(answers, skip_special_tokens=True)
    references = [pair["de"] for pair in pairs]
    found = printed(output)
    assert found["translation"] == answers[0]
    assert float(found["exact match"]) == np.mean(np.equal(answers, references))
    bleu = sacrebleu.corpus_bleu(answers, [references]).score
    assert float(found["BLEU"].split()[0]) == pytest.approx(bleu, abs=0.051)


def test_the_language_made_for_it():
    data = runpy.run_path(str(RECIPE))["made_language"](seed=0)
    words = [word for pair in data["train"]["translation"] for word in pair["en"].split()]
    names = [word for word in words if word.istitle()]
    assert 0.19 < len(names) / len(words) < 0.21
    seen = {pair["en"] for pair in data["train"]["translation"]}
    for pair in data["test"]["translation"]:
        assert 3 <= len(pair["en"].split()) <= 10
        characters = re.sub("[A-Z][a-z]+", lambda name: name[0][::-1], pair["en"])
        assert pair["backwards"] == characters[::-1]
    # Short sentences may be there by chance.
    assert np.mean([pair["en"] in seen for pair in data["test"]["translation"]]) < 0.05


@pytest.mark.slow
def test_the_made_language_is_learnt(tmp_path):
    promised = re.search(r"BLEU (\d+\.\d), exact match (\d\.\d+)", RECIPE.read_text()).groups()
    found = printed(run_recipe(tmp_path))
    assert float(found["exact match"]) >= 0.99
    assert float(found["exact match"]) == pytest.approx(float(promised[1]), abs=0.01)
    assert float(found["BLEU"].split()[0]) == pytest.approx(float(promised[0]), abs=1)
