"""``tfhf convert``: what it writes is what PyTorch and the safetensors library know."""

import errno
import os
import shutil
import zipfile
from pathlib import Path

import h5py
import pytest
from safetensors.numpy import load_file

from tfhf.checkpoints import writer

FIXTURES = Path(__file__).parents[1] / "fixtures"
H5 = sorted(path.name for path in (FIXTURES / "h5").iterdir())
NEW = "model.safetensors"


@pytest.fixture
def old(tmp_path):
    """A folder of checkpoints that Transformers 4 wrote, each with a tokenizer."""
    folder = tmp_path / "old"
    shutil.copytree(FIXTURES / "h5", folder)
    for name in H5:
        (folder / name / "tokenizer.json").write_text("{}")
    return folder


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def outcomes(done):
    """Return the last word of each line of the table, without its first."""
    return [line.split()[-1] for line in done.stdout.splitlines()[1:]]


def assert_same(ours, theirs):
    """Same names and bits; TFBertModel called its tensors as a model with a head does."""
    if not set(ours) & set(theirs):
        ours = {name.removeprefix("bert."): value for name, value in ours.items()}
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        assert ours[name].dtype == value.dtype and ours[name].shape == value.shape, name
        assert ours[name].tobytes() == value.tobytes(), name


def test_h5_in_bulk(old, tfhf_command):
    before = {name: content(old / name) for name in H5}
    done = tfhf_command("convert", old)
    assert done.exit_code == 0, done.stderr
    assert outcomes(done) == ["converted"] * len(H5)
    for name in H5:
        assert_same(load_file(old / name / NEW), load_file(FIXTURES / name / NEW))
        after = content(old / name)
        assert b'"__metadata__":{"format":"pt"}' in after.pop(NEW)[:60]
        assert after == before[name]  # the old weights, configuration and tokenizer


@pytest.mark.oracle
@pytest.mark.parametrize("name", H5)
def test_pytorch_loads_what_was_h5(name, old, tfhf_command):
    import torch
    import transformers

    assert tfhf_command("convert", old / name / "tf_model.h5").exit_code == 0
    model_class = getattr(transformers, name)
    model, info = model_class.from_pretrained(old / name, output_loading_info=True)
    assert not any(info.values()), info
    expected = model_class.from_pretrained(FIXTURES / name).state_dict()
    for key, value in model.state_dict().items():
        assert torch.equal(value, expected[key]), key


@pytest.mark.oracle
@pytest.mark.parametrize("shards", [False, True], ids=["one file", "shards"])
def test_pytorch_model_bin(shards, tmp_path, tfhf_command, random_state):
    import torch

    if shards:
        weight_map = {}
        for i, (name, value) in enumerate(random_state.items()):
            file = f"pytorch_model-{i + 1:05}-of-{len(random_state):05}.bin"
            torch.save({name: value}, tmp_path / file)
            weight_map[name] = file
        index = f'{{"weight_map": {weight_map}}}'.replace("'", '"')
        (tmp_path / "pytorch_model.bin.index.json").write_text(index)
    else:
        torch.save(random_state, tmp_path / "pytorch_model.bin")
    done = tfhf_command("convert", tmp_path, "--max-shard-size", "4KB" if shards else "1GB")
    assert done.exit_code == 0 and outcomes(done) == ["converted"], done.stdout
    assert (tmp_path / f"{NEW}.index.json").exists() == shards

    from safetensors.torch import load_file as load_torch

    files = list(tmp_path.glob("*.safetensors"))
    assert len(files) == (3 if shards else 1)
    ours = {name: value for file in files for name, value in load_torch(file).items()}
    assert set(ours) == set(random_state)
    for name, value in random_state.items():
        assert ours[name].dtype == value.dtype and ours[name].shape == value.shape
        assert ours[name].contiguous().view(torch.uint8).equal(value.contiguous().view(torch.uint8))


@pytest.fixture
def random_state():
    """Tensors of several kinds; one is a view whose rows are not in a row."""
    import torch

    return {
        "whole": torch.randn(10, 90),
        "turned": torch.randn(7, 120).t(),
        "half": torch.randn(50, 20).to(torch.bfloat16),
        "ids": torch.arange(9)[None],
        "mask": torch.tensor([[True], [False]]),
    }


def test_what_is_converted_is_skipped(old, tfhf_command):
    assert tfhf_command("convert", old / H5[0]).exit_code == 0
    (old / H5[1] / f"{NEW}.index.json").write_text("{}")
    before = content(old / H5[0])
    done = tfhf_command("convert", old, old / H5[2])
    assert done.exit_code == 0
    assert outcomes(done) == ["skipped"] * 2 + ["converted"] * (len(H5) - 2)
    assert content(old / H5[0]) == before
    assert not (old / H5[1] / NEW).exists()


def test_a_broken_and_an_evil_one_among_good_ones(old, tfhf_command):
    weights = old / H5[1] / "tf_model.h5"
    weights.write_bytes(weights.read_bytes()[:-1000])
    shutil.rmtree(old / H5[2])
    (old / H5[2]).mkdir()
    with zipfile.ZipFile(old / H5[2] / "pytorch_model.bin", "w") as file:
        file.writestr("archive/data.pkl", b"cos\nsystem\n(S'touch evil'\ntR.")
    before = [content(old / name) for name in H5[1:3]]
    done = tfhf_command("convert", old)
    assert done.exit_code == 1
    others = len(H5) - 3
    assert outcomes(done) == ["converted", "failed", "failed", *["converted"] * others]
    first, second = done.stderr.splitlines()
    assert first.startswith(f"tfhf: {weights}: ")
    assert second.startswith(f"tfhf: {old / H5[2] / 'pytorch_model.bin'}: ")
    assert "os.system" in second
    assert [NEW in content(old / name) for name in H5] == [True, False, False, *[True] * others]
    assert [content(old / name) for name in H5[1:3]] == before
    assert not Path("evil").exists()


def test_a_full_disk_changes_nothing(old, tfhf_command, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = content(old / H5[0])
    with monkeypatch.context() as patch:
        patch.setattr(writer, "_bytes", full)
        done = tfhf_command("convert", old / H5[0])
    assert done.exit_code == 1 and "No space left" in done.stderr
    assert content(old / H5[0]) == before and not list(old.glob(".*"))
    assert tfhf_command("convert", old / H5[0]).exit_code == 0


@pytest.mark.parametrize("place", [-1, 9])
def test_a_flipped_bit_is_seen(place, old, tfhf_command, monkeypatch):
    """In the last tensor, and in the header, where a name changes."""
    write = writer.write_safetensors

    def flip(folder, *arguments):
        write(folder, *arguments)
        data = bytearray((folder / NEW).read_bytes())
        place_of_name = data.index(b"bias")
        data[place if place < 0 else place_of_name] ^= 1
        (folder / NEW).write_bytes(data)

    monkeypatch.setattr(writer, "write_safetensors", flip)
    done = tfhf_command("convert", old / H5[0])
    assert done.exit_code == 1 and outcomes(done) == ["failed"]
    assert not (old / H5[0] / NEW).exists()


def test_the_folder_that_one_is_in(old, tfhf_command, monkeypatch):
    monkeypatch.chdir(old / H5[0])
    inode = os.stat(".").st_ino
    assert tfhf_command("convert", ".").exit_code == 0
    assert NEW in os.listdir(".") and os.stat(old / H5[0]).st_ino == inode


def test_a_checkpoint_in_a_checkpoint(old, tfhf_command):
    shutil.move(old / H5[1], old / H5[0] / "checkpoint-500")
    done = tfhf_command("convert", old / H5[0])
    assert outcomes(done) == ["converted"] * 2
    for folder, name in ((old / H5[0], H5[0]), (old / H5[0] / "checkpoint-500", H5[1])):
        assert_same(load_file(folder / NEW), load_file(FIXTURES / name / NEW))


def test_weights_without_numbers(tmp_path, tfhf_command):
    with h5py.File(tmp_path / "tf_model.h5", "w") as file:
        file.attrs["layer_names"] = [b"head"]
    assert tfhf_command("convert", tmp_path).exit_code == 0
    assert load_file(tmp_path / NEW) == {}


def test_nothing_to_convert(tmp_path, tfhf_command):
    done = tfhf_command("convert", tmp_path)
    assert done.exit_code == 1 and done.stderr.startswith("tfhf: nothing there has one of")


def test_a_shard_alone_is_refused(tmp_path, tfhf_command):
    shard = tmp_path / "pytorch_model-00001-of-00002.bin"
    shard.touch()
    done = tfhf_command("convert", shard)
    assert done.exit_code == 2 and "must be a folder or one of" in done.stderr
