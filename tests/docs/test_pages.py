"""The pages: their code runs, and the site that is made of them has no dead links."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import tfhf

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


def test_course_table_names_all_recipes():
    table = (ROOT / "docs/course.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w/]+\.py)`", table))
    recipes = ROOT / "recipes"
    there = {str(path.relative_to(recipes)) for path in recipes.rglob("*.py")}
    assert named == there - {"film_reviews.py"}


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
