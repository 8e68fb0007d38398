"""What tfhf imports, and what it does not."""

import importlib
import json
import subprocess
import sys
import textwrap

import pytest
from transformers import BertConfig, BertTokenizer

import tfhf
from tfhf.models.names import MODELS

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "moving", "film", "dull"]

USE = '''
    import json
    import sys

    # Two that tfhf never needs, and those that docs/tpu.md does not install.
    ABSENT = "torch tf_keras matplotlib keras_hub gradio sacremoses tensorflow_serving"

    class Without:
        """A finder that does not see some packages: they are as if they were not installed."""

        def __init__(self, finder):
            self.finder = finder

        def __getattr__(self, name):
            return getattr(self.finder, name)

        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] not in ABSENT.split():
                return self.finder.find_spec(name, path, target)

    sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]

    import numpy
    import tfhf
    import tfhf.cli.training_tasks

    tfhf.Trainer, tfhf.make_strategy, tfhf.read_tfrecords

    folder, target = sys.argv[1:]
    tokenizer = tfhf.AutoTokenizer.from_pretrained(folder)
    model = tfhf.TFAutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    tokens = tokenizer(["a moving film", "dull"], padding=True, return_tensors="tf")
    collate = tfhf.DataCollatorWithPadding(tokenizer)
    batch = collate([{"input_ids": [2, 5, 3], "label": 0}, {"input_ids": [2, 3], "label": 1}])
    model.compile("adam")
    model.fit(tokens, numpy.array([1, 0]), verbose=0)
    model.fit(batch, verbose=0)
    model.predict(tokens, verbose=0)
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    print(json.dumps(sorted(sys.modules)))
'''


def python(program, *arguments):
    """Run a program in a Python of its own and return what it printed last, as JSON."""
    command = [sys.executable, "-c", textwrap.dedent(program), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def checkpoint(tmp_path):
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=12,
        max_position_embeddings=8,
    )
    tfhf.TFBertModel(config).save_pretrained(tmp_path)
    vocabulary = {token: index for index, token in enumerate(VOCABULARY)}
    BertTokenizer(vocab=vocabulary).save_pretrained(tmp_path)
    return tmp_path


def test_no_torch_no_keras_2_no_transformers_model_in_use(checkpoint, tmp_path):
    modules = python(USE, checkpoint, tmp_path / "saved")
    assert {"tensorflow", "keras", "transformers"} <= set(modules)
    packages = {name.partition(".")[0] for name in modules}
    assert not packages & {"torch", "tf_keras"}
    models = [name for name in modules if name.startswith("transformers.models.")]
    # A table of names, of which it imports none.
    tables = {"transformers.models.auto.modeling_auto"}
    assert not [name for name in models if ".modeling_" in name and name not in tables]
    assert (tmp_path / "saved" / "model.safetensors").exists()


def test_import_is_quick_and_light():
    program = """
        import json
        import sys
        import time
        start = time.perf_counter()
        import tfhf
        seconds = time.perf_counter() - start
        dir(tfhf), tfhf.__version__
        heavy = {"tensorflow", "keras", "transformers", "numpy", "datasets", "torch"}
        print(json.dumps([seconds, sorted(heavy & set(sys.modules))]))
    """
    runs = [python(program) for _ in range(3)]
    assert all(heavy == [] for _, heavy in runs)
    assert min(seconds for seconds, _ in runs) < 0.3


@pytest.mark.parametrize("name", tfhf.__all__)
def test_every_public_name_is_there(name):
    assert getattr(tfhf, name).__name__ == name
    assert name in dir(tfhf)


def test_names_of_models_are_not_stale():
    """Every public model class of a model file is in the list, and nothing else is."""
    for module, names in MODELS.items():
        file = importlib.import_module(f"tfhf.models.{module}")
        models = {
            name
            for name, value in vars(file).items()
            if isinstance(value, type)
            and issubclass(value, tfhf.TFPreTrainedModel)
            and value.__module__ == file.__name__
        }
        assert models == set(names), module


def test_unknown_names():
    with pytest.raises(AttributeError, match="module 'tfhf' has no attribute 'TFBertModle'"):
        tfhf.TFBertModle  # noqa: B018


def test_star():
    namespace = {}
    exec("from tfhf import *", namespace)
    assert set(tfhf.__all__) <= set(namespace)
