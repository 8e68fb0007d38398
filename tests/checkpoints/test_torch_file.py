"""Reading PyTorch's files: by hand-made ones, by torch's own, and by what attackers would write."""

import copyreg
import os
import pickle
import random
import struct
import tracemalloc
import zipfile
from collections import OrderedDict

import ml_dtypes
import numpy as np
import pytest

from tfhf.checkpoints.checkpoint import CorruptCheckpointError, UnsafeCheckpointError
from tfhf.checkpoints.torch_file import open_torch

# A pickle, instruction by instruction, so that no torch is needed to write one.


def constant(value):
    """The instructions that push an object of plain Python, as torch.save's protocol has them."""
    return pickle.dumps(value, protocol=2)[2:-1]


def sequence(*parts):
    """A tuple of what the parts push."""
    return b"(" + b"".join(parts) + b"t"


def named(name):
    """A global, such as `torch.FloatStorage`."""
    module, _, attribute = name.rpartition(".")
    return f"c{module}\n{attribute}\n".encode()


def storage(key, kind, length, legacy=False):
    return sequence(
        constant("storage"), named(kind), constant(key), constant("cpu"), constant(length),
        *([constant(None)] if legacy else []),
    ) + b"Q"  # fmt: skip


def tensor(storage, offset, shape, strides):
    return (
        named("torch._utils._rebuild_tensor_v2")
        + sequence(
            storage, constant(offset), constant(shape), constant(strides), constant(False),
            named("collections.OrderedDict") + b")R",
        ) + b"R"
    )  # fmt: skip


def state_dict(**tensors):
    """An OrderedDict with the attribute that modules give theirs."""
    items = b"".join(constant(name) + value for name, value in tensors.items())
    metadata = constant({"_metadata": {"": {"version": 1}}})
    return named("collections.OrderedDict") + b")R(" + items + b"u" + metadata + b"b"


def write_zip(path, skeleton, compression=zipfile.ZIP_STORED, byteorder=b"little", **storages):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", b"\x80\2" + skeleton + b".")
        archive.writestr("archive/byteorder", byteorder)
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)
        archive.writestr("archive/version", "3\n")
    return str(path)


def write_legacy(path, skeleton, magic=0x1950A86A20F9469CFC6C, little_endian=True, **storages):
    """`storages` are by key: the count of elements, and their bytes."""
    traits = {"protocol_version": 1001, "little_endian": little_endian, "type_sizes": {"int": 4}}
    with open(path, "wb") as file:
        for part in (magic, 1001, traits):
            pickle.dump(part, file, protocol=2)
        file.write(b"\x80\2" + skeleton + b".")
        pickle.dump(list(storages), file, protocol=2)
        for length, data in storages.values():
            file.write(struct.pack("<q", length) + data)
    return str(path)


FLOATS = np.arange(12, dtype="float32")
HALVES = np.array([1.0, -2.5, 0.0], ml_dtypes.bfloat16)


def golden_skeleton(legacy):
    floats = storage("0", "torch.FloatStorage", 12, legacy)
    halves = storage("1", "torch.BFloat16Storage", 3, legacy)
    return state_dict(
        whole=tensor(floats, 0, (3, 4), (4, 1)),
        transposed=tensor(floats, 0, (4, 3), (1, 4)),
        sliced=tensor(floats, 5, (2, 2), (4, 2)),
        expanded=tensor(floats, 3, (2, 5), (1, 0)),
        scalar=tensor(floats, 11, (), ()),
        empty=tensor(floats, 12, (0, 3), (3, 1)),
        halves=tensor(halves, 0, (3,), (1,)),
    )


GOLDEN = {
    "whole": FLOATS.reshape(3, 4),
    "transposed": FLOATS.reshape(3, 4).T,
    "sliced": np.array([[5, 7], [9, 11]], "float32"),
    "expanded": np.array([[3] * 5, [4] * 5], "float32"),
    "scalar": np.array(11, "float32"),
    "empty": np.zeros((0, 3), "float32"),
    "halves": HALVES,
}


def write_golden(path, legacy):
    if legacy:
        # Storages lie in the order of the key list, whatever the order in the skeleton.
        storages = {"1": (3, HALVES.tobytes()), "0": (12, FLOATS.tobytes())}
        return write_legacy(path, golden_skeleton(legacy), **storages)
    return write_zip(
        path, golden_skeleton(legacy), **{"0": FLOATS.tobytes(), "1": HALVES.tobytes()}
    )


both_formats = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])


@both_formats
def test_hand_made_files(tmp_path, legacy, assert_same):
    with open_torch(write_golden(tmp_path / "pytorch_model.bin", legacy)) as checkpoint:
        assert list(checkpoint) == list(GOLDEN)
        for name, array in GOLDEN.items():
            assert checkpoint.shape(name) == array.shape
            assert checkpoint.dtype(name) == array.dtype
            assert_same(checkpoint[name], array)
            assert not checkpoint[name].flags.writeable


@pytest.mark.oracle
@both_formats
def test_torch_reads_the_hand_made_files_alike(tmp_path, legacy):
    import torch

    loaded = torch.load(write_golden(tmp_path / "pytorch_model.bin", legacy), weights_only=True)
    for name, array in GOLDEN.items():
        np.testing.assert_array_equal(loaded[name].float().numpy(), array.astype("float32"))


DTYPES = [
    "bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64", "float16",
    "float32", "float64", "bfloat16", "complex64", "complex128", "float8_e4m3fn",
    "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu",
]  # fmt: skip


@pytest.mark.oracle
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@both_formats
def test_every_dtype_that_torch_writes(
    tmp_path, legacy, protocol, random_array, assert_same, to_torch
):
    import torch

    arrays = {
        f"{dtype} {shape}": random_array(getattr(ml_dtypes, dtype, dtype), shape)
        for dtype in DTYPES
        for shape in [(), (0,), (3, 0), (1,), (5,), (2, 3, 4)]
    }
    tensors = {name: to_torch(array) for name, array in arrays.items()}
    path = str(tmp_path / "pytorch_model.bin")
    torch.save(tensors, path, pickle_protocol=protocol, _use_new_zipfile_serialization=not legacy)
    with open_torch(path) as checkpoint:
        assert set(checkpoint) == set(arrays)
        for name, array in arrays.items():
            assert_same(checkpoint[name], array)


@pytest.mark.oracle
@both_formats
def test_views_ties_parameters_and_other_values_that_torch_writes(tmp_path, legacy):
    import torch

    base = torch.randn(6, 8)
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    content = OrderedDict(
        base=base,
        tied=base,
        transposed=base.T,
        permuted=torch.randn(2, 3, 4).permute(2, 0, 1),
        strided=base[1::2, ::3],
        row=base[4],
        expanded=torch.randn(1, 3).expand(5, 3),
        parameter=torch.nn.Parameter(base[:, 2]),
        half_of_complex=torch.randn(3, dtype=torch.complex64).real,
        step=3,
        rate=1e-4,
        long=1 << 70,
        names=["a", {"b": (None, True)}, {"c", 4}],
        size=base.shape,
        dtype=torch.bfloat16,
        **module.state_dict(),
    )
    content._metadata = module.state_dict()._metadata
    path = str(tmp_path / "pytorch_model.bin")
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    expected = {k: v for k, v in content.items() if isinstance(v, torch.Tensor)}
    with open_torch(path) as checkpoint:
        assert list(checkpoint) == list(expected)
        for name, value in expected.items():
            np.testing.assert_array_equal(checkpoint[name], value.detach().numpy(), name)
        assert np.shares_memory(checkpoint["base"], checkpoint["tied"])


@both_formats
def test_an_empty_state_dict_has_no_tensors(tmp_path, legacy):
    write = write_legacy if legacy else write_zip
    with open_torch(write(tmp_path / "pytorch_model.bin", b"}")) as checkpoint:
        assert len(checkpoint) == 0


def test_items_of_an_ordered_dict_that_python_2_pickled(tmp_path):
    items = b"](" + b"](" + constant("w") + tensor(
        storage("0", "torch.FloatStorage", 2), 0, (2,), (1,)
    ) + b"ee"  # fmt: skip
    skeleton = named("collections.OrderedDict") + sequence(items) + b"R"
    path = write_zip(tmp_path / "pytorch_model.bin", skeleton, **{"0": bytes(8)})
    with open_torch(path) as checkpoint:
        assert checkpoint["w"].tolist() == [0, 0]


# What is refused.


def call(name, *arguments):
    return named(name) + sequence(*map(constant, arguments)) + b"R"


class System:
    """Pickles as a call of os.system, the way that Python itself writes it."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def wicked(marker):
    """Skeletons that would make the file `marker`, or worse, with what the refusal must name."""
    command = f"touch {marker}"
    source = f"open({str(marker)!r}, 'w').close()"
    system = f"{os.system.__module__}.system"
    for protocol in range(6):
        body = pickle.dumps(System(command), protocol)[:-1]
        yield system, body[2:] if protocol > 1 else body
    for module in ("builtins", "__builtin__"):
        yield f"{module}.eval", call(f"{module}.eval", source)
        yield f"{module}.exec", call(f"{module}.exec", source)
        importing = call(f"{module}.__import__", "os")
        getting = named(f"{module}.getattr") + sequence(importing, constant("system")) + b"R"
        yield f"{module}.getattr", getting + sequence(constant(command)) + b"R"
    yield "torch.load", call("torch.load", str(marker))
    yield "torch.serialization.load", call("torch.serialization.load", str(marker))
    yield "torch._tensor._rebuild_from_type_v2", named("torch._tensor._rebuild_from_type_v2")
    yield "numpy.core.multiarray.scalar", named("numpy.core.multiarray.scalar")
    yield (
        "collections.OrderedDict.__init__",
        (constant("collections") + constant("OrderedDict.__init__") + b"\x93"),
    )
    yield system, b"(" + named(system) + constant(command) + b"o"
    yield "INST", b"(" + constant(command) + f"i{system.replace('.', chr(10))}\n".encode()
    yield "NEWOBJ", named("collections.OrderedDict") + b")\x81"
    yield "EXT1", b"\x82\xf0" + sequence(constant(command)) + b"R"
    yield "PERSID", b"P0\n"


def test_the_wicked_skeletons_are_wicked(tmp_path):
    skeletons = dict(wicked(tmp_path / "marker"))
    pickle.loads(b"\x80\2" + skeletons[f"{os.system.__module__}.system"] + b".")
    assert (tmp_path / "marker").exists()
    (tmp_path / "marker").unlink()
    pickle.loads(b"\x80\2" + skeletons["builtins.getattr"] + b".")
    assert (tmp_path / "marker").exists()


@pytest.fixture
def extension():
    """A call behind an extension code, in the cache that the standard unpickler trusts."""
    copyreg.add_extension("os", "system", 0xF0)
    copyreg._extension_cache[0xF0] = os.system
    yield
    copyreg.remove_extension("os", "system", 0xF0)
    copyreg._extension_cache.pop(0xF0, None)


@both_formats
def test_what_would_run_code_is_named_and_not_run(tmp_path, legacy, extension):
    marker, path = tmp_path / "marker", tmp_path / "pytorch_model.bin"
    write = write_legacy if legacy else write_zip
    for name, payload in wicked(marker):
        weight = tensor(storage("0", "torch.FloatStorage", 2, legacy), 0, (2,), (1,))
        for skeleton in (payload, state_dict(weight=weight, payload=payload)):
            write(path, skeleton, **{"0": (2, bytes(8)) if legacy else bytes(8)})
            with pytest.raises(UnsafeCheckpointError) as caught:
                open_torch(str(path))
            assert name in str(caught.value)
            assert str(path) in str(caught.value)
            assert not marker.exists()


@pytest.mark.oracle
@both_formats
def test_a_pickled_module_is_refused(tmp_path, legacy):
    import torch

    path = str(tmp_path / "pytorch_model.bin")
    torch.save(torch.nn.Linear(2, 2), path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises((UnsafeCheckpointError, CorruptCheckpointError), match=r"Linear|no storage"):
        open_torch(path)


def test_short_programs_that_crash_or_starve_the_standard_unpickler(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    deep = b")" + b"\x85" * 200_000
    for skeleton, fault in {
        b"}" + deep + b"K\1s": "key of type tuple",  # Hashing overflows the stack.
        named("builtins.set") + b"](" + deep + b"e\x85R": "key of type tuple",
        deep + constant("name") + b"\x93": "no string",
        b"K\1r\xff\xff\xff\x7f": "holds no dict",  # The memo would take 2**31 places.
    }.items():
        with pytest.raises(CorruptCheckpointError, match=fault):
            open_torch(write_zip(path, skeleton))


def test_a_short_program_cannot_copy_a_long_list_again_and_again(tmp_path):
    numbers = b"](" + b"".join(map(constant, range(3000))) + b"eq\0"
    copies = (named("builtins.set") + b"h\0\x85R") * 300
    path = write_zip(tmp_path / "pytorch_model.bin", numbers + b"(" + copies + b"t")
    tracemalloc.start()
    try:
        with pytest.raises(CorruptCheckpointError, match="holds no dict"):
            open_torch(path)
        assert tracemalloc.get_traced_memory()[1] < 5e6  # The copies would take 40 MB.
    finally:
        tracemalloc.stop()


# What is damaged.


def weight_skeleton(
    kind="torch.FloatStorage", length=6, offset=0, shape=(2, 3), strides=(3, 1), legacy=False
):
    return state_dict(weight=tensor(storage("0", kind, length, legacy), offset, shape, strides))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"offset": 1}, "'weight' reaches beyond its storage"),
        ({"shape": (3, 3)}, "'weight' reaches beyond"),
        ({"strides": (4, 1)}, "'weight' reaches beyond"),
        ({"strides": (3, 1 << 62)}, "'weight' reaches beyond"),
        ({"shape": (1 << 40,), "strides": (1,)}, "'weight' reaches beyond"),
        ({"shape": (1 << 40, 1 << 40), "strides": (0, 0)}, "dimension|size|large|big"),
        ({"shape": (1,) * 100, "strides": (1,) * 100}, "dimension"),
        ({"offset": -1}, "offset"),
        ({"shape": (-2, -3)}, "shape"),
        ({"strides": (-3, 1)}, "strides"),
        ({"strides": (1,)}, "strides"),
        ({"shape": [2, 3]}, "shape"),
        ({"shape": (2.0, 3)}, "shape"),
        ({"shape": (1 << 70, 0)}, "shape"),
        ({"offset": "0"}, "offset"),
        ({"length": 7}, "not"),
        ({"length": 1 << 60}, "not"),
        ({"length": -6}, "persistent identifier"),
        ({"length": "6"}, "persistent identifier"),
        ({"kind": "torch.DoubleStorage"}, "storage '0'"),
        ({"kind": "collections.OrderedDict"}, "persistent identifier"),
    ],
)
@both_formats
def test_a_tensor_that_does_not_fit_is_named(tmp_path, legacy, changes, fault):
    path = tmp_path / "pytorch_model.bin"
    data = {"0": (6, bytes(24))} if legacy else {"0": bytes(24)}
    write = write_legacy if legacy else write_zip
    with open_torch(write(path, weight_skeleton(legacy=legacy), **data)) as checkpoint:
        assert checkpoint.shape("weight") == (2, 3)
    with pytest.raises(CorruptCheckpointError, match=fault) as caught:
        open_torch(write(path, weight_skeleton(**changes, legacy=legacy), **data))
    assert str(path) in str(caught.value)


def test_a_tensor_repeated_without_memory_stays_so(tmp_path):
    skeleton = weight_skeleton(length=1, shape=(1 << 30, 1 << 20), strides=(0, 0))
    path = write_zip(tmp_path / "pytorch_model.bin", skeleton, **{"0": bytes(4)})
    with open_torch(path) as checkpoint:
        assert checkpoint["weight"].shape == (1 << 30, 1 << 20)
        assert checkpoint["weight"][-1, -1] == 0


SOUND = {"0": bytes(24)}


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(b"PK\3\4" + bytes(50)), "broken or truncated"),
        (lambda path: path.write_bytes(b"hello"), "neither a zip"),
        (lambda path: path.write_bytes(b"\x80\2K\1."), "neither a zip"),
        (lambda path: write_zip(path, weight_skeleton()), "no 'data/0'"),
        (lambda path: write_zip(path, weight_skeleton(), **{"0": bytes(23)}), "has 23 bytes"),
        (
            lambda path: write_zip(path, weight_skeleton(), zipfile.ZIP_DEFLATED, **SOUND),
            "compress",
        ),
        (lambda path: write_zip(path, weight_skeleton(), byteorder=b"big", **SOUND), "endian"),
        (lambda path: write_zip(path, constant([1])), "no dict of tensors, but a list"),
        (
            lambda path: write_zip(path, constant({"model": {}, "step": 1})),
            "keys are 'model', 'step'",
        ),
        (lambda path: write_zip(path, b"}K\1" + weight_skeleton() + b"s", **SOUND), "no flat dict"),
        (lambda path: write_zip(path, b"e"), "pickle is broken"),
        (lambda path: write_zip(path, b"h\7"), "pickle is broken"),
        (lambda path: write_zip(path, b"K\1K\2a"), "no list"),
        (lambda path: write_zip(path, b"K\1K\2K\3s"), "no dict"),
        (lambda path: write_zip(path, b"K\1}b"), "no dict"),
        (lambda path: write_zip(path, b"}(K\1u"), "pickle is broken"),
        (lambda path: write_zip(path, b"K\1(K\2\x90"), "no set"),
        (lambda path: write_zip(path, b"K\1)R"), "pickle is broken"),
        (lambda path: write_zip(path, constant(("module", "a", "b")) + b"Q"), "names no storage"),
        (lambda path: write_legacy(path, b"}", magic=7), "neither a zip"),
        (lambda path: write_legacy(path, b"}", little_endian=False), "endian"),
        (lambda path: write_legacy(path, weight_skeleton(legacy=True)), "are not those"),
        (lambda path: write_legacy(path, b"}", **{"0": (1, bytes(4))}), "are not those"),
    ],
)
def test_a_wrong_file_is_named_with_its_fault(tmp_path, make, fault):
    path = tmp_path / "pytorch_model.bin"
    make(path)
    with pytest.raises(CorruptCheckpointError, match=fault) as caught:
        open_torch(str(path))
    assert str(path) in str(caught.value)


def test_a_tensor_whose_name_is_no_string_is_refused(tmp_path):
    weight = tensor(storage("0", "torch.FloatStorage", 6), 0, (6,), (1,))
    with pytest.raises(CorruptCheckpointError, match="name is no string"):
        open_torch(write_zip(tmp_path / "pytorch_model.bin", b"}K\1" + weight + b"s", **SOUND))


def test_a_tensor_marked_as_conjugated_is_refused(tmp_path):
    arguments = [constant(value) for value in (0, (6,), (1,), False, {}, {"conj": True})]
    floats = storage("0", "torch.FloatStorage", 6)
    weight = named("torch._utils._rebuild_tensor_v2") + sequence(floats, *arguments) + b"R"
    with pytest.raises(CorruptCheckpointError, match="conjugated"):
        open_torch(write_zip(tmp_path / "pytorch_model.bin", state_dict(w=weight), **SOUND))


@both_formats
def test_a_file_cut_anywhere_is_corrupt(tmp_path, legacy):
    path = tmp_path / "pytorch_model.bin"
    write_golden(path, legacy)
    content = path.read_bytes()
    for length in range(0, len(content), 3):
        path.write_bytes(content[:length])
        with pytest.raises(CorruptCheckpointError):
            open_torch(str(path))


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
@both_formats
def test_damage_anywhere_gives_an_error_with_a_name_or_none(tmp_path, legacy):
    path = tmp_path / "pytorch_model.bin"
    write_golden(path, legacy)
    content = path.read_bytes()
    refused = 0
    for _ in range(600):
        damaged = bytearray(content)
        for _ in range(random.choice([1, 2, 4])):
            damaged[random.randrange(len(content))] = random.randrange(256)
        path.write_bytes(damaged)
        try:
            with open_torch(str(path)) as checkpoint:
                for name in checkpoint:
                    checkpoint[name].reshape(-1)[-1:].tolist()
        except (CorruptCheckpointError, UnsafeCheckpointError):
            refused += 1
    assert refused > 100
