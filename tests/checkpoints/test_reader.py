"""Opening checkpoints of every kind, and indexes that lie."""

import json
import os
import pickle
import subprocess
import sys
import zipfile

import h5py
import numpy as np
import pytest
import safetensors.numpy

from tfhf.checkpoints.checkpoint import CorruptCheckpointError, UnsafeCheckpointError
from tfhf.checkpoints.reader import open_checkpoint, read_index

ONE, TWO = np.arange(3.0), np.ones((2, 2), "int8")


def write_index(folder, weight_map, name="model.safetensors.index.json"):
    path = folder / name
    path.write_text(json.dumps({"metadata": {"total_size": 28}, "weight_map": weight_map}))
    return path


@pytest.fixture
def sharded(tmp_path):
    """A folder with two shards and their index."""
    safetensors.numpy.save_file({"one": ONE}, tmp_path / "model-00001-of-00002.safetensors")
    safetensors.numpy.save_file({"two": TWO}, tmp_path / "model-00002-of-00002.safetensors")
    write_index(
        tmp_path,
        {"one": "model-00001-of-00002.safetensors", "two": "model-00002-of-00002.safetensors"},
    )
    return tmp_path


def test_an_index_of_safetensors(sharded):
    with open_checkpoint(sharded / "model.safetensors.index.json") as checkpoint:
        assert list(checkpoint) == ["one", "two"]
        assert checkpoint.shape("two") == (2, 2)
        assert checkpoint.dtype("two") == np.int8
        np.testing.assert_array_equal(checkpoint["one"], ONE)
        np.testing.assert_array_equal(checkpoint["two"], TWO)
        assert "three" not in checkpoint
        with pytest.raises(KeyError, match="three"):
            checkpoint["three"]


@pytest.mark.oracle
def test_an_index_of_pytorch_files(tmp_path):
    import torch

    torch.save({"a.LayerNorm.gamma": torch.ones(2)}, tmp_path / "pytorch_model-00001-of-00002.bin")
    torch.save({"b": torch.zeros(3)}, tmp_path / "pytorch_model-00002-of-00002.bin")
    index = write_index(
        tmp_path,
        {
            "a.LayerNorm.gamma": "pytorch_model-00001-of-00002.bin",
            "b": "pytorch_model-00002-of-00002.bin",
        },
        "pytorch_model.bin.index.json",
    )
    with open_checkpoint(str(index)) as checkpoint:
        assert list(checkpoint) == ["a.LayerNorm.weight", "b"]
        assert checkpoint["a.LayerNorm.weight"].tolist() == [1, 1]


def test_old_names_of_layer_norms(tmp_path):
    names = {
        "LayerNorm.gamma": "LayerNorm.weight",
        "bert.embeddings.LayerNorm.beta": "bert.embeddings.LayerNorm.bias",
        "layer_scale.gamma": "layer_scale.gamma",
        "MyLayerNorm.gamma": "MyLayerNorm.gamma",
        "LayerNorm.gamma.x": "LayerNorm.gamma.x",
        "beta": "beta",
    }
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file({name: np.zeros(1) for name in names}, path)
    with open_checkpoint(path) as checkpoint:
        assert set(checkpoint) == set(names.values())


def test_the_old_and_the_new_name_of_one_tensor(tmp_path):
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file({"LayerNorm.gamma": ONE, "LayerNorm.weight": ONE}, path)
    with pytest.raises(CorruptCheckpointError, match=r"more than one tensor 'LayerNorm\.weight'"):
        open_checkpoint(path)


@pytest.mark.parametrize("name", ["weights.npz", "model", "model.json", "model.safetensors.index"])
def test_an_unknown_kind_of_file(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"path is .*expected a file ending in \.safetensors"):
        open_checkpoint(tmp_path / name)


@pytest.mark.parametrize(
    "file",
    [
        "../outside.safetensors",
        "/etc/passwd",
        "sub/model.safetensors",
        "..",
        ".",
        "",
        "..\\outside.safetensors",
        "C:outside.safetensors",
        "model.safetensors\0",
    ],
)
def test_an_index_that_points_elsewhere(tmp_path, file):
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    for place in (tmp_path / "outside.safetensors", folder / "sub" / "model.safetensors"):
        safetensors.numpy.save_file({"one": ONE}, place)
    index = write_index(folder, {"one": file})
    with pytest.raises(UnsafeCheckpointError, match="no plain file name") as caught:
        open_checkpoint(index)
    assert repr(file) in str(caught.value)
    assert str(index) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", "is no JSON"),
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "has no weight_map"),
        ("{}", "has no weight_map"),
        ('{"weight_map": []}', "has no weight_map"),
        ('{"weight_map": {}}', "has no weight_map"),
        ('{"weight_map": {"one": 3}}', "no file name for 'one'"),
        ('{"weight_map": {"one": null}}', "no file name for 'one'"),
    ],
)
def test_an_index_that_is_none(tmp_path, content, fault):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(content)
    for read in (open_checkpoint, read_index):
        with pytest.raises(CorruptCheckpointError, match=fault):
            read(str(index))


def test_an_index_that_is_no_text(tmp_path):
    index = tmp_path / "model.safetensors.index.json"
    index.write_bytes(b"\xff\xfe\0")
    with pytest.raises(CorruptCheckpointError, match="is no JSON"):
        open_checkpoint(index)


def test_a_missing_shard_is_named(sharded):
    (sharded / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"lists model-00002-of-00002\.safetensors"):
        open_checkpoint(sharded / "model.safetensors.index.json")


def test_a_damaged_shard_is_named(sharded):
    shard = sharded / "model-00002-of-00002.safetensors"
    os.truncate(shard, shard.stat().st_size - 1)
    with pytest.raises(CorruptCheckpointError, match=r"model-00002-of-00002\.safetensors"):
        open_checkpoint(sharded / "model.safetensors.index.json")


def test_a_tensor_that_its_shard_lacks_is_named(sharded):
    index = write_index(sharded, {"three": "model-00001-of-00002.safetensors"})
    with pytest.raises(CorruptCheckpointError, match="says that 'three' is in model-00001"):
        open_checkpoint(index)


def test_an_index_of_itself(tmp_path):
    index = write_index(tmp_path, {"one": "model.safetensors.index.json"})
    with pytest.raises(ValueError, match="expected a file ending in"):
        open_checkpoint(index)


def test_links_out_of_the_folder(sharded, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "secret.safetensors"
    shard = sharded / "model-00002-of-00002.safetensors"
    shard.rename(outside)
    index = sharded / "model.safetensors.index.json"
    for target in (outside, os.path.relpath(outside, sharded)):
        shard.unlink(missing_ok=True)
        shard.symlink_to(target)
        with pytest.raises(UnsafeCheckpointError, match="is a link out of its folder"):
            open_checkpoint(index)
    # By way of a second link, too.
    (sharded / "inside").symlink_to(outside)
    shard.unlink()
    shard.symlink_to("inside")
    with pytest.raises(UnsafeCheckpointError, match="is a link out of its folder"):
        open_checkpoint(index)


def test_links_within_the_folder(sharded):
    shard = sharded / "model-00002-of-00002.safetensors"
    shard.rename(sharded / "blob")
    shard.symlink_to("blob")
    with open_checkpoint(sharded / "model.safetensors.index.json") as checkpoint:
        np.testing.assert_array_equal(checkpoint["two"], TWO)


def in_a_hub_cache(folder, root, subfolder="", shared=False):
    """Rebuild a folder as the Hub's cache has it: links into a folder of blobs."""
    repository = root / "models--org--name"
    snapshot = repository / "snapshots" / ("0" * 40) / subfolder
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for file in folder.iterdir():
        blob = repository / "blobs" / f"hash-of-{file.name}"
        if shared:  # Files that several repositories have: one more link.
            (root / "blobs").mkdir(exist_ok=True)
            file.rename(root / "blobs" / file.name)
            blob.symlink_to(os.path.join("..", "..", "blobs", file.name))
        else:
            file.rename(blob)
        (snapshot / file.name).symlink_to(os.path.relpath(blob, snapshot))
    return snapshot


@pytest.mark.parametrize("subfolder", ["", "onnx/tf"])
@pytest.mark.parametrize("shared", [False, True])
def test_links_in_the_cache_of_the_hub(sharded, tmp_path_factory, subfolder, shared):
    snapshot = in_a_hub_cache(sharded, tmp_path_factory.mktemp("cache"), subfolder, shared)
    with open_checkpoint(snapshot / "model.safetensors.index.json") as checkpoint:
        np.testing.assert_array_equal(checkpoint["two"], TWO)


def test_a_cache_reached_through_a_link(sharded, tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    (root / "real").mkdir()
    (root / "cache").symlink_to("real")
    snapshot = in_a_hub_cache(sharded, root / "cache")
    with open_checkpoint(snapshot / "model.safetensors.index.json") as checkpoint:
        assert len(checkpoint) == 2


def test_links_out_of_the_cache_of_the_hub(sharded, tmp_path_factory):
    root = tmp_path_factory.mktemp("cache")
    snapshot = in_a_hub_cache(sharded, root)
    outside = root / "secret.safetensors"
    safetensors.numpy.save_file({"two": TWO}, outside)
    shard = snapshot / "model-00002-of-00002.safetensors"
    for target in (outside, "../../blobs/../../secret.safetensors"):
        shard.unlink()
        shard.symlink_to(target)
        with pytest.raises(UnsafeCheckpointError, match="is a link out of its folder"):
            open_checkpoint(snapshot / "model.safetensors.index.json")


def test_a_named_pipe_is_no_shard(sharded):
    shard = sharded / "model-00002-of-00002.safetensors"
    shard.unlink()
    os.mkfifo(shard)
    with pytest.raises(FileNotFoundError, match="model-00002"):
        open_checkpoint(sharded / "model.safetensors.index.json")


def test_closing_an_index_closes_its_files(tmp_path):
    with h5py.File(tmp_path / "tf_model-00001-of-00001.h5", "w") as file:
        file["a/kernel:0"] = np.ones((1, 2))
        file.attrs["layer_names"] = [b"a/kernel:0"]
    index = write_index(
        tmp_path, {"model/a/kernel:0": "tf_model-00001-of-00001.h5"}, "tf_model.h5.index.json"
    )
    checkpoint = open_checkpoint(index)
    entry = checkpoint.entries["a.weight"]
    assert entry.read().shape == (2, 1)
    checkpoint.close()
    with pytest.raises(ValueError):  # Of h5py: the dataset is closed.
        entry.read()
    with pytest.raises(ValueError, match="is closed"):
        len(checkpoint)


def test_reading_needs_neither_tensorflow_nor_torch(tmp_path):
    with zipfile.ZipFile(tmp_path / "pytorch_model.bin", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}, protocol=2))
    program = (
        "import sys; from tfhf.checkpoints import atomic, locate, reader, writer\n"
        "reader.open_checkpoint(sys.argv[1]).close()\n"
        "print(sorted({'tensorflow', 'keras', 'torch', 'transformers'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "pytorch_model.bin"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "[]\n"
