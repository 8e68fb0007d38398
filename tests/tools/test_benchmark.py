"""tools/benchmark: that it works. No test looks at how fast anything is."""

import argparse
import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from benchmarks import __main__ as command_line  # noqa: E402
from benchmarks import contest, environments, material, report  # noqa: E402
from benchmarks.contest import Contestant, Row, run_rows  # noqa: E402
from benchmarks.environments import Environment  # noqa: E402
from benchmarks.workers import shared_work  # noqa: E402
from benchmarks.workers.rows_on_disk import padding_share, read_batches, read_table  # noqa: E402

# A worker whose work is to write down who did what, and to fail when told to.
STUB = """
import os, time
import numpy as np
from benchmarks.workers.protocol import Work, serve

class Note(Work):
    def __init__(self, log, name, output=1.0, fails="", shape=()):
        if fails == "prepare":
            raise ValueError("no such thing")
        self.log, self.name, self.output, self.fails = log, name, output, fails
        self.shape = shape

    def outputs(self):
        return {"logits": np.full(self.shape, self.output)}

    def turn(self, steps, letter="x", megabytes=0):
        if self.fails == "dies":
            os._exit(3)
        def act():
            if self.fails == "run":
                raise RuntimeError("out of luck")
            if self.fails == "long":
                raise RuntimeError("long, " * 200 + "and at last the cause")
            with open(self.log, "a") as file:
                file.write(f"{self.name} {letter} {steps}\\n")
            print("noise on standard output")
            np.ones(megabytes * 125_000).sum()
            time.sleep(0.001)
            return lambda: {"padding": 0.25}
        return act

serve({"note": Note})
"""


@pytest.fixture
def stub(tmp_path):
    """Environments of which one has the stub and one could not be installed."""
    (tmp_path / "stub_worker.py").write_text(STUB)
    paths = {"PYTHONPATH": f"{tmp_path}:{ROOT / 'tools'}"}
    return {
        "stub": Environment("stub_worker", variables=paths),
        "broken": Environment("stub_worker", error="pip could not install it"),
    }


def note(tmp_path, *contestants, **settings):
    """A row for the stub; a contestant is (name, options)."""
    return Row(
        area="test",
        name="note",
        kind="note",
        contestants=tuple(
            Contestant(name, options.pop("environment", "stub"), {"name": name} | options)
            for name, options in contestants
        ),
        work={"log": str(tmp_path / "log")},
        **settings,
    )


def run(rows, environments, rounds=2):
    return list(run_rows(rows, environments, threads=1, rounds=rounds))


def test_contestants_take_turns_at_the_same_steps(tmp_path, stub):
    row = note(tmp_path, ("A", {}), ("B", {}), steps=2, turn={"letter": "q"}, tolerance=0.1)
    (result,) = run([row], stub, rounds=3)
    lines = (tmp_path / "log").read_text().split("\n")[:-1]
    assert lines[:2] == ["A q 1", "B q 1"]  # the first run, which is not timed
    assert lines[2:] == ["A q 2", "B q 2"] * (len(lines) // 2 - 1)
    assert len(lines) >= 2 + 2 * 3
    for entry in result["contestants"].values():
        assert entry["error"] is None
        assert len(entry["seconds"]) == len(lines) // 2 - 1
        assert entry["median"] >= 0.0005
        assert entry["peak_mb"] > 1
        assert entry["facts"] == {"padding": 0.25}
        assert "numpy" in entry["versions"]


def test_rows_with_the_same_work_share_their_processes(tmp_path, stub, monkeypatch):
    started = []
    init = contest.Worker.__init__

    def counting(self, contestant, *args):
        started.append(contestant.name)
        init(self, contestant, *args)

    monkeypatch.setattr(contest.Worker, "__init__", counting)
    first, second = (note(tmp_path, ("A", {}), turn={"letter": letter}) for letter in "xy")
    other = note(tmp_path, ("B", {}))
    assert len(run([first, second, other], stub, rounds=1)) == 3
    assert started == ["A", "B"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": 1.3}, r"differ by 0\.3 from those of A, more than 0\.1"),
        ({"output": float("nan")}, "differ by nan"),
        ({"shape": (2,)}, r"its outputs are \{'logits': \(2,\)\}, not \{'logits': \(\)\}"),
        ({"fails": "prepare"}, "ValueError: no such thing"),
        ({"fails": "run"}, "RuntimeError: out of luck"),
        ({"fails": "long"}, "^RuntimeError: long, .{10,40} … .{200,260}, and at last the cause$"),
        ({"fails": "dies"}, "ended with 3"),
        ({"unknown": 1}, "TypeError: .*unknown"),
        ({"environment": "broken"}, "pip could not install it"),
    ],
)
def test_who_cannot_run_is_listed_and_the_others_run(tmp_path, stub, options, message):
    row = note(tmp_path, ("A", {}), ("bad", options), ("C", {}), tolerance=0.1, steps=1)
    (result,) = run([row], stub)
    bad = result["contestants"]["bad"]
    assert re.search(message, bad["error"])
    assert bad["seconds"] == [] and bad["median"] is None and bad["ratio"] is None
    for name in "AC":
        assert result["contestants"][name]["error"] is None
        assert len(result["contestants"][name]["seconds"]) >= 2
    table = report.table(result, report.Limits([]))
    assert f"- bad could not run: `{bad['error']}`" in table


def test_who_does_not_answer_is_given_up(tmp_path, stub, monkeypatch):
    monkeypatch.setattr(contest, "PATIENCE", 0)
    (result,) = run([note(tmp_path, ("A", {}))], stub)
    assert result["contestants"]["A"]["error"] == "no answer within 0 s"


def test_differences_are_relative_and_ids_must_be_equal():
    ids = np.arange(8).reshape(2, 4)
    outputs = {"logits": np.array([2.0, -4.0]), "ids": ids}
    assert contest._difference(outputs, outputs) == 0
    other = {"logits": np.array([2.0, -4.1]), "ids": ids}
    assert contest._difference(outputs, other) == pytest.approx(0.025)
    assert contest._difference({"ids": ids}, {"ids": ids}) == 0
    other = outputs | {"ids": np.where(ids == 3, 4, ids)}
    with pytest.raises(contest.ContestantError, match=r"12\.50% of its ids are others"):
        contest._difference(outputs, other)


def test_memory_is_that_of_the_first_run_after_a_rehearsal(tmp_path, stub):
    turn = {"letter": "q", "megabytes": 50}
    plain, measured = (
        note(tmp_path, ("A", {}), steps=1, turn=turn, rehearsal=rehearsal)
        for rehearsal in (None, {"letter": "r"})
    )
    (result,) = run([plain], stub, rounds=1)
    assert result["contestants"]["A"]["extra_mb"] is None
    (tmp_path / "log").unlink()
    (result,) = run([measured], stub, rounds=1)
    assert 45 < result["contestants"]["A"]["extra_mb"] < 60
    assert (tmp_path / "log").read_text() == "A r 1\n" + "A q 1\n" * 2  # measured, timed
    assert result["took"] > 0


def test_memory_is_that_of_the_first_row_of_a_group(tmp_path, stub):
    first = note(tmp_path, ("A", {}), steps=1, turn={"megabytes": 50}, rehearsal={})
    second = note(tmp_path, ("A", {}), steps=1)
    results = [r["contestants"]["A"]["extra_mb"] for r in run([first, second], stub, rounds=1)]
    assert results[0] > 45 and results[1] is None


def test_what_was_measured_is_kept_when_the_rest_fails(tmp_path, stub, monkeypatch):
    def fails(setting):
        raise KeyboardInterrupt

    areas = {"first": lambda setting: [note(tmp_path, ("A", {}))], "second": fails}
    monkeypatch.setattr(command_line, "AREAS", areas)
    monkeypatch.setattr(command_line, "environments", lambda peers: stub)
    monkeypatch.setattr(command_line, "CACHE", tmp_path)
    file = tmp_path / "results.json"
    options = argparse.Namespace(
        only=["first", "second"], peers=False, small=True, json=file, threads=1, rounds=1
    )
    with pytest.raises(KeyboardInterrupt):
        command_line.measure(options)
    assert [row["name"] for row in json.loads(file.read_text())["rows"]] == ["note"]
    assert not list(tmp_path.glob("*.unfinished"))


def test_the_page_cache_is_looked_at(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(bytes(100_000))
    assert shared_work._cached_share(file) == 1
    shared_work._evict(file)
    assert 0 <= shared_work._cached_share(file) <= 1


def test_the_memory_of_an_import_is_its_own():
    held = bytearray(200 << 20)
    facts = shared_work.Import("pass").turn(1)()()
    assert 1 < facts["peak_mb"] < 100 < len(held) / 1e6


def test_ratios_are_of_rounds_and_median():
    ratio = contest._ratio([1.0, 2.0, 4.0], [2.0, 2.0, 12.0])
    assert ratio == {"min": 1.0, "median": 2.0, "max": 3.0}
    assert contest._ratio([], [1.0]) is None
    assert contest._median([3.0, 1.0, 2.0]) == 2.0


def test_a_turn_is_as_long_as_the_fastest_needs_and_the_slowest_allows():
    assert contest._steps([0.01, 0.02]) == 50  # half a second of the first
    assert contest._steps([0.01, 1.0]) == 4  # four seconds of the second
    assert contest._steps([30.0]) == 1


def test_lengths_are_like_mrpc():
    lengths = material.mrpc_lengths(20_000)
    assert lengths.min() >= 12 and lengths.max() <= 128
    assert 52.5 < lengths.mean() < 53.5
    assert 13 < lengths.std() < 16


def test_sentences_are_as_long_as_reviews(tmp_path):
    lengths = material.review_lengths(20_000)
    assert lengths.min() >= 4 and lengths.max() <= 79
    assert 26.5 < lengths.mean() < 27.5
    assert 10 < lengths.std() < 12
    path = material.write_sentences(tmp_path / "sentences.json", 100, lengths[:50])
    sentences = json.loads(Path(path).read_text())
    assert [len(text.split()) + 2 for text in sentences] == lengths[:50].tolist()
    words = {f"word{i}" for i in range(material.FIRST_ID, 100)}
    assert {word for text in sentences for word in text.split()} <= words


def test_prompts_have_one_length_in_tokens(tmp_path):
    material.write_byte_level_tokenizer(tmp_path, 1500)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    path = material.write_sentences(
        tmp_path / "prompts.json", 100_000, np.full(64, 5), first_id=10_000
    )
    prompts = json.loads(Path(path).read_text())
    assert len(set(prompts)) == 64
    assert len({len(tokenizer.encode(prompt).ids) for prompt in prompts}) == 1


def test_the_best_of_several_batch_sizes_is_taken(tmp_path, monkeypatch):
    (tmp_path / "sentences.json").write_text(json.dumps(["a", "b"]))
    calls = []
    library = argparse.Namespace(
        classifier=lambda folder: lambda texts, size: calls.append((texts, size))
    )
    monkeypatch.setattr(shared_work.Classify, "_seconds", lambda self, size: abs(size - 9))
    work = shared_work.Classify(library, "", tmp_path / "sentences.json", batch_sizes=(1, 8, 32))
    assert work.turn(2)()() == {"batch_size": 8}
    assert calls == [(["a", "b"], 8)] * 2
    work = shared_work.Classify(library, "", tmp_path / "sentences.json")
    assert work.turn(1)()() == {}
    assert calls[2:] == [(["a", "b"], None)]


def test_batches_are_read_as_written(tmp_path):
    lengths = {"a": [np.array([3, 1]), np.array([2, 4])], "b": [np.array([5])]}
    path = material.write_batches(tmp_path / "batches.npz", 100, lengths)
    batches = read_batches(path)
    assert {name: len(found) for name, found in batches.items()} == {"a": 2, "b": 1}
    for name, found in batches.items():
        for batch, expected in zip(found, lengths[name]):
            ids, mask = batch["input_ids"], batch["attention_mask"]
            assert ids.shape == mask.shape == (len(expected), expected.max())
            assert mask.sum(axis=1).tolist() == expected.tolist()
            assert ((ids >= material.FIRST_ID) == (mask == 1)).all()
            assert (ids[mask == 0] == 0).all() and ids.max() < 100
            assert set(batch["labels"]) <= {0, 1}
    masks = [batch["attention_mask"] for batch in batches["a"]]
    assert padding_share(masks) == pytest.approx(1 - 10 / 14)


def test_a_table_is_read_as_written(tmp_path):
    lengths = np.array([3, 1, 2])
    rows = read_table(material.write_table(tmp_path / "table.npz", 100, lengths))
    assert [len(ids) for ids in rows["input_ids"]] == [3, 1, 2]
    assert rows["attention_mask"][0] == [1, 1, 1]
    assert set(rows["label"]) <= {0, 1}


def test_a_byte_level_tokenizer_is_whole(tmp_path):
    from transformers import AutoTokenizer

    folder = material.write_byte_level_tokenizer(tmp_path, 5000)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert type(tokenizer).__name__.startswith("GPT2Tokenizer") and len(tokenizer) == 5000
    text = "word17 wordless é"
    ids = tokenizer(text).input_ids
    assert tokenizer.decode(ids) == text and len(ids) < len(text.encode())


def test_requests_begin_again_where_texts_end():
    assert shared_work._requests(["a", "b", "c"], 2, 2, 2) == [["c", "a"], ["b", "c"]]


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["DistilBERT-base", "BERT-base"])
def test_matrix_work_is_what_pytorch_counts(tmp_path, name):
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoConfig, AutoModel

    settings = material.SMALL_MODELS[name]
    config = AutoConfig.for_model(**settings, attn_implementation="eager")
    encoder = AutoModel.from_config(config)
    model = material.Model("", 100, 32, 64, layers=1)
    with FlopCounterMode(display=False) as counter:
        encoder(torch.ones(3, 16, dtype=torch.long))
    pooler = 2 * 3 * 32 * 32 if name == "BERT-base" else 0
    layer = counter.get_total_flops() - pooler
    counts = counter.get_flop_counts().items()
    projected = ("query", "key", "value", "q_lin", "k_lin", "v_lin")
    projection = sum(sum(c.values()) for module, c in counts if module.endswith(projected))
    # Of the last layer's 16 tokens, the first is needed.
    work = projection + (layer - projection) / 16
    assert model.matrix_flop(3, 16, training=False) == work
    assert dataclasses.replace(model, layers=2).matrix_flop(3, 16, training=False) == work + layer
    assert model.matrix_flop(3, 16, training=True) == 3 * work


def test_a_peer_that_pip_cannot_install_is_an_error_not_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(environments, "CACHE", tmp_path)
    monkeypatch.setattr(environments, "PEERS", {"nobody": (("no-such-thing==1",), {})})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    made = environments.environments(peers=True)
    assert made["nobody"].error == f"pip could not install it: see {tmp_path / 'nobody.log'}"
    assert "no-such-thing" in (tmp_path / "nobody.log").read_text()
    assert set(environments.environments(peers=False)) == {"tfhf", "machine"}


def results_of(*rows):
    machine = {
        "processor": "Abacus 3",
        "cores": 4,
        "memory_gb": 1.0,
        "system": "Linux 6",
        "python": "3.12.1",
        "instructions": ["avx2", "avx512_bf16"],
    }
    return {
        "date": "2026-01-02",
        "machine": machine,
        "threads": 2,
        "small": False,
        "rows": list(rows),
    }


def row_result(area, name, seconds, amounts, **facts):
    entry = {
        "error": None,
        "versions": {"numpy": "2.0"},
        "difference": None,
        "seconds": [seconds],
        "median": seconds,
        "ratio": {"min": 1.0, "median": 1.0, "max": 1.0},
        "facts": facts,
        "extra_mb": 660.0,
        "peak_mb": 1234.0,
    }
    return {
        "area": area,
        "name": name,
        "amounts": amounts,
        "steps": 1,
        "tolerance": None,
        "contestants": {"tfhf": entry},
    }


def test_the_report_stands_between_its_markers_and_names_the_machine(tmp_path):
    document = tmp_path / "performance.md"
    document.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    product = "matrix product, float32, 1 x 2 x 3"
    results = results_of(
        row_result("limits", product, 0.5, {"GFLOP": 50.0}),
        row_result("limits", "memory, copy", 0.5, {"GB": 10.0}),
        row_result("fit", "fit X, float32", 0.02, {"GFLOP": 1.5, "examples": 8}),
        row_result("input", "rows", 2.0, {"rows": 20_000}, padding=0.125),
        row_result("load", "load X", 1.0, {"MB": 440.0}, cached=0.25),
        row_result("generate", "generate X", 2.0, {"tokens": 64, "GB": 32.0}),
    )
    report.write_report(document, results)
    report.write_report(document, results)  # twice is as good as once
    text = document.read_text()
    assert text.startswith(f"before\n{report.BEGIN}") and text.endswith(f"{report.END}\nafter\n")
    assert text.count(report.BEGIN) == 1 and "old" not in text
    assert "Measured 2026-01-02 on Abacus 3, 2 threads of 4 cores, 1 GB of memory" in text
    assert "Python 3.12.1; instructions: avx2, avx512_bf16, no amx_bf16." in text
    assert "100 GFLOP/s in float32, 20.0 GB/s by copy" in text
    assert "| 75 GFLOP/s, 400 examples/s " in text and "| 75% " in text
    assert "| 20 ms" in text and "| 2 s" in text and "| 1,234" in text
    assert "10,000 rows/s, 12% padding" in text
    assert "440 MB/s, 25% of the file in the page cache" in text and "660 (1.50 x the file)" in text
    assert "| 32 tokens/s, 16 GB/s " in text and "| 80% " in text
    assert "- numpy 2.0" in text


def test_a_document_without_the_markers_is_refused(tmp_path):
    document = tmp_path / "x.md"
    document.write_text("nothing")
    with pytest.raises(ValueError, match="has no place for the results"):
        report.write_report(document, results_of())
    assert document.read_text() == "nothing"


@pytest.mark.slow
def test_the_whole_benchmark_in_small(tmp_path):
    """Every area, tfhf alone."""
    file = tmp_path / "results.json"
    command = [sys.executable, "-m", "benchmarks", "--small", "--rounds", "1", "--json", file]
    paths = f"{ROOT / 'tools'}:{ROOT}"
    ran = subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": paths, "TFHF_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    results = json.loads(file.read_text())
    from benchmarks.areas import AREAS

    assert {row["area"] for row in results["rows"]} == set(AREAS)
    for row in results["rows"]:
        for name, result in row["contestants"].items():
            assert result["error"] is None, (row["name"], name, result["error"])
            assert result["median"] > 0
            assert row["tolerance"] is None or result["difference"] <= row["tolerance"]
            if row["area"] in ("attention_memory", "longformer"):
                assert result["extra_mb"] >= 0
    document = tmp_path / "performance.md"
    document.write_text(f"{report.BEGIN}\n{report.END}\n")
    arguments = ["--report", document, file]
    subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        env=os.environ | {"PYTHONPATH": paths},
        check=True,
    )
    assert "### attention_memory" in document.read_text()
