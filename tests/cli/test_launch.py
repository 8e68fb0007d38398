"""``tfhf config`` and ``tfhf launch``: what they ask, write and start."""

import pytest
import yaml

from tfhf.training import launch as launching
from tfhf.training import launch_config


@pytest.fixture
def started(monkeypatch, tmp_path):
    """The calls of launch; the configuration of this machine is another."""
    calls = []

    def launch(*arguments, **settings):
        calls.append((arguments, settings))
        return 0 if str(arguments[0]) != "fails.py" else 7

    monkeypatch.setattr(launching, "launch", launch)
    monkeypatch.setattr(launch_config, "CONFIG_FILE", tmp_path / "own" / "launch.yaml")
    return calls


DEFAULTS = {
    "num_workers": 1,
    "hosts": (),
    "host_index": 0,
    "max_restarts": 3,
    "strategy": "auto",
    "mixed_precision": None,
}


def test_arguments_of_the_script_are_its_own(started, tfhf_command):
    done = tfhf_command("launch", "--num-workers", 2, "train.py", "--num-workers", 3, "--", "-h")
    assert done.exit_code == 0, done.stderr
    ((script, arguments), settings) = started[0]
    assert script == "train.py"
    assert arguments == ["--num-workers", "3", "--", "-h"]
    assert settings == DEFAULTS | {"num_workers": 2}


def test_a_module_and_hosts(started, tfhf_command):
    hosts = ["--host", "a:1", "--host", "b:1", "--host-index=1", "--max-restarts=0"]
    assert tfhf_command("launch", "-m", *hosts, "pkg.train", "--x").exit_code == 0
    assert started == [
        (
            ("-m", ["pkg.train", "--x"]),
            DEFAULTS | {"hosts": ("a:1", "b:1"), "host_index": 1, "max_restarts": 0},
        )
    ]


def test_the_exit_code_is_that_of_the_script(started, tfhf_command):
    assert tfhf_command("launch", "fails.py").exit_code == 7


def test_config_asks_and_launch_reads(started, tfhf_command):
    answers = "multi_worker\n2\n\n\nmixed_bfloat16\n"
    done = tfhf_command("config", input=answers)
    assert done.exit_code == 0, done.stderr
    assert str(launch_config.CONFIG_FILE) in done.stdout
    assert yaml.safe_load(launch_config.CONFIG_FILE.read_text())["num_workers"] == 2
    tfhf_command("launch", "--strategy=mirrored", "train.py")
    assert started[0][1] == DEFAULTS | {
        "num_workers": 2,
        "strategy": "mirrored",
        "mixed_precision": "mixed_bfloat16",
    }


def test_a_configuration_of_its_own(started, tfhf_command, tmp_path):
    path = tmp_path / "hosts.yaml"
    assert tfhf_command("config", "--config", path, input="\n\n").exit_code == 0
    assert tfhf_command("launch", "--config", path, "train.py").exit_code == 0
    assert started[0][1] == DEFAULTS
    path.write_text("workers: 2")
    done = tfhf_command("launch", "--config", path, "train.py")
    assert done.exit_code == 1 and "hosts.yaml is no launch configuration" in done.stderr


def test_no_answer_writes_nothing(started, tfhf_command):
    assert tfhf_command("config", input="multi_worker\n").exit_code == 1
    assert not launch_config.CONFIG_FILE.exists()


@pytest.mark.parametrize(
    "line, code",
    [
        ("launch", 2),
        ("launch --config absent.yaml train.py", 2),
        ("launch --num-workers=0 train.py", 2),
        ("launch --strategy=two train.py", 2),
    ],
)
def test_wrong_use(line, code, started, tfhf_command):
    done = tfhf_command(*line.split())
    assert done.exit_code == code and "Traceback" not in done.stderr
    assert started == []


@pytest.mark.parametrize(
    "line, message",
    [
        ("launch absent.py", "there is no file absent.py"),
        ("launch --host a:1 --host-index 5 -m absent", "host_index must be 0 to 0, but it is 5"),
    ],
)
def test_what_cannot_start_is_wrong_use(line, message, tfhf_command, monkeypatch, tmp_path):
    monkeypatch.setattr(launch_config, "CONFIG_FILE", tmp_path / "launch.yaml")
    done = tfhf_command(*line.split())
    assert done.exit_code == 2 and message in done.stderr and "Traceback" not in done.stderr


def test_a_script_runs(tfhf_command, tmp_path, capfd):
    script = tmp_path / "train.py"
    script.write_text("import sys; print(sys.argv[1:]); sys.exit(3)")
    done = tfhf_command("launch", "--max-restarts=0", "--strategy=auto", script, "--bf16")
    assert done.exit_code == 3
    assert "['--bf16']\n" in done.stdout
