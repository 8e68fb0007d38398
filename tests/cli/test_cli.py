"""What all commands have in common: help, examples, exit codes, errors in words."""

import importlib.metadata
import json
import os
import re
import shlex
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import tfhf
from tfhf.cli import app

ROOT = Path(__file__).parents[2]


def commands(group=None, *path):
    """Return all commands by the words that name them."""
    group = group or get_command(app)
    found = {}
    for name, command in group.commands.items():
        words = (*path, name)
        is_group = hasattr(command, "commands")
        found |= commands(command, *words) if is_group else {" ".join(words): command}
    return found


COMMANDS = commands()


def test_all_commands(tfhf_command):
    shown = tfhf_command("--help")
    assert shown.exit_code == 0
    for name in COMMANDS:
        assert f"\n│ {name.split()[0]} " in shown.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples_that_fit(name, tfhf_command):
    shown = tfhf_command(*name.split(), "--help")
    assert shown.exit_code == 0
    assert shown.stdout.lower().count("usage: ") == 1
    lines = re.findall(r"^ +\$ (.*)$", shown.stdout, re.M)
    assert lines
    known = set(re.findall(r"(?<![\w-])--?\w[\w-]*", shown.stdout.partition("Examples:")[0]))
    for line in lines:
        # Behind a script and in a shell's redirection, options are not the command's.
        line = line.rpartition("-m tfhf.cli ")[2].removeprefix("tfhf ")
        words = shlex.split(re.split(r" [<>|] |(?<=\.py) |(?<=\.train) ", line)[0])
        assert " ".join(words).startswith(name)
        options = {word.partition("=")[0] for word in words if word.startswith("-")}
        assert options <= known


def test_the_short_help_is_the_long_one(tfhf_command):
    assert tfhf_command("models", "-h").stdout == tfhf_command("models", "--help").stdout


def test_version(tfhf_command):
    assert tfhf_command("--version").stdout == f"{tfhf.__version__}\n"


@pytest.mark.parametrize(
    "line",
    [
        "nothing",
        "models --nothing",
        "models extra",
        "models --task nothing",
        "pipeline translation_foo --model x",
        "convert",
        "push .",
    ],
)
def test_wrong_use_is_2(line, tfhf_command):
    done = tfhf_command(*line.split())
    assert done.exit_code == 2
    assert "Traceback" not in done.stderr and "Usage: tfhf" in done.stderr


def test_failed_work_is_1_and_a_line(tfhf_command, tmp_path):
    done = tfhf_command("export", tmp_path / "absent", tmp_path, "--task", "fill-mask")
    assert done.exit_code == 1
    assert done.stderr.startswith("tfhf: ") and str(tmp_path / "absent") in done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""


def test_debug_raises(tfhf_command, tmp_path):
    done = tfhf_command("--debug", "export", tmp_path / "absent", tmp_path, "--task", "fill-mask")
    assert done.exit_code == 1 and isinstance(done.exception, OSError)


def test_faults_of_ours_keep_their_trace(tfhf_command, monkeypatch):
    def broken(*arguments):
        raise AssertionError

    monkeypatch.setattr("tfhf.cli.env._packages", broken)
    assert isinstance(tfhf_command("env").exception, AssertionError)


@pytest.mark.parametrize(
    "typed, offered",
    [
        ("tfhf conv", {"convert"}),
        ("tfhf pipeline tra", {"translation"}),
        ("tfhf models --task to", {"token-classification"}),
    ],
)
def test_completion(typed, offered):
    environment = {
        "_TFHF_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(typed.split()) - 1),
    }
    done = CliRunner().invoke(app, [], env=environment, prog_name="tfhf")
    assert set(done.stdout.split()) == offered


def test_help_and_mistakes_import_nothing_heavy():
    program = """
import sys
from typer.testing import CliRunner
from tfhf.cli import app
for line in sys.argv[1:]:
    CliRunner().invoke(app, line.split())
print(" ".join(sorted({"tensorflow", "keras", "transformers", "numpy"} & set(sys.modules))))
"""
    light = [f"{name} --help" for name in COMMANDS if name not in ("train", "eval", "predict")]
    lines = ["--help", *light, "pipeline x", "models"]
    done = subprocess.run([sys.executable, "-c", program, *lines], capture_output=True, text=True)
    assert done.stdout == "\n", done.stderr


def test_env(tfhf_command, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    for name in ("HF_CLIENT_SECRET", "TFHF_API_KEY", "HF_PROXY_PASSWORD"):
        monkeypatch.setenv(name, "secret of another kind")
    monkeypatch.setenv("TF_VAR_password", "secret")
    monkeypatch.setenv("TF_NUM_THREADS", "7")
    done = tfhf_command("env")
    assert done.exit_code == 0
    assert f"- tensorflow {importlib.metadata.version('tensorflow')}\n" in done.stdout
    assert "- HF_TOKEN=…\n" in done.stdout and "- TF_NUM_THREADS=7\n" in done.stdout
    assert "- TFHF_API_KEY=…\n" in done.stdout
    assert "secret" not in done.stdout
    for title in ("System", "Packages", "Missing", "Variables"):
        assert f"**{title}**\n\n- " in done.stdout


def test_env_names_what_is_missing_or_old(tfhf_command, monkeypatch):
    versions = {"tfhf": "0.1.0", "keras": "3.1"}

    def version(name):
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    wanted = ["keras>=3.12", "rouge-score>=0.1.2; extra == 'recipes'", "pytest; extra == 'test'"]
    wanted += ["colorama; platform_system == 'Nowhere'", "mkdocs-material; extra == 'docs'"]
    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: wanted)
    shown = tfhf_command("env").stdout
    assert "- keras >=3.12: it is 3.1\n- rouge-score (tfhf[recipes])\n" in shown
    assert not any(name in shown for name in ("pytest", "colorama", "mkdocs"))


@pytest.mark.slow
def test_the_real_command(tmp_path):
    """The entry point as pip makes it, in processes of its own."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    scripts = setup["options.entry_points"]["console_scripts"]
    module, function = re.search(r"^tfhf = (\S+):(\w+)$", scripts, re.M).groups()
    script = tmp_path / "tfhf"
    script.write_text(
        f"#!{sys.executable}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n"
    )
    script.chmod(0o755)

    def run(*arguments, **settings):
        command = [script, *arguments]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.run(command, capture_output=True, text=True, env=environment, **settings)

    checkpoint = ROOT / "tests/fixtures/pipelines/text-classification/bert"
    done = run("pipeline", "sentiment-analysis", "--model", checkpoint, input='"Hello"\n')
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["label"] == "neutral"
    failed = run("pipeline", "fill-mask", "--model", checkpoint, input='"Hello"\n')
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].startswith("tfhf: ") and "Trace" not in failed.stderr
    assert run("pipeline", "nothing").returncode == 2
    assert "Traceback" in run("--debug", "convert", ROOT / "docs").stderr
