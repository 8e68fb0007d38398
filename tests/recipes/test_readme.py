import re
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def test_the_example_runs(minilm_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(.*?)```", README.read_text(), re.S).group(1)
    name = '"sentence-transformers/all-MiniLM-L6-v2"'
    assert name in code
    exec(code.replace(name, repr(str(minilm_folder))), {})
    assert (tmp_path / "my-model/model.safetensors").is_file()
    assert (tmp_path / "saved_models/my-model/1/saved_model.pb").is_file()
