"""The whole recipe as a person runs it, with a model that the other recipe taught the months."""

import calendar
import subprocess
import sys
from pathlib import Path

import pytest

RECIPES = Path(__file__).parents[2] / "recipes"
PROMPTS = ["Mar Apr May", "Sep Oct Nov Dec Jan"]
MONTHS = calendar.month_abbr[1:]


def year(start, count):
    return " ".join(MONTHS[i % 12] for i in range(start, start + count))


def run_recipe(folder, name, *options):
    run = subprocess.run(
        [sys.executable, RECIPES / f"{name}.py", *options],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def sections(output):
    """Return {heading: text} of what the recipe printed."""
    parts = output.split("== ")[1:]
    headings, texts = zip(*(part.split("\n", 1) for part in parts))
    return dict(zip((heading.split(":")[0] for heading in headings), texts))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of the model that the recipe found, and the sections that it printed."""
    folder = tmp_path_factory.mktemp("recipe")
    (folder / "texts").mkdir()
    lines = "".join(year(i % 12, 20 + i % 17) + "\n" for i in range(120))
    (folder / "texts/train.txt").write_text(lines)
    (folder / "texts/validation.txt").write_text(year(5, 40))
    options = ["--epochs=4", "--block-size=32", "--batch-size=8", "--dataset=texts"]
    run_recipe(folder, "language_modeling", "--objective=causal", *options)
    output = run_recipe(folder, "text_generation", "--max-new-tokens=8", "--prompt", *PROMPTS)
    return folder / "runs/causal-language-model", sections(output)


def test_the_texts_continue_the_prompts(finished):
    _, texts = finished
    assert list(texts) == ["greedy", "sampled", "4 beams", "streamed"]
    assert texts["greedy"] == f"{year(2, 11)}\n\n{year(8, 13)}\n\n"
    assert texts["streamed"].strip() == year(2, 11)
    for text in (texts["sampled"], texts["4 beams"]):
        assert [line for line in text.splitlines() if line.startswith(tuple(PROMPTS))] == (
            text.split("\n\n")[:2]
        )


@pytest.mark.oracle
def test_pytorch_generates_the_same(finished):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    checkpoint, texts = finished
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint, padding_side="left")
    tokens = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    for way, settings in {
        "greedy": {},
        "4 beams": {"num_beams": 4, "no_repeat_ngram_size": 3},
    }.items():
        with torch.no_grad():
            answers = model.generate(**tokens, **settings, do_sample=False, max_new_tokens=8)
        expected = tokenizer.batch_decode(answers, skip_special_tokens=True)
        assert texts[way].split("\n\n")[:2] == expected


@pytest.mark.slow
def test_without_a_model_it_trains_one_first(tmp_path):
    output = run_recipe(tmp_path, "text_generation", "--max-new-tokens=20")
    assert (tmp_path / "runs/causal-language-model/model.safetensors").is_file()
    assert output.index("perplexity after") < output.index("== greedy")
    assert all('The "while" statement' in text for text in sections(output).values())
