"""serving/load_saved_model.c from Python: build it, run it on versions, read what it prints."""

import os
import subprocess
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from tfhf.serving import op_libraries

SOURCE = Path(__file__).parent / "serving/load_saved_model.c"


def build_program(path):
    """Build the program against the libraries of the installed TensorFlow."""
    tensorflow = Path(find_spec("tensorflow").origin).parent
    build = ["gcc", "-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-o", path]
    build += [SOURCE, f"-I{tensorflow}/include"]
    build += [f"-L{tensorflow}", "-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2"]
    subprocess.run([*build, f"-Wl,-rpath,{tensorflow}"], check=True, timeout=300)
    return SavedModelProgram(path)


class SavedModelProgram:
    """Runs load_saved_model.c on version folders and reads what it prints."""

    def __init__(self, path):
        self.path = path

    def run(self, saved_model, *arguments, stdin=""):
        environment = os.environ | {"TFHF_OP_LIBRARIES": ":".join(op_libraries(saved_model))}
        return subprocess.run(
            [self.path, *arguments],
            input=stdin,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def classify(self, saved_model, texts):
        """Return (label, score) for each text."""
        done = self.run(saved_model, saved_model, *texts)
        assert done.returncode == 0, done.stderr
        lines = [line.split("\t") for line in done.stdout.splitlines()]
        return [(label, float(score)) for label, score, _ in lines]

    def tokens(self, saved_model, rows):
        """Return the outputs of the `tokens` signature, by name."""
        stdin = "".join(" ".join(map(str, row)) + "\n" for row in rows)
        done = self.run(saved_model, "--ids", saved_model, stdin=stdin)
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        outputs = {}
        for header, values in zip(lines[::2], lines[1::2], strict=True):
            name, dtype, *shape = header.split()
            outputs[name] = np.array(values.split(), dtype).reshape([int(size) for size in shape])
        return outputs
