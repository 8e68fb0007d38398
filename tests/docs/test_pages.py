"""The pages: their code runs, and the site that is made of them has no dead links."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import tfhf
from tfhf.cli import app
from tfhf.cli.training_tasks import TRAINED

ROOT = Path(__file__).parents[2]
PAGES = ["index.md", "migration.md", "how_it_works.md", "sharing.md"]


@pytest.mark.parametrize("page", PAGES)
def test_code_runs(page, tmp_path, monkeypatch):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert blocks
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks:
        exec(compile(block, page, "exec"), names)


def test_every_page_with_code_is_run():
    pages = (ROOT / "docs").rglob("*.md")
    with_code = {p.name for p in pages if "```python" in p.read_text(encoding="utf-8")}
    # tests/serving/test_serving_document.py runs one, and the other needs a TPU.
    assert with_code == {*PAGES, "serving.md", "tpu.md"}


def test_tpu_page_uses_what_there_is():
    text = (ROOT / "docs/tpu.md").read_text(encoding="utf-8")
    for block in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        compile(block, "tpu.md", "exec")
        for name in re.findall(r"tfhf\.(\w+)", block):
            assert hasattr(tfhf, name)


OLD = """
from transformers import AutoTokenizer, TFBertModel
from transformers import DataCollatorWithPadding, pipeline
from transformers import create_optimizer
from transformers.keras_callbacks import PushToHubCallback
import tf_keras as keras
import transformers, tfhf
body = transformers.TFBertModel
"""
NAMES = ["AutoTokenizer", "TFBertModel", "DataCollatorWithPadding", "pipeline"]
NAMES += ["create_optimizer", "PushToHubCallback"]


def test_old_imports_become_those_of_tfhf(tmp_path):
    text = (ROOT / "docs/migration.md").read_text(encoding="utf-8")
    (tmp_path / "old.py").write_text(OLD)
    for command in re.findall(r"^    (sed .*)$", text, re.MULTILINE):
        subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True)
    names = {}
    exec((tmp_path / "old.py").read_text(), names)
    for name in NAMES:
        assert names[name] is getattr(tfhf, name)
    assert names["body"] is tfhf.TFBertModel
    assert names["keras"].__version__.startswith("3")


def test_command_line_page_names_all_commands():
    text = (ROOT / "docs/command_line.md").read_text(encoding="utf-8")
    commands = typer.main.get_command(app).commands
    assert set(re.findall(r"^\| `tfhf ([\w-]+)`", text, re.MULTILINE)) == set(commands)
    tasks = re.findall(r"^\| ([\w-]+(?:, [\w-]+)?) \| `", text, re.MULTILINE)
    assert {name for row in tasks for name in row.split(", ")} == set(TRAINED)


def test_course_table_names_all_recipes():
    table = (ROOT / "docs/course.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w/]+\.py)`", table))
    recipes = ROOT / "recipes"
    there = {str(path.relative_to(recipes)) for path in recipes.rglob("*.py")}
    assert named == there - {"film_reviews.py", "small_bert.py"}


@pytest.mark.slow
def test_the_site_is_built_without_dead_links(tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    index = (tmp_path / "site/reference/training/index.html").read_text(encoding="utf-8")
    assert "per_device_train_batch_size" in index
