"""The commands and the program of docs/serving.md that ask a server do what they say."""

import inspect
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from loopback_server import LoopbackServer

from tfhf.serving.signatures import TASKS

DOCUMENT = Path(__file__).parents[2] / "docs/serving.md"


@pytest.fixture(scope="module")
def blocks(exported, tmp_path_factory):
    """The blocks under *Ask it*, by language, for a server that is there."""
    models = tmp_path_factory.mktemp("documented") / "movie-sentiment"
    for version in ("1", "2"):
        shutil.copytree(exported[0], models / version)
    server = LoopbackServer(models, labels={"stable": 1})
    section = DOCUMENT.read_text(encoding="utf-8").split("## Ask it")[1].split("## Tuning")[0]
    section = section.replace("http://localhost:8501", server.rest_url)
    found = re.findall(r"```(\w+)\n(.*?)```", section, re.DOTALL)
    yield {name: [text for language, text in found if language == name] for name, _ in found}
    server.close()


def test_every_task_and_its_settings_are_in_the_table():
    section = DOCUMENT.read_text(encoding="utf-8").split("### Tasks")[1].split("### ")[0]
    rows = [line.split("|") for line in section.splitlines() if line.startswith("| `")]
    settings = {re.findall("`(.*?)`", row[1])[0]: row[4] for row in rows}
    assert set(settings) == set(TASKS)
    for name, task in TASKS.items():
        for parameter in inspect.signature(task.builder).parameters.values():
            if parameter.kind is parameter.KEYWORD_ONLY and parameter.name != "task":
                assert f"`{parameter.name}`" in settings[name]


def test_curl(blocks):
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    answers = []
    for block in blocks["bash"]:
        for command in re.split(r"(?m)^(?=curl)", block)[1:]:
            done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            answers.append(json.loads(done.stdout))
    columns, rows, tokens, by_version, by_label, status, metadata = answers
    assert len(columns["outputs"]["label"]) == len(columns["outputs"]["scores"]) == 2
    assert [set(row) for row in rows["predictions"]] == [{"label", "scores"}] * 2
    assert len(tokens["outputs"][0]) == 3  # the logits, unnamed
    assert by_version == by_label
    assert [version["state"] for version in status["model_version_status"]] == ["AVAILABLE"] * 2
    assert "serving_default" in metadata["metadata"]["signature_def"]["signature_def"]


def test_python(blocks, capsys):
    (program,) = blocks["python"]
    exec(program, {})
    printed = capsys.readouterr().out
    assert printed.startswith("True [VersionStatus(version=1, state='AVAILABLE'")
    assert len(re.findall("friendly|無", printed)) == 3
