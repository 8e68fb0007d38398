"""Write tests/fixtures/pipelines: what the TensorFlow pipelines of Transformers 4.57.6 answer.

    python tools/pipeline_fixtures [TASK ...]

runs in an environment of its own, for tfhf's has no Keras 2:
``pip install transformers==4.57.6 tf_keras tensorflow jinja2``. Each folder is a task: tiny
checkpoints with random weights, and golden.json with inputs, options and results.
"""

import copy
import json
import os
import shutil
import sys

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import transformers
from material import ROOT
from tasks import TASKS

FIXTURES = ROOT / "tests/fixtures/pipelines"


def plain(value, digits: int = 6):
    """Return JSON's types, numbers rounded to some digits."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "numpy"):
        return plain(value.numpy().tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value


def write(task: str) -> None:
    """Write the checkpoints and the results of a task."""
    folder = FIXTURES / task
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("bert", "roberta", "gpt2", "prefixed", "t5", "bart"):
        (folder / name).mkdir(parents=True)
    models, cases = TASKS[task](folder)
    found = []
    for name, config, made, inputs, call in cases:
        model, tokenizer = models[name]
        before = {key: getattr(model.config, key) for key in config}
        specific = copy.deepcopy(model.config.task_specific_params)  # the pipeline takes from it
        for key, value in config.items():
            setattr(model.config, key, value)
        given = json.loads(json.dumps([made, inputs, call]))  # pipelines change what they get
        options = {"task": task, "tokenizer": tokenizer, "dtype": None, "device": -1} | given[0]
        pipe = transformers.pipeline(model=model, framework="tf", **options)
        if task == "question-answering" and isinstance(inputs, dict):
            result = pipe(**given[1], **given[2])
        else:
            result = pipe(given[1], **given[2])
        for key, value in (before | {"task_specific_params": specific}).items():
            setattr(model.config, key, value)
        found.append(
            {"checkpoint": name, "config": config, "options": made, "inputs": inputs}
            | {"call": call, "result": plain(result)}
        )
    for unused in folder.iterdir():
        if unused.is_dir() and not any(unused.iterdir()):
            unused.rmdir()
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in found)
    (folder / "golden.json").write_text(f"[\n{lines}\n]\n")
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(f"{task}: {len(found)} cases, {size / 1024:.0f} KiB")


if __name__ == "__main__":
    for task in sys.argv[1:] or TASKS:
        write(task)


if __name__ == "__main__":
    for task in sys.argv[1:] or TASKS:
        write(task)
