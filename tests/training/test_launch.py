"""launch: what each worker is told, what becomes of its output, when all are started again."""

import json
import os
import signal
import subprocess
import textwrap
import threading
import time

import pytest

from tfhf.training import launch as launch_module
from tfhf.training.launch import launch, notebook_launcher


@pytest.fixture
def script(tmp_path, monkeypatch):
    """A function that writes a script; it runs in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    for name in ("TF_CONFIG", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)

    def write(text):
        path = tmp_path / "script.py"
        path.write_text("import json, os, signal, sys, time\n" + textwrap.dedent(text))
        return path

    return write


REPORT = """
task = json.loads(os.environ.get("TF_CONFIG", "null"))
index = task["task"]["index"] if task else 0
names = ("TFHF_STRATEGY", "TFHF_MIXED_PRECISION", "TFHF_RESTARTS", "CUDA_VISIBLE_DEVICES")
told = {name: os.environ.get(name) for name in names}
with open(f"{index}.json", "w") as file:
    json.dump({"task": task, "args": sys.argv[1:], **told}, file)
"""


def reports(folder, count):
    return [json.loads((folder / f"{i}.json").read_text()) for i in range(count)]


def test_each_worker_knows_the_others(script, tmp_path):
    arguments = ["--epochs", "3", "a b"]
    code = launch(
        script(REPORT), arguments, 3, strategy="multi_worker", mixed_precision="mixed_bfloat16"
    )
    assert code == 0
    found = reports(tmp_path, 3)
    clusters = [report["task"]["cluster"] for report in found]
    assert clusters[0] == clusters[1] == clusters[2]
    assert len(set(clusters[0]["worker"])) == 3
    assert [report["task"]["task"] for report in found] == [
        {"type": "worker", "index": i} for i in range(3)
    ]
    for report in found:
        assert report["args"] == arguments
        assert report["TFHF_STRATEGY"] == "multi_worker"
        assert report["TFHF_MIXED_PRECISION"] == "mixed_bfloat16"
        assert report["TFHF_RESTARTS"] == "0"


def test_one_worker_needs_no_cluster(script, tmp_path):
    assert launch(script(REPORT)) == 0
    assert reports(tmp_path, 1)[0]["task"] is None


def test_several_hosts(script, tmp_path):
    assert launch(script(REPORT), [], 2, hosts=["one:1000", "two:2000"], host_index=1) == 0
    addresses = ["one:1000", "one:1001", "two:2000", "two:2001"]
    for index in (2, 3):
        assert json.loads((tmp_path / f"{index}.json").read_text())["task"] == {
            "cluster": {"worker": addresses},
            "task": {"type": "worker", "index": index},
        }
    assert not (tmp_path / "0.json").exists()


def test_gpus_are_shared_out(script, tmp_path, monkeypatch):
    monkeypatch.setattr(launch_module.shutil, "which", lambda name: name)
    real = subprocess.run
    listed = subprocess.CompletedProcess([], 0, "".join(f"GPU {i}: H200\n" for i in range(5)))
    monkeypatch.setattr(
        launch_module.subprocess,
        "run",
        lambda command, **kwargs: listed if command[0] == "nvidia-smi" else real(command, **kwargs),
    )
    launch(script(REPORT), [], 2)
    assert [report["CUDA_VISIBLE_DEVICES"] for report in reports(tmp_path, 2)] == ["0,1", "2,3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7,4")
    launch(script(REPORT), [], 2)
    assert [report["CUDA_VISIBLE_DEVICES"] for report in reports(tmp_path, 2)] == ["7", "4"]
    with pytest.raises(ValueError, match="num_workers is 3, but this host has 2 GPUs"):
        launch(script(REPORT), [], 3)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    launch(script(REPORT), [], 3)
    assert [report["CUDA_VISIBLE_DEVICES"] for report in reports(tmp_path, 3)] == [""] * 3


def test_lines_begin_with_the_worker(script, capsys):
    text = """
        print("to stdout", flush=True)
        print("to stderr", file=sys.stderr, flush=True)
        sys.stdout.buffer.write(b"no UTF-8: \\xff, no end of line")
    """
    assert launch(script(text), [], 2) == 0
    lines = capsys.readouterr().out
    for worker in (0, 1):
        assert f"[worker {worker}] to stdout\n" in lines
        assert f"[worker {worker}] to stderr\n" in lines
        assert f"[worker {worker}] no UTF-8: \ufffd, no end of line" in lines
    assert launch(script(text)) == 0
    assert "worker" not in capsys.readouterr().out


FAIL_TWICE = """
index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
run = int(os.environ["TFHF_RESTARTS"])
open(f"begun-{index}-{run}", "w")
if index == 1 and run < 2:
    while not os.path.exists(f"begun-0-{run}"):
        time.sleep(0.01)
    DEATH
if run < 2:
    time.sleep(600)
"""


@pytest.mark.parametrize(
    ("death", "code"),
    [("sys.exit(7)", 7), ("os.kill(os.getpid(), 9)", 137), ("raise ValueError('oh')", 1)],
)
def test_all_start_again_when_one_dies(script, tmp_path, capsys, death, code):
    path = script(FAIL_TWICE.replace("DEATH", death))
    assert launch(path, [], 2, max_restarts=1) == code
    assert sorted(p.name for p in tmp_path.glob("begun*")) == [
        f"begun-{index}-{run}" for index in (0, 1) for run in (0, 1)
    ]
    assert f"code {code}; starting all again (1 times left)" in capsys.readouterr().err
    assert launch(path, [], 2, max_restarts=2) == 0


def test_wrong_arguments_are_told_once(script, tmp_path, capsys):
    path = script("import argparse; print('begun'); argparse.ArgumentParser().parse_args()")
    assert launch(path, ["--no-such-option"]) == 2
    output = capsys.readouterr()
    assert output.out.count("begun") == output.out.count("no-such-option") == 1
    assert not output.err


def test_signals_are_passed_on(script, tmp_path):
    text = """
        def stop(number, frame):
            open(f"told-{index}", "w").write(str(number))
            sys.exit(0)
        index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
        signal.signal(signal.SIGTERM, stop)
        open(f"begun-{index}", "w")
        time.sleep(600)
    """

    def terminate():
        while len(list(tmp_path.glob("begun-*"))) < 2:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    threading.Thread(target=terminate).start()
    assert launch(script(text), [], 2) == 128 + signal.SIGTERM
    assert [(tmp_path / f"told-{i}").read_text() for i in (0, 1)] == ["15", "15"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_those_that_do_not_listen_are_killed(script, tmp_path, monkeypatch):
    monkeypatch.setattr(launch_module, "GRACE", 0.2)
    text = """
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        open("begun", "w").write(str(os.getpid()))
        os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(600)
    """
    assert launch(script(text)) == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "begun").read_text()), 0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"script": "nowhere.py"}, FileNotFoundError, "script: .*nowhere.py"),
        ({"num_workers": 0}, ValueError, "num_workers must be at least 1.* 0 and 3"),
        ({"max_restarts": -1}, ValueError, "max_restarts at least 0.* 1 and -1"),
        ({"hosts": ["a:1"], "host_index": 1}, ValueError, "host_index must be 0 to 0.* is 1"),
        ({"hosts": ["a"]}, ValueError, "hosts must be name:port, but one is 'a'"),
    ],
)
def test_arguments_that_cannot_be_right(script, arguments, error, message):
    with pytest.raises(error, match=message):
        launch(**{"script": script(""), **arguments})


def test_a_function_of_a_notebook(tmp_path, capsys):
    scale = 3  # neither it nor the function can be imported

    def work(folder, number):
        index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
        (folder / str(index)).write_text(str(number * scale))
        print("done")

    notebook_launcher(work, (tmp_path, 5), num_processes=2)
    assert [(tmp_path / str(i)).read_text() for i in (0, 1)] == ["15", "15"]
    assert "[worker 1] done\n" in capsys.readouterr().out
    with pytest.raises(RuntimeError, match="exit code 1"):
        notebook_launcher(lambda: 1 / 0, max_restarts=0)
    assert "ZeroDivisionError" in capsys.readouterr().out


def test_a_module_can_be_run(script, tmp_path, monkeypatch):
    script(REPORT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert launch("-m", ["script", "x"]) == 0
    assert reports(tmp_path, 1)[0]["args"] == ["x"]
