"""The course's chapters, with the real MiniLM where they use it."""

import ast
import runpy
import sys
from pathlib import Path

import pytest

CHAPTERS = sorted((Path(__file__).parents[2] / "recipes/course").glob("*.py"))


@pytest.mark.parametrize(
    "chapter",
    [
        pytest.param(path, marks=pytest.mark.slow if "pipelines" in path.stem else ())
        for path in CHAPTERS
    ],
    ids=lambda path: path.stem,
)
def test_chapter(chapter, monkeypatch, tmp_path, capsys, request):
    if "minilm" in chapter.read_text(encoding="utf-8"):
        request.getfixturevalue("minilm_folder")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [chapter.name])
    monkeypatch.setattr(sys, "path", sys.path[:])
    runpy.run_path(str(chapter), run_name="__main__")
    assert capsys.readouterr().out.count("\n") >= 2


def has_options(chapter):
    return " --" in ast.get_docstring(ast.parse(chapter.read_text(encoding="utf-8")))


@pytest.mark.parametrize("chapter", [*filter(has_options, CHAPTERS)], ids=lambda path: path.stem)
def test_help(chapter, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [chapter.name, "--help"])
    monkeypatch.setattr(sys, "path", sys.path[:])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_path(str(chapter), run_name="__main__")
    assert "usage: " in capsys.readouterr().out
