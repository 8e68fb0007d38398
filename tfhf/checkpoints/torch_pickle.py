"""Unpickling the skeleton of a PyTorch file without the power of pickle.

A pickle is a program for a stack machine. Python's machine imports and calls what the program
names, and even with imports forbidden a short program can make it crash or fill the memory. The
machine here has only the instructions that containers, numbers, strings and tensors need. The
standard library's `pickletools` splits the program into instructions and runs none of it.
"""

import pickletools
from collections.abc import Callable, Collection, Iterable
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from tfhf.checkpoints.checkpoint import UnsafeCheckpointError


class Storage(NamedTuple):
    """A run of `length` numbers in the file, under a key."""

    key: str
    dtype: np.dtype[Any]
    length: int

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return self.length * self.dtype.itemsize


class StoredTensor(NamedTuple):
    """A view of a storage; `offset` and `strides` count elements of `dtype`."""

    storage: Storage
    dtype: np.dtype[Any]
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild_tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, dtype: np.dtype[Any] | None = None
) -> StoredTensor:
    if not isinstance(storage, Storage):
        raise ValueError("a tensor has no storage")
    if not isinstance(shape, tuple) or not isinstance(strides, tuple) or len(shape) != len(strides):
        raise ValueError("a tensor's shape and strides are no tuples of one length")
    numbers = (offset, *shape, *strides)
    if not all(type(number) is int and 0 <= number < 2**63 for number in numbers):
        raise ValueError("a tensor's offset, shape or strides are no integers >= 0")
    if dtype is None:
        dtype = storage.dtype
    return StoredTensor(storage, dtype, offset, shape, strides)


def _rebuild_tensor_v2(
    storage: Any, offset: Any, shape: Any, strides: Any,
    requires_grad: Any, hooks: Any, metadata: Any = None,
) -> StoredTensor:  # fmt: skip
    if metadata:
        raise ValueError("a tensor is marked as negated or conjugated, which is not supported")
    return _rebuild_tensor(storage, offset, shape, strides)


def _rebuild_tensor_v3(
    storage: Any, offset: Any, shape: Any, strides: Any,
    requires_grad: Any, hooks: Any, dtype: Any, metadata: Any = None,
) -> StoredTensor:  # fmt: skip
    if metadata or not isinstance(dtype, np.dtype):
        raise ValueError("a tensor of an unsupported kind")
    return _rebuild_tensor(storage, offset, shape, strides, dtype)


def _rebuild_parameter(tensor: Any, requires_grad: Any, hooks: Any) -> Any:
    return tensor


def _set_items(target: Any, keys: Iterable[Any], values: Iterable[Any]) -> None:
    """Fill a dict. Keys are strings or integers: hashing a deep enough tuple ends the process."""
    if not isinstance(target, dict):
        raise ValueError("items are set on something that is no dict")
    for key, value in zip(keys, values, strict=True):
        if not isinstance(key, str | int):
            raise ValueError(f"a dict has a key of type {type(key).__name__}")
        target[key] = value


def _take(items: Any) -> list[Any]:
    """Empty a list, so that a short pickle cannot copy a long list again and again."""
    if not isinstance(items, list):
        raise ValueError("a container is made of something that is no list")
    taken = items.copy()
    items.clear()
    return taken


def _ordered_dict(*items: Any) -> dict[Any, Any]:
    """Make the dict; Python 2 pickled its items as an argument."""
    result: dict[Any, Any] = {}
    for key, value in _take(*items) if items else ():
        _set_items(result, [key], [value])
    return result


def _set(items: Any) -> set[Any]:
    result: dict[Any, Any] = {}
    taken = _take(items)
    _set_items(result, taken, taken)
    return set(result)


def _size(numbers: Any) -> tuple[Any, ...]:
    if not isinstance(numbers, tuple):
        raise ValueError("a torch.Size is made of something that is no tuple")
    return numbers


class Omitted:
    """Stands for an object that the reader leaves out; nothing is known of it."""

    def __init__(self, *arguments: Any) -> None:
        pass


_CALLABLE: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "builtins.set": _set,
    "__builtin__.set": _set,
    "torch.Size": _size,
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor_v2,
    "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
}

# PyTorch's dtypes, and its classes of storages of one dtype.
_DTYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(dtype)
    for dtype, names in {
        np.bool_: "torch.bool torch.BoolStorage",
        np.uint8: "torch.uint8 torch.ByteStorage torch.UntypedStorage torch.storage.UntypedStorage",
        np.int8: "torch.int8 torch.CharStorage",
        np.int16: "torch.int16 torch.ShortStorage",
        np.int32: "torch.int32 torch.IntStorage",
        np.int64: "torch.int64 torch.LongStorage",
        np.uint16: "torch.uint16",
        np.uint32: "torch.uint32",
        np.uint64: "torch.uint64",
        np.float16: "torch.float16 torch.HalfStorage",
        np.float32: "torch.float32 torch.FloatStorage",
        np.float64: "torch.float64 torch.DoubleStorage",
        np.complex64: "torch.complex64 torch.ComplexFloatStorage",
        np.complex128: "torch.complex128 torch.ComplexDoubleStorage",
        ml_dtypes.bfloat16: "torch.bfloat16 torch.BFloat16Storage",
        ml_dtypes.float8_e4m3fn: "torch.float8_e4m3fn",
        ml_dtypes.float8_e4m3fnuz: "torch.float8_e4m3fnuz",
        ml_dtypes.float8_e5m2: "torch.float8_e5m2",
        ml_dtypes.float8_e5m2fnuz: "torch.float8_e5m2fnuz",
        ml_dtypes.float8_e8m0fnu: "torch.float8_e8m0fnu",
    }.items()
    for name in names.split()
}


def _global(module: Any, name: Any, omitted: Collection[str]) -> Callable[..., Any] | np.dtype[Any]:
    """What stands for a global that the pickle names."""
    if not isinstance(module, str) or not isinstance(name, str):
        raise ValueError("a global's name is no string")
    full_name = f"{module}.{name}"
    if full_name in omitted:
        return Omitted
    if full_name in _CALLABLE:
        return _CALLABLE[full_name]
    if full_name in _DTYPES:
        return _DTYPES[full_name]
    raise UnsafeCheckpointError(
        f"the pickle asks for {full_name[:200]}, which tensors do not need; nothing was run"
    )


def _storage(identifier: Any) -> Storage:
    """The storage behind `("storage", class, key, device, length)`, in old files with a view."""
    match identifier:
        case ("storage", np.dtype() as dtype, str(key), _, int(length), *view) if length >= 0:
            if any(part is not None for part in view):
                raise ValueError("a view of a storage (PyTorch < 0.4) is not supported")
            return Storage(key, dtype, length)
    raise ValueError("a persistent identifier names no storage")


def unpickle(file: BinaryIO, omitted: Collection[str] = ()) -> tuple[Any, dict[str, Storage]]:
    """Read one pickle from `file`, which is left at its end.

    Args:
        file: the pickle; needs `read`, `readline` and `tell`.
        omitted: classes and functions, `module.name`, that the pickle may ask for: they are not
            looked for, and what they would make is an `Omitted`.

    Returns:
        The object: dicts, lists, tuples, sets, strings, numbers, dtypes, and a `Storage` or
        `StoredTensor` for each of PyTorch's; and all storages that it names, by key.

    Raises:
        UnsafeCheckpointError: the pickle names a global, or an instruction, that is not for these.
        ValueError: it is no pickle, or a broken one.

    Example:
        >>> import io, pickle
        >>> unpickle(io.BytesIO(pickle.dumps({"step": 3}, protocol=2)))
        ({'step': 3}, {})
        >>> unpickle(io.BytesIO(pickle.dumps(print)))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        tfhf.checkpoints.checkpoint.UnsafeCheckpointError: the pickle asks for builtins.print, ...
    """
    storages: dict[str, Storage] = {}
    try:
        return _run(file, storages, omitted), storages
    except UnsafeCheckpointError:
        raise
    except (ValueError, TypeError, LookupError) as error:  # An empty stack, a wrong argument, ….
        raise ValueError(f"the pickle is broken: {error}") from error


def _run(file: BinaryIO, storages: dict[str, Storage], omitted: Collection[str]) -> Any:
    """Run the program on a stack. `outer` holds the stacks below the marks."""
    stack: list[Any] = []
    outer: list[list[Any]] = []
    memo: dict[Any, Any] = {}

    def since_mark() -> list[Any]:
        nonlocal stack
        items, stack = stack, outer.pop()
        return items

    for opcode, argument, _ in pickletools.genops(file):
        match opcode.name:
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                return stack.pop()
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(opcode.name == "NEWTRUE")
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "LONG4" | "BINFLOAT":
                stack.append(argument)
            case "BINUNICODE" | "SHORT_BINUNICODE" | "BINSTRING" | "SHORT_BINSTRING":
                stack.append(argument)
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "MARK":
                outer.append(stack)
                stack = []
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                items = [stack.pop() for _ in range(int(opcode.name[-1]))]
                stack.append(tuple(reversed(items)))
            case "TUPLE":
                items = since_mark()
                stack.append(tuple(items))
            case "EMPTY_LIST":
                stack.append([])
            case "APPEND":
                item = stack.pop()
                _extend(stack[-1], [item])
            case "APPENDS":
                items = since_mark()
                _extend(stack[-1], items)
            case "EMPTY_SET":
                stack.append(set())
            case "ADDITEMS":
                items = since_mark()
                if not isinstance(stack[-1], set):
                    raise ValueError("items are added to something that is no set")
                stack[-1].update(_set(items))
            case "EMPTY_DICT":
                stack.append({})
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                _set_items(stack[-1], [key], [value])
            case "SETITEMS":
                items = since_mark()
                _set_items(stack[-1], items[::2], items[1::2])
            case "GLOBAL":
                module, name = str(argument).rsplit(" ", 1)
                stack.append(_global(module, name, omitted))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(_global(module, name, omitted))
            case "BINPERSID":
                storage = _storage(stack.pop())
                if storages.setdefault(storage.key, storage).nbytes != storage.nbytes:
                    raise ValueError(f"storage {storage.key} has two sizes")
                stack.append(storage)
            case "NEWOBJ" if len(stack) > 1 and stack[-2] is Omitted:
                stack[-2:] = [Omitted()]
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                stack.append(function(*arguments))  # Only _global puts callables on the stack.
            case "BUILD":
                stack.pop()  # The attributes of a state dict: version numbers of its modules.
                if not isinstance(stack[-1], dict | Omitted):
                    raise ValueError("attributes are set on something that is no dict")
            case _:
                raise UnsafeCheckpointError(
                    f"the pickle uses the instruction {opcode.name}, which tensors do not need; "
                    "nothing was run"
                )
    raise ValueError("no STOP")  # genops raises its own, so this is for the type checker.


def _extend(target: Any, items: list[Any]) -> None:
    if not isinstance(target, list):
        raise ValueError("items are appended to something that is no list")
    target.extend(items)
