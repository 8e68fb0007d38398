"""The examples in docstrings run and give what they say."""

import doctest
import importlib
import pkgutil

import pytest

import tfhf


def names_of_modules():
    yield "tfhf"
    yield from sorted(module.name for module in pkgutil.walk_packages(tfhf.__path__, "tfhf."))


@pytest.mark.parametrize("name", [*names_of_modules()])
def test_examples(name, tmp_path, monkeypatch):
    """Files that examples write go to a folder of their own."""
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    shown = []
    runner = doctest.DocTestRunner(optionflags=options)
    for example in doctest.DocTestFinder().find(module, extraglobs={"tfhf": tfhf}):
        runner.run(example, out=shown.append)
    assert not runner.summarize(verbose=False).failed, "".join(shown)


def test_there_are_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    modules = [importlib.import_module(name) for name in ("tfhf", "tfhf.modeling", "tfhf.losses")]
    for module in modules:
        assert any(test.examples for test in finder.find(module)), module
