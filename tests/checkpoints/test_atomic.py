"""Folders and files that are replaced at once: also when the process is killed at any moment."""

import errno
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tfhf.checkpoints import atomic
from tfhf.checkpoints.atomic import new_version, replace_file, replace_folder, write_file


def contents(folder):
    """Every file below a folder, hidden ones too."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.fixture(params=["swap", "rename aside", "file by file", "in the folder itself", "no links"])
def system(request, monkeypatch):
    """The ways in which systems differ."""

    def cross_device(*arguments, **options):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    swap = atomic._swap

    if request.param == "swap" and sys.platform != "linux":
        pytest.skip("renameat2 is Linux's")
    if request.param == "rename aside":
        monkeypatch.setattr(atomic, "_renameat2", lambda *arguments: False)
    if request.param == "file by file":  # A folder of a container's image.
        monkeypatch.setattr(
            atomic, "_swap", lambda new, old: (cross_device if old.exists() else swap)(new, old)
        )
    if request.param == "in the folder itself":  # A mount point.
        monkeypatch.setattr(os.path, "ismount", lambda path: True)
    if request.param == "no links":
        monkeypatch.setattr(os, "link", cross_device)
    return request.param


def test_a_new_folder(tmp_path, system):
    path = tmp_path / "a" / "b"
    with replace_folder(path) as folder:
        write(folder, {"config.json": "1", "sub/x": "2"})
        assert not path.exists()
    assert contents(tmp_path) == {"a/b/config.json": "1", "a/b/sub/x": "2"}


def test_old_files_are_replaced_kept_or_dropped(tmp_path, system):
    path = tmp_path / "checkpoint"
    write(
        path,
        {
            "config.json": "old",
            "vocab.txt": "kept",
            "sub/same": "old",
            "sub/only": "kept",
            "sub/model-2.safetensors": "kept",
            "model-1.safetensors": "dropped",
            "model-2.safetensors": "old",
            "index.json": "dropped",
            ".hidden": "kept",
        },
    )
    (path / "link").symlink_to("vocab.txt")
    (path / "broken").symlink_to("nowhere")
    (path / "folder").symlink_to("sub")
    with replace_folder(str(path), drop=iter(["model-*.safetensors", "index.json"])) as folder:
        write(folder, {"config.json": "new", "sub/same": "new", "model-2.safetensors": "new"})
        assert contents(folder).keys() == {"config.json", "sub/same", "model-2.safetensors"}
        assert (path / "config.json").read_text() == "old"
    assert os.listdir(tmp_path) == ["checkpoint"]
    assert (path / "link").readlink() == Path("vocab.txt")
    assert (path / "broken").readlink() == Path("nowhere")
    assert (path / "folder").readlink() == Path("sub")
    (path / "link").unlink()
    assert contents(path) == {
        "config.json": "new",
        "vocab.txt": "kept",
        "sub/same": "new",
        "sub/only": "kept",
        "sub/model-2.safetensors": "kept",
        "model-2.safetensors": "new",
        ".hidden": "kept",
    }


def test_an_error_changes_nothing(tmp_path, system):
    path = tmp_path / "checkpoint"
    write(path, {"config.json": "old"})
    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error), replace_folder(path) as folder:
            write(folder, {"config.json": "new", "more": "new"})
            raise error
        assert contents(tmp_path) == {"checkpoint/config.json": "old"}
    with pytest.raises(RuntimeError), replace_folder(tmp_path / "absent"):
        raise RuntimeError
    assert os.listdir(tmp_path) == ["checkpoint"]


def test_a_failure_to_put_the_folder_in_place_changes_nothing(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint"
    write(path, {"config.json": "old"})

    def fail(*arguments):
        raise OSError(errno.EIO, "no luck")

    monkeypatch.setattr(atomic, "_swap", fail)
    with pytest.raises(OSError, match="no luck"), replace_folder(path) as folder:
        write(folder, {"config.json": "new"})
    assert contents(tmp_path) == {"checkpoint/config.json": "old"}


def test_a_failure_after_renaming_aside_puts_the_old_folder_back(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint"
    write(path, {"config.json": "old"})
    rename, calls = os.rename, []

    def third_time_unlucky(source, target):
        calls.append(source)
        if len(calls) == 3:
            raise OSError(errno.EIO, "no luck")
        rename(source, target)

    monkeypatch.setattr(atomic, "_renameat2", lambda *arguments: False)
    monkeypatch.setattr(os, "rename", third_time_unlucky)
    with pytest.raises(OSError, match="no luck"), replace_folder(path) as folder:
        write(folder, {"config.json": "new"})
    assert len(calls) == 4
    assert contents(tmp_path) == {"checkpoint/config.json": "old"}


def test_a_file_in_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="file"), replace_folder(tmp_path / "file"):
        pytest.fail("the body must not run")


def test_a_link_to_a_folder_stays_a_link(tmp_path, system):
    write(tmp_path / "real", {"config.json": "old", "vocab.txt": "kept"})
    (tmp_path / "link").symlink_to("real")
    with replace_folder(tmp_path / "link") as folder:
        write(folder, {"config.json": "new"})
    assert (tmp_path / "link").is_symlink()
    assert contents(tmp_path / "real") == {"config.json": "new", "vocab.txt": "kept"}


def test_modes_are_those_of_the_old_folder_and_of_the_umask(tmp_path):
    path = tmp_path / "checkpoint"
    with replace_folder(path) as folder:
        (folder / "x").touch()
    (tmp_path / "plain").mkdir()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
    path.chmod(0o2751)
    with replace_folder(path) as folder:
        (folder / "x").touch()
    assert path.stat().st_mode & 0o7777 == 0o2751


def test_an_open_log_in_the_folder_goes_on(tmp_path):
    path = tmp_path / "checkpoint"
    write(path, {"runs/log": "one\n"})
    with (path / "runs" / "log").open("a") as log:
        with replace_folder(path) as folder:
            write(folder, {"config.json": "new"})
        log.write("two\n")
    assert (path / "runs" / "log").read_text() == "one\ntwo\n"


def test_a_file_written_by_others_in_the_meantime_is_kept(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint"
    write(path, {"config.json": "old"})
    swap = atomic._swap

    def late(folder, target):
        write(target, {"late": "kept"})
        return swap(folder, target)

    monkeypatch.setattr(atomic, "_swap", late)
    with replace_folder(path) as folder:
        write(folder, {"config.json": "new"})
    assert contents(tmp_path) == {"checkpoint/config.json": "new", "checkpoint/late": "kept"}


def dead_process():
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


def leftover(path, kind, pid, process="0123abcd", machine=None):
    return path.with_name(f".{path.name}.{kind}-{machine or atomic._MACHINE}-{pid}-{process}-ff")


def test_leftovers_of_dead_processes_are_removed_and_no_others(tmp_path):
    path, dead = tmp_path / "checkpoint", dead_process()
    removed = [
        leftover(path, "new", dead),
        leftover(path, "old", dead),
        leftover(path, "new", os.getpid()),  # An id that is in use again: ours.
        leftover(path, "new", 10**30),
    ]
    kept = [
        leftover(path, "new", os.getppid()),
        leftover(path, "new", os.getpid(), atomic._PROCESS),
        leftover(path, "new", dead, machine="ffffffff"),
        leftover(tmp_path / "other", "new", dead),
        tmp_path / ".checkpoint.new-",
        tmp_path / ".checkpoint.backup",
    ]
    for folder in [path, *removed, *kept]:
        write(folder, {"config.json": folder.name})
    removed.append(leftover(path, "new", dead, "abcdabcd"))
    removed[-1].touch()
    with replace_folder(path) as folder:
        write(folder, {"config.json": "new"})
    assert set(tmp_path.iterdir()) == {path, *kept}
    assert contents(path) == {"config.json": "new"}


def test_a_folder_renamed_aside_by_a_killed_process_is_put_back(tmp_path):
    path, dead = tmp_path / "checkpoint", dead_process()
    write(leftover(path, "old", dead), {"config.json": "old", "vocab.txt": "kept"})
    write(leftover(path, "new", dead), {"config.json": "unfinished"})
    with pytest.raises(RuntimeError), replace_folder(path):
        raise RuntimeError
    assert contents(tmp_path) == {
        "checkpoint/config.json": "old",
        "checkpoint/vocab.txt": "kept",
    }


# Killed at any moment.

PROGRAM = """
import os, sys
from pathlib import Path
from tfhf.checkpoints import atomic

path, kind = Path(sys.argv[1]), sys.argv[2]
if kind == "rename aside":
    atomic._renameat2 = lambda *arguments: False

def save(generation):
    if kind == "file":
        atomic.write_file(path, generation * 1000)
        return
    if kind == "version":
        with atomic.new_version(path) as folder:
            for name in "abc":
                (folder / name).write_text(generation)
        return
    with atomic.replace_folder(path, drop=["model-*"]) as folder:
        (folder / "config.json").write_text(generation)
        (folder / "sub").mkdir()
        (folder / "sub" / "x").write_text(generation)
        (folder / f"model-{generation}").write_text(generation)
"""

EVERY_STEP = """
def killed_at(step, generation):
    steps = 0
    def hook(event, arguments):
        nonlocal steps
        if event.startswith(("os.", "open", "shutil.", "ctypes.")):
            steps += 1
            if steps == step:
                os._exit(9)
    pid = os.fork()
    if pid == 0:
        sys.addaudithook(hook)
        save(generation)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

step = 0
for line in sys.stdin:  # The generation to write, killed at one step more than the last.
    step += 1
    print(killed_at(step, line.strip()), flush=True)
"""

FOREVER = """
for generation in range(int(sys.argv[3]), 10**9):
    save(str(generation))
    print(generation, flush=True)
"""


def check(path, kind):
    """Assert that the state is complete; return which it is."""
    if kind == "file":
        text = path.read_text()
        length = len(text) // 1000
        assert text == text[:length] * 1000
        return text[:length]
    if kind == "version":
        versions = sorted(int(p.name) for p in path.iterdir() if not p.name.startswith("."))
        assert versions == list(range(1, len(versions) + 1))
        for version in versions:
            files = contents(path / str(version))
            assert len(files) == 3
            assert len(set(files.values())) == 1
        return files["a"]
    generation = (path / "config.json").read_text()
    assert contents(path) == {
        "config.json": generation,
        "sub/x": generation,
        f"model-{generation}": generation,
        "vocab.txt": "kept",
    }
    return generation


def begin(tmp_path, kind):
    path = tmp_path / "place" / "checkpoint"
    if kind == "file":
        path.parent.mkdir()
        write_file(path, "0" * 1000)
    elif kind == "version":
        with new_version(path) as folder:
            write(folder, dict.fromkeys("abc", "0"))
    else:
        write(path, {"config.json": "0", "sub/x": "0", "model-0": "0", "vocab.txt": "kept"})
    return path


def recover(path, kind):
    """What the next call does first."""
    if kind == "rename aside":
        atomic._clean_up(path)


kinds = pytest.mark.parametrize("kind", ["swap", "rename aside", "file", "version"])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@kinds
def test_killed_at_every_step(tmp_path, kind):
    path = begin(tmp_path, kind)
    seen, codes, last = set(), [], "0"
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM + EVERY_STEP, path, kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        while not codes or codes[-1] == 9:
            generation = str(len(codes) + 1)
            process.stdin.write(f"{generation}\n")
            process.stdin.flush()
            codes.append(int(process.stdout.readline()))
            recover(path, kind)
            state = check(path, kind)
            assert state in (last, generation)
            seen.add(state == generation)
            last = state
        process.stdin.close()
    assert codes[-1] == 0
    assert last == generation
    assert len(codes) > 8
    if kind != "version":  # A new version is there when its last step is done.
        assert seen == {True, False}
    names = os.listdir(path if kind == "version" else path.parent)
    assert not [name for name in names if name.startswith(".")]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@kinds
def test_killed_at_random_moments(tmp_path, kind):
    path = begin(tmp_path, kind)
    last, advanced = 0, 0
    for _ in range(12):
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM + FOREVER, path, kind, str(last + 1)],
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            process.stdout.readline()
            time.sleep(random.uniform(0, 0.05))
            process.kill()
            reported = [int(line) for line in process.stdout]
        recover(path, kind)
        state = int(check(path, kind))
        assert state >= max(reported, default=last + 1)
        advanced += state > last
        last = state
    assert advanced == 12


# Many at once.


def run_together(*functions):
    errors = []

    def run(function):
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=[function]) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_versions_written_at_the_same_time_differ(tmp_path):
    versions = []

    def export():
        for _ in range(10):
            version = new_version(tmp_path)
            with version as folder:
                write(folder, {"a": folder.name, "b": folder.name})
            assert contents(version.path) == {"a": folder.name, "b": folder.name}
            versions.append(int(version.path.name))

    run_together(*[export] * 4)
    assert sorted(versions) == list(range(1, 41))
    assert sorted(map(int, os.listdir(tmp_path))) == list(range(1, 41))


def test_a_folder_that_many_write_is_always_that_of_one(tmp_path):
    path = tmp_path / "checkpoint"
    write(path, {"vocab.txt": "kept"})

    def save(name):
        for i in range(10):
            with replace_folder(path) as folder:
                write(folder, {"config.json": f"{name}{i}", "weights": f"{name}{i}", name: ""})

    run_together(*[lambda name=name: save(name) for name in "abc"])
    files = contents(path)
    assert files.pop("config.json") == files.pop("weights")
    assert files == {"vocab.txt": "kept", "a": "", "b": "", "c": ""}
    assert os.listdir(tmp_path) == ["checkpoint"]


# Files and versions.


@pytest.mark.parametrize("data", ["", "é\n", b"", b"\0\xff\r\n", "x" * 10**6])
def test_a_file(tmp_path, data):
    path = tmp_path / "state.json"
    for _ in range(2):
        write_file(str(path), data)
        assert path.read_bytes() == (data.encode() if isinstance(data, str) else data)
    assert os.listdir(tmp_path) == ["state.json"]


def test_a_file_keeps_its_mode_and_its_link(tmp_path):
    (tmp_path / "plain").touch()
    write_file(tmp_path / "real", "new")
    assert (tmp_path / "real").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "real").chmod(0o640)
    (tmp_path / "link").symlink_to("real")
    write_file(tmp_path / "link", "newer")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "newer"
    assert (tmp_path / "real").stat().st_mode & 0o777 == 0o640


def test_a_file_that_cannot_be_written_stays(tmp_path, monkeypatch):
    path = tmp_path / "state.json"
    path.write_text("old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_file(path, "new")
    assert contents(tmp_path) == {"state.json": "old"}
    with pytest.raises(FileNotFoundError):
        write_file(tmp_path / "absent" / "state.json", "new")


@pytest.mark.parametrize("renameat2", [True, False])
def test_versions_count_up(tmp_path, monkeypatch, renameat2):
    if not renameat2:
        monkeypatch.setattr(atomic, "_renameat2", lambda *arguments: False)
    directory = tmp_path / "saved_models" / "name"
    for expected in ("1", "2"):
        version = new_version(str(directory))
        with version as folder:
            write(folder, {"saved_model.pb": expected, "assets/vocab.txt": "x"})
            assert version.path is None
        assert version.path == directory / expected
        assert contents(version.path) == {"saved_model.pb": expected, "assets/vocab.txt": "x"}
    for name in ("9", "007", "11x", "-20", "²", "notes.txt"):
        (directory / name).mkdir()
    with new_version(directory) as folder:
        write(folder, {"saved_model.pb": ""})
    assert (directory / "10").is_dir()


def test_a_version_that_fails_is_none(tmp_path):
    version = new_version(tmp_path)
    with pytest.raises(RuntimeError), version as folder:
        write(folder, {"saved_model.pb": ""})
        raise RuntimeError
    assert version.path is None
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("theirs", [{"theirs": ""}, {}])
def test_a_version_that_another_takes_meanwhile_is_not_overwritten(tmp_path, monkeypatch, theirs):
    if not theirs and sys.platform != "linux":
        pytest.skip("elsewhere, an empty folder is overwritten")
    listdir = os.listdir

    def late(path):
        names = listdir(path)
        if "1" not in names:
            (tmp_path / "1").mkdir()
            write(tmp_path / "1", theirs)
        return names

    with new_version(tmp_path) as folder:
        write(folder, {"ours": ""})
        monkeypatch.setattr(os, "listdir", late)
    assert contents(tmp_path / "1") == theirs
    assert contents(tmp_path / "2") == {"ours": ""}


def test_a_file_written_line_by_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_file(path, "old")
    with replace_file(path, encoding="utf-8") as file:
        file.write("Straße\r\n")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_bytes() == "Straße\r\n".encode()
    with pytest.raises(KeyError), replace_file(path) as file:
        file.write(b"half")
        raise KeyError
    assert path.read_bytes() == "Straße\r\n".encode() and len(contents(tmp_path)) == 1


def test_the_folder_that_the_process_works_in_stays(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint"
    write(path, {"config.json": "old", "sub/x": "kept"})
    for place in (path, path / "sub"):
        monkeypatch.chdir(place)
        inode = path.stat().st_ino
        with replace_folder(path) as folder:
            write(folder, {"config.json": "new"})
        assert path.stat().st_ino == inode
        assert contents(tmp_path) == {"checkpoint/config.json": "new", "checkpoint/sub/x": "kept"}


def test_a_working_folder_that_is_gone(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with replace_folder(tmp_path / "checkpoint") as folder:
        write(folder, {"config.json": "new"})
    assert contents(tmp_path) == {"checkpoint/config.json": "new"}
