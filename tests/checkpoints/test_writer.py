"""Writing safetensors files, against the safetensors library and huggingface_hub."""

import gc
import json
import weakref

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from huggingface_hub import split_state_dict_into_shards_factory

from tfhf.checkpoints.reader import open_checkpoint
from tfhf.checkpoints.safetensors_file import DTYPES
from tfhf.checkpoints.writer import TensorEntry, write_safetensors


def entries(arrays):
    return [
        TensorEntry(name, array.shape, array.dtype, lambda array=array: array)
        for name, array in arrays.items()
    ]


SHAPES = [(), (0,), (3,), (2, 3), (0, 2), (1, 2, 1, 3)]


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}, {"format": 'é"\n'}])
def test_the_file_is_the_librarys_byte_for_byte(tmp_path, random_array, metadata):
    arrays = {
        f"layer.{i}.{name}": random_array(dtype, shape)
        for name, dtype in DTYPES.items()
        if dtype.kind in "biufc" and not name.startswith(("F8", "BF"))
        for i, shape in enumerate(SHAPES)
    }
    arrays |= {
        "": np.ones(2),
        '名前\t"\\/\x7f\x1f': np.zeros(3),
        "\U0001d6fc": np.ones(1),
        "\uffff": np.ones(1),
    }
    write_safetensors(tmp_path, entries(arrays), metadata=metadata)
    expected_metadata = {"format": "pt"} if metadata is None else metadata or None
    expected = safetensors.numpy.save(arrays, expected_metadata)
    assert (tmp_path / "model.safetensors").read_bytes() == expected


@pytest.mark.oracle
def test_the_file_is_that_of_torch_byte_for_byte(tmp_path, random_array, to_torch):
    from safetensors.torch import save

    arrays = {
        f"{i}.{name}": random_array(dtype, shape)
        for name, dtype in DTYPES.items()
        for i, shape in enumerate(SHAPES)
    }
    write_safetensors(tmp_path, entries(arrays))
    expected = save({name: to_torch(array) for name, array in arrays.items()}, {"format": "pt"})
    assert (tmp_path / "model.safetensors").read_bytes() == expected


def test_no_tensors(tmp_path):
    write_safetensors(tmp_path, [])
    expected = safetensors.numpy.save({}, {"format": "pt"})
    assert (tmp_path / "model.safetensors").read_bytes() == expected


def test_other_memory_layouts(tmp_path):
    base = np.arange(24.0).reshape(4, 6)
    arrays = {"t": base.T, "s": base[::2, 1::3], "f": np.asfortranarray(base), "r": base[::-1]}
    arrays["b"] = np.broadcast_to(base[:1], (4, 6))
    write_safetensors(tmp_path, entries(arrays))
    for name, array in safetensors.numpy.load_file(tmp_path / "model.safetensors").items():
        np.testing.assert_array_equal(array, arrays[name])


@pytest.mark.parametrize("max_shard_size", [1, 100, 256, 1000, "1KB", "0.5KB"])
def test_shards_are_those_of_the_hub(tmp_path, max_shard_size):
    lengths = np.random.randint(0, 60, 25)
    arrays = {f"w.{i}": np.random.randn(length) for i, length in enumerate(lengths)}
    write_safetensors(tmp_path, entries(arrays), max_shard_size)
    split = split_state_dict_into_shards_factory(
        arrays,
        get_storage_size=lambda array: array.nbytes,
        filename_pattern="model{suffix}.safetensors",
        max_shard_size=max_shard_size,
    )
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["weight_map"] == split.tensor_to_filename
    assert index["metadata"] == {"total_size": sum(array.nbytes for array in arrays.values())}
    files = {path.name for path in tmp_path.iterdir()} - {"model.safetensors.index.json"}
    assert files == set(split.filename_to_tensors)
    for file, names in split.filename_to_tensors.items():
        content = safetensors.numpy.save({name: arrays[name] for name in names}, {"format": "pt"})
        assert (tmp_path / file).read_bytes() == content
    with open_checkpoint(tmp_path / "model.safetensors.index.json") as checkpoint:
        assert set(checkpoint) == set(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(checkpoint[name], array)


def test_a_checkpoint_can_be_written_as_it_was_read(tmp_path, random_array):
    arrays = {"a": random_array("float32", (3, 4)), "b": random_array(ml_dtypes.bfloat16, (5,))}
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    write_safetensors(first, entries(arrays))
    with open_checkpoint(first / "model.safetensors") as checkpoint:
        write_safetensors(second, checkpoint.entries.values())
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()


@pytest.mark.parametrize("max_shard_size", ["1GB", 100])
def test_one_tensor_is_in_memory_at_a_time(tmp_path, max_shard_size):
    alive, most, reads = weakref.WeakSet(), 0, 0

    class Tracked(np.ndarray):
        __hash__ = object.__hash__

    def read():
        nonlocal most, reads
        array = Tracked((10, 2))
        alive.add(array)
        most, reads = max(most, len(alive)), reads + 1
        return array

    gc.disable()  # References alone must do.
    try:
        tensors = [TensorEntry(f"w{i}", (10, 2), np.dtype(float), read) for i in range(20)]
        write_safetensors(tmp_path, tensors, max_shard_size)
    finally:
        gc.enable()
    assert reads == 20
    assert most == 1


@pytest.mark.parametrize(
    ("tensors", "arguments", "fault"),
    [
        ({"w": np.zeros(2, "complex128")}, {}, "tensor 'w' has dtype complex128, expected one of"),
        ({"w": np.zeros(2, ">f4")}, {}, "tensor 'w' has dtype >f4"),
        ({"w": np.zeros(2, "O")}, {}, "tensor 'w' has dtype object"),
        ({"w": np.zeros(2)}, {"max_shard_size": "5 parsecs"}, "max_shard_size is '5 parsecs'"),
        ({"w": np.zeros(2)}, {"max_shard_size": "GB"}, "max_shard_size is 'GB'"),
        ({"w": np.zeros(2)}, {"max_shard_size": 0}, "max_shard_size is 0"),
        ({"w": np.zeros(2)}, {"max_shard_size": None}, "max_shard_size is None"),
    ],
)
def test_what_cannot_be_written_is_named(tmp_path, tensors, arguments, fault):
    with pytest.raises(ValueError, match=fault):
        write_safetensors(tmp_path, entries(tensors), **arguments)
    assert not list(tmp_path.iterdir())


def test_two_tensors_of_one_name(tmp_path):
    with pytest.raises(ValueError, match="two tensors named 'w'"):
        write_safetensors(tmp_path, entries({"w": np.zeros(2)}) * 2)


@pytest.mark.parametrize("array", [np.zeros((3, 2)), np.zeros((2, 3), "float32"), np.zeros(6)])
def test_a_tensor_that_reads_as_another(tmp_path, array):
    entry = TensorEntry("w", (2, 3), np.dtype(float), lambda: array)
    with pytest.raises(ValueError, match=r"'w' reads as .*, expected float64 \(2, 3\)"):
        write_safetensors(tmp_path, [entry])
