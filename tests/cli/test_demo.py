"""``tfhf demo``: what it starts."""

import sys

import pytest

from tfhf import demo


@pytest.fixture
def started(monkeypatch):
    calls = []
    monkeypatch.setattr(demo, "launch", lambda models, **settings: calls.append((models, settings)))
    return calls


def test_the_page_is_started(started, tfhf_command):
    models = ["--model", "ner=runs/ner", "--model", "translation_en_to_de=t5=small"]
    done = tfhf_command("demo", *models, "--port=8080", "--no-browser")
    assert done.exit_code == 0, done.stderr
    assert started == [
        (
            {"ner": "runs/ner", "translation_en_to_de": "t5=small"},
            {"server_name": "127.0.0.1", "server_port": 8080, "inbrowser": False},
        )
    ]


@pytest.mark.parametrize("option", ["--model=nothing=x", "--model=ner", "--port=0"])
def test_wrong_use(option, started, tfhf_command):
    done = tfhf_command("demo", option)
    assert done.exit_code == 2 and started == []


def test_a_task_without_a_tab(tfhf_command):
    done = tfhf_command("demo", "--model", "text2text-generation=x")
    assert done.exit_code == 1
    assert done.stderr.startswith("tfhf: the demo has no tab for text2text-generation")


def test_without_gradio(tfhf_command, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(sys.modules, "tfhf.demo.tabs", raising=False)
    done = tfhf_command("demo")
    assert done.exit_code == 1
    assert done.stderr == "tfhf: the demo needs Gradio: pip install 'tfhf[demo]'\n"
