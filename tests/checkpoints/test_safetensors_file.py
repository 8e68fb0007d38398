"""Reading safetensors files, against the safetensors library and against damage."""

import json
import os
import random
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from tfhf.checkpoints.checkpoint import CorruptCheckpointError
from tfhf.checkpoints.safetensors_file import DTYPES, MAX_HEADER_SIZE, open_safetensors

SHAPES = [(), (1,), (0,), (7,), (0, 3), (3, 0, 2), (2, 3), (1, 1, 1), (2, 1, 3, 2, 1)]


def file_bytes(header, data=b""):
    """A file of this header: a dict, or the bytes themselves."""
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(encoded).to_bytes(8, "little") + encoded + data


def test_every_dtype_and_shape_is_what_the_library_wrote(tmp_path, random_array, assert_same):
    arrays = {
        f"{name}.{i}": random_array(dtype, shape)
        for name, dtype in DTYPES.items()
        if dtype.kind in "biufc" and not name.startswith(("F8", "BF"))
        for i, shape in enumerate(SHAPES)
    }
    arrays |= {"": np.ones(2), '名前.é\n"': np.zeros(3, "int8")}
    safetensors.numpy.save_file(arrays, tmp_path / "model.safetensors", {"format": "pt"})
    with open_safetensors(str(tmp_path / "model.safetensors")) as checkpoint:
        assert set(checkpoint) == set(arrays)
        assert len(checkpoint) == len(arrays)
        for name, array in arrays.items():
            assert checkpoint.shape(name) == array.shape
            assert checkpoint.dtype(name) == array.dtype
            assert_same(checkpoint[name], array)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_released_pages_leave_memory_and_come_back(tmp_path):
    array = np.arange(10 << 20, dtype="int32")
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file({"small": array[:3], "large": array}, path)

    def mapped_memory():
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssFile"))

    with open_safetensors(str(path)) as checkpoint:
        values = checkpoint["large"]
        before = mapped_memory()
        np.testing.assert_array_equal(values, array)
        assert mapped_memory() - before > 0.9 * array.nbytes
        checkpoint.entries["large"].release()
        assert mapped_memory() - before < 0.1 * array.nbytes
        checkpoint.entries["small"].release()
    np.testing.assert_array_equal(values, array)


@pytest.mark.oracle
@pytest.mark.parametrize("shape", SHAPES)
def test_half_and_quarter_floats_are_what_torch_wrote(
    tmp_path, shape, random_array, assert_same, to_torch
):
    import torch
    from safetensors.torch import save_file

    names = ["bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"]
    names += ["float8_e8m0fnu", "float16", "complex64", "uint64"]
    arrays = {name: random_array(getattr(ml_dtypes, name, name), shape) for name in names}
    tensors = {name: to_torch(array) for name, array in arrays.items()}
    save_file(tensors, tmp_path / "model.safetensors")
    with open_safetensors(str(tmp_path / "model.safetensors")) as checkpoint:
        for name, array in arrays.items():
            assert_same(checkpoint[name], array)
            if shape:
                floats = checkpoint[name].astype(np.complex64)
                expected = tensors[name].to(torch.complex64).numpy()
                np.testing.assert_array_equal(floats, expected)


def test_bfloat16_without_torch(tmp_path):
    path = tmp_path / "model.safetensors"
    header = {"w": {"dtype": "BF16", "shape": [2, 1], "data_offsets": [0, 4]}}
    path.write_bytes(file_bytes(header, b"\x80\x3f\x20\xc0"))
    with open_safetensors(str(path)) as checkpoint:
        assert checkpoint["w"].astype(np.float32).tolist() == [[1.0], [-2.5]]


def test_arrays_are_views_of_the_file_that_outlive_it(tmp_path):
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file({"w": np.zeros(4, "uint8")}, path)
    with open_safetensors(str(path)) as checkpoint:
        array = checkpoint["w"]
        with path.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"\7")
    assert array.tolist() == [0, 0, 0, 7]
    assert not array.flags.writeable
    path.unlink()
    assert array.tolist() == [0, 0, 0, 7]
    with pytest.raises(ValueError, match="is closed"):
        checkpoint["w"]


def test_a_file_larger_than_memory_opens(tmp_path):
    path, size = tmp_path / "model.safetensors", 1 << 42
    header = {"w": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}
    path.write_bytes(file_bytes(header))
    try:
        os.truncate(path, path.stat().st_size + size)
    except OSError:
        pytest.skip("the file system has no sparse files of 4 TiB")
    with open_safetensors(str(path)) as checkpoint:
        assert checkpoint.shape("w") == (size // 4,)
        assert checkpoint["w"][-1] == 0


def test_variables_of_tensorflow_models_come_out_as_pytorch_parameters(tmp_path):
    path = str(tmp_path / "model.safetensors")
    kernel, shared = np.arange(6.0).reshape(2, 3), np.ones((4, 2))
    variables = {
        "bert/encoder/layer_._0/output/dense/kernel:0": kernel,
        "model.shared/model.shared/embeddings:0": shared,
    }
    safetensors.numpy.save_file(variables, path, {"format": "tf"})
    with open_safetensors(path) as checkpoint:
        assert set(checkpoint) == {
            "bert.encoder.layer.0.output.dense.weight",
            "model.shared.weight",
        }
        np.testing.assert_array_equal(
            checkpoint["bert.encoder.layer.0.output.dense.weight"], kernel.T
        )


def description(**changes):
    """A correct header of one tensor of 8 bytes, with changes."""
    return {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes}


TWO = {
    "a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
    "b": {"dtype": "U8", "shape": [4], "data_offsets": [4, 8]},
}


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "is empty"),
        (b"\x10\0\0", "3 bytes"),
        (file_bytes(description(), b"1234567"), "'w' ends at byte 8, but only 7"),
        (file_bytes(description(), b"123456789"), "1 bytes follow"),
        ((1 << 40).to_bytes(8, "little") + b"{}", "the header claims 1099511627776 bytes"),
        ((50).to_bytes(8, "little") + b"{}", "claims 50 bytes, but the file has 10"),
        (file_bytes(b"{"), "cannot be read"),
        (file_bytes(b"\xff\xfe"), "cannot be read"),
        (file_bytes(b"[" * 100_000), "nested"),
        (file_bytes(b"[]"), "no JSON object"),
        (file_bytes(b" {}"), "no JSON object"),
        (file_bytes(b'{"w":{},"w":{}}'), "'w' stands there twice"),
        (file_bytes({"w": 3}), "'w' is not described"),
        (file_bytes({"w": {"dtype": "F32", "shape": [2]}}), "'w' is not described"),
        (file_bytes(description(dtype="F33"), bytes(8)), "unknown dtype 'F33'"),
        (file_bytes(description(dtype=["F32"]), bytes(8)), "unknown dtype"),
        (file_bytes(description(shape=[3]), bytes(8)), r"'w' of shape \[3\]"),
        (file_bytes(description(shape=[2.0]), bytes(8)), "a shape that"),
        (file_bytes(description(shape=[-2, -1]), bytes(8)), "a shape that"),
        (file_bytes(description(shape=[True, 2]), bytes(8)), "a shape that"),
        (file_bytes(description(shape="2"), bytes(8)), "a shape that"),
        (file_bytes(description(shape=[1 << 80, 0])), "a shape that"),
        (
            file_bytes(description(shape=[1 << 62, 1 << 62, 0], data_offsets=[0, 0])),
            "size|large|big",
        ),
        (file_bytes(description(shape=[1] * 70 + [2]), bytes(8)), "dimension"),
        (file_bytes(description(data_offsets=[0, 8, 8]), bytes(8)), "3 data_offsets"),
        (file_bytes(description(data_offsets=[8, 0]), bytes(8)), "starts at byte 8"),
        (file_bytes(description(data_offsets=[0, 1 << 70]), bytes(8)), "a data_offsets that"),
        (file_bytes(description(data_offsets=[1, 9]), bytes(9)), "starts at byte 1, not at 0"),
        (file_bytes(TWO | {"b": TWO["b"] | {"data_offsets": [2, 6]}}, bytes(6)), "'b' starts at"),
        (file_bytes(TWO | {"b": TWO["b"] | {"data_offsets": [5, 9]}}, bytes(9)), "'b' starts at"),
        (file_bytes({"__metadata__": 3}), "__metadata__"),
        (file_bytes({"__metadata__": {"format": None}}), "__metadata__"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS pointer"),
    ],
)
def test_a_wrong_file_is_named_with_its_fault(tmp_path, content, fault):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(CorruptCheckpointError, match=fault) as caught:
        open_safetensors(str(path))
    assert str(path) in str(caught.value)


def test_a_header_beyond_the_limit_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes((MAX_HEADER_SIZE + 1).to_bytes(8, "little") + b"{}")
    os.truncate(path, MAX_HEADER_SIZE + 9)  # Long enough, so only the limit speaks.
    with pytest.raises(CorruptCheckpointError, match="more than the limit"):
        open_safetensors(str(path))


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        open_safetensors(str(tmp_path / "absent.safetensors"))
    with pytest.raises(IsADirectoryError):
        open_safetensors(str(tmp_path))


def small_file():
    """A valid file of 3 tensors."""
    arrays = {"a": np.arange(3.0), "b": np.ones((2, 2), "int8"), "c": np.zeros((0, 2), "float16")}
    return safetensors.numpy.save(arrays, {"format": "pt"})


def test_a_file_cut_anywhere_is_corrupt(tmp_path):
    content = small_file()
    path = tmp_path / "model.safetensors"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(CorruptCheckpointError):
            open_safetensors(str(path))


def test_damaged_headers_open_only_where_the_library_opens_them(tmp_path, assert_same):
    content = small_file()
    header_end = 8 + int.from_bytes(content[:8], "little")
    path = str(tmp_path / "model.safetensors")
    opened = refused = 0
    for _ in range(600):
        damaged = bytearray(content)
        for _ in range(random.choice([1, 1, 2, 5])):
            damaged[random.randrange(header_end)] = random.choice(b'0123456789{}[]",:- \xffaU')
        with open(path, "wb") as file:
            file.write(damaged)
        try:
            with open_safetensors(path) as checkpoint:
                arrays = dict(checkpoint)
            opened += 1
        except CorruptCheckpointError:
            refused += 1
            continue
        library = safetensors.numpy.load_file(path)
        assert arrays.keys() == library.keys()
        for name, array in arrays.items():
            assert_same(array, library[name])
    assert opened > 15
    assert refused > 300
