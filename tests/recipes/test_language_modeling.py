"""The whole recipe as a person runs it, on texts that a small model learns in seconds.

Each text counts round in a circle of words, so that a token's neighbours tell it, and how often it
occurs tells nothing.
"""

import calendar
import math
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from transformers import AutoTokenizer

RECIPE = Path(__file__).parents[2] / "recipes/language_modeling.py"
BLOCK = 32
OPTIONS = [f"--block-size={BLOCK}", "--batch-size=8", "--dataset=texts"]
MONTHS = calendar.month_abbr[1:]
ROUNDED = 1e-3  # Four digits are printed: rounding changes half of that at most.


def write_texts(folder):
    """Write lines as "Feb Mar Apr …", which go round the year from any month for 20 to 40 words."""
    random = np.random.default_rng(0)
    folder.mkdir()
    for split, count in {"train": 120, "validation": 15}.items():
        lines = []
        for _ in range(count):
            start, length = random.integers(12), random.integers(20, 40)
            lines.append(" ".join(MONTHS[i % 12] for i in range(start, start + length)))
        (folder / f"{split}.txt").write_text("\n".join(lines) + "\n")


def run_recipe(folder, *options):
    run = subprocess.run(
        [sys.executable, RECIPE, *options], cwd=folder, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.fixture(scope="module", params=["causal", "masked"])
def finished(request, tmp_path_factory):
    """The objective, the folder in which the recipe ran, and the perplexities that it printed."""
    folder = tmp_path_factory.mktemp("recipe")
    write_texts(folder / "texts")
    epochs = {"causal": 4, "masked": 12}[request.param]
    options = [f"--objective={request.param}", f"--epochs={epochs}", *OPTIONS]
    output = run_recipe(folder, *options)
    checkpoint = f"runs/{request.param}-language-model"
    assert re.search(rf"^checkpoint +{checkpoint}$", output, re.M)
    names = ("perplexity before", "perplexity after", "unigram model")
    printed = [re.search(rf"^{name} +([\d.]+)", output, re.M).group(1) for name in names]
    return request.param, folder, folder / checkpoint, [float(number) for number in printed]


def packed(folder, tokenizer, split):
    """The tokens of a split, each line with the end after it, as blocks."""
    lines = (folder / f"texts/{split}.txt").read_text().splitlines()
    ids = [token for line in lines for token in [*tokenizer.encode(line), tokenizer.eos_token_id]]
    return np.array(ids[: len(ids) // BLOCK * BLOCK]).reshape(-1, BLOCK)


def test_it_learns_what_counting_tokens_cannot_tell(finished):
    _, folder, checkpoint, (before, after, unigram) = finished
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    train, validation = (
        packed(folder, tokenizer, name).ravel() for name in ("train", "validation")
    )
    counts, smoothed = Counter(train), len(train) + len(tokenizer)
    surprise = [math.log(smoothed / (counts[token] + 1)) for token in validation]
    assert unigram == pytest.approx(math.exp(np.mean(surprise)), rel=ROUNDED)
    assert before > unigram > 10
    assert after < unigram / 3


def test_it_leaves_a_checkpoint_with_its_tokenizer(finished):
    objective, _, checkpoint, _ = finished
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    assert tokenizer.decode(tokenizer("Nov Dec, café").input_ids) == "Nov Dec, café"
    name = {
        "causal": "model.embed_tokens.weight",
        "masked": "model.embeddings.tok_embeddings.weight",
    }
    table = load_file(checkpoint / "model.safetensors")[name[objective]]
    assert table.shape == (len(tokenizer), 128)


@pytest.mark.oracle
def test_pytorch_finds_the_same_perplexity(finished):
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

    objective, folder, checkpoint, (_, after, _) = finished
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    ids = torch.tensor(packed(folder, tokenizer, "validation"))
    if objective == "causal":
        model = AutoModelForCausalLM.from_pretrained(checkpoint)
        with torch.no_grad():
            loss = model(input_ids=ids, labels=ids).loss
        assert math.exp(loss) == pytest.approx(after, rel=ROUNDED)
        return
    # The masks are others than the recipe's: the loss is nearly the same.
    model = AutoModelForMaskedLM.from_pretrained(checkpoint)
    draw = torch.rand(ids.shape)
    chosen = (draw < 0.3) & (ids != tokenizer.eos_token_id)
    masked = torch.where(chosen & (draw < 0.24), tokenizer.mask_token_id, ids)
    with torch.no_grad():
        loss = model(input_ids=masked, labels=torch.where(chosen, ids, -100)).loss
    assert abs(float(loss) - math.log(after)) < 0.3


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["causal", "masked"])
def test_its_figures_are_those_it_promises(objective, tmp_path):
    promised = re.search(rf"^ +{objective} +([\d.]+) +([\d.]+)", RECIPE.read_text(), re.M).groups()
    output = run_recipe(tmp_path, f"--objective={objective}")
    found = re.search(r"after +([\d.]+)\nunigram model +([\d.]+)", output).groups()
    # The texts differ a little between versions of Python.
    assert [float(n) for n in found] == pytest.approx([float(n) for n in promised], rel=0.25)
