"""tfhf config: questions, answers, and the YAML file between config and launch."""

import dataclasses

import pytest
import yaml

from tfhf.training.launch_config import LaunchConfig, ask_config, read_config, write_config


def answering(*answers):
    """A function that answers each question in turn, and the list of questions."""
    questions, left = [], list(answers)

    def ask(question):
        questions.append(question)
        return left.pop(0)

    return ask, questions


def test_no_answers_are_the_defaults():
    ask, questions = answering("", "")
    assert ask_config(ask) == LaunchConfig()
    assert "[auto]" in questions[0] and "[none]" in questions[1]


def test_several_hosts():
    ask, questions = answering("multi_worker", "2", "a:1000  b:1000", "1", "5", "mixed_float16")
    assert ask_config(ask) == LaunchConfig(
        "multi_worker", 2, ("a:1000", "b:1000"), 1, 5, "mixed_float16"
    )
    assert len(questions) == 6


def test_wrong_answers_are_asked_again(capsys):
    ask, questions = answering("both", "multi_worker", "two", "0", "2", "", "", "none")
    assert ask_config(ask) == LaunchConfig("multi_worker", 2)
    assert "strategy must be one of auto, one_device" in capsys.readouterr().out
    assert len(questions) == 8


def test_the_file_round_trips(tmp_path):
    path = tmp_path / "new" / "launch.yaml"
    config = LaunchConfig("multi_worker", 2, ("a:1", "b:2"), 1, 0, "mixed_bfloat16")
    write_config(config, path)
    assert read_config(path) == config
    assert yaml.safe_load(path.read_text()) == dataclasses.asdict(config) | {
        "hosts": ["a:1", "b:2"]
    }


def test_without_a_file_there_are_defaults(tmp_path):
    assert read_config(tmp_path / "none.yaml") == LaunchConfig()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("workers: 2", "workers"),
        ("num_workers: two", "num_workers must be a number from 1, but it is 'two'"),
        ("strategy: horovod", "strategy must be one of .* 'horovod'"),
        ("hosts: a:1", "hosts must be a list"),
        ("- 1", "mapping"),
        ("a: [", "launch.yaml is no launch configuration"),
        ("!!python/object/apply:os.getcwd []", "no launch configuration"),
    ],
)
def test_files_that_are_something_else(tmp_path, content, message):
    path = tmp_path / "launch.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_config(path)
