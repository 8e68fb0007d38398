"""What the tests of all tasks share: the golden files that tools/pipeline_fixtures wrote."""

import copy
import functools
import json
import math
from pathlib import Path

import pytest

import tfhf

FIXTURES = Path(__file__).parents[1] / "fixtures/pipelines"


def golden(task):
    """Return the cases of a task."""
    return json.loads((FIXTURES / task / "golden.json").read_text())


def parameters(task, slow=lambda case: False):
    """Return the cases of a task for ``pytest.mark.parametrize``, those marked that are slow."""
    return [
        pytest.param(
            case,
            id=f"{i}-{case['checkpoint']}",
            marks=[pytest.mark.slow] if slow(case) else [],
        )
        for i, case in enumerate(golden(task))
    ]


@functools.cache
def load(task, checkpoint):
    """Return the model and the tokenizer of a checkpoint."""
    made = tfhf.pipeline(task, str(FIXTURES / task / checkpoint))
    return made.model, made.tokenizer


@functools.cache
def _make(task, checkpoint, options):
    model, tokenizer = load(task, checkpoint)
    return tfhf.pipeline(model=model, tokenizer=tokenizer, **{"task": task} | json.loads(options))


def make(*task_and_checkpoint, **options):
    """Return a pipeline with options; those with the same ones are one."""
    return _make(*task_and_checkpoint, json.dumps(options))


def answer(task, case, **call):
    """Return what the pipeline of a case answers."""
    pipe = make(task, case["checkpoint"], **case["options"])
    before = copy.deepcopy(pipe.model.config)
    for name, value in case["config"].items():
        setattr(pipe.model.config, name, value)
    try:
        inputs, call = copy.deepcopy((case["inputs"], case["call"] | call))
        by_name = task == "question-answering" and isinstance(inputs, dict)
        return pipe(**inputs, **call) if by_name else pipe(inputs, **call)
    finally:
        pipe.model.config.__dict__.update(before.__dict__)


def groups(task):
    """Return cases of one input each that differ in nothing else: lists of two or more."""
    found = {}
    for case in golden(task):
        inputs = case["inputs"]
        parts = inputs.values() if isinstance(inputs, dict) else [inputs]
        if all(isinstance(part, str) for part in parts):
            key = json.dumps([case[name] for name in ("checkpoint", "config", "options", "call")])
            found.setdefault(key, []).append(case)
    return [cases for cases in found.values() if len(cases) > 1]


def alone(task, case):
    """Return what a list has in the place of a single input."""
    one = case["result"]
    if task == "text-classification":
        return one[0] if isinstance(case["inputs"], str) and "top_k" not in case["call"] else one
    if task in ("summarization", "translation"):
        return one[0] if len(one) == 1 else one
    return one


def same(ours, theirs, tolerance=1e-5, where="result"):
    """Require equal texts, integers and shapes, and numbers that are as good as equal."""
    assert type(ours) is type(theirs), f"{where}: {ours!r} is not {theirs!r}"
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs), where
        for name in theirs:
            same(ours[name], theirs[name], tolerance, f"{where}[{name!r}]")
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs), f"{where}: {ours!r} is not {theirs!r}"
        for i, (our, their) in enumerate(zip(ours, theirs)):
            same(our, their, tolerance, f"{where}[{i}]")
    elif isinstance(theirs, float):
        close = math.isclose(ours, theirs, rel_tol=tolerance, abs_tol=tolerance)
        assert close, f"{where}: {ours} is not {theirs}"
    else:
        assert ours == theirs, f"{where}: {ours!r} is not {theirs!r}"
