"""A dry run of a pickle of torch.save: what it would build, without building it.

A stand-in takes the place of each known type; anything else ends the run. Tensors become outlines,
after a check that their data is in the file. The unpickler is the one in Python, whose memo is a
dictionary: the one in C makes room for whatever index a hostile file names.
"""

from __future__ import annotations

import math
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar, Final, TypeGuard

_MAX_DIMENSIONS: Final = 64
_NUMPY_SCALAR: Final = re.compile(r"[<>|=]?[biufc?][0-9]{0,2}")
# torch.save needs none of these, and some take memory before they read it.
_REFUSED_OPERATIONS: Final = {
    operation[0]
    for operation in (
        pickle.INST, pickle.OBJ, pickle.PERSID, pickle.EXT1, pickle.EXT2, pickle.EXT4,
        pickle.BYTEARRAY8, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER, pickle.STACK_GLOBAL,
        pickle.NEWOBJ_EX,
    )
}  # fmt: skip
_STORAGE_BYTES: Final = {
    "UntypedStorage": 1, "BoolStorage": 1, "ByteStorage": 1, "CharStorage": 1, "ShortStorage": 2,
    "HalfStorage": 2, "BFloat16Storage": 2, "IntStorage": 4, "FloatStorage": 4, "LongStorage": 8,
    "DoubleStorage": 8, "ComplexFloatStorage": 8, "ComplexDoubleStorage": 16,
}  # fmt: skip


class UnfitFile(Exception):  # noqa: N818 - the name says what is wrong
    """Why a file is refused; torch_file.py makes a sentence of it."""


@dataclass(frozen=True)
class TensorOutline:
    """A tensor that was not read."""

    shape: tuple[int, ...]


@dataclass(frozen=True)
class _ItemType:
    """A type of tensor elements, or of the storages that hold them."""

    bytes: int


@dataclass(frozen=True)
class _Storage:
    numel: int
    item_bytes: int


class Outline(pickle._Unpickler):
    """Unpickles with outlines in the place of tensors, and with nothing that is not known."""

    dispatch: ClassVar = {
        code: load
        for code, load in pickle._Unpickler.dispatch.items()
        if code not in _REFUSED_OPERATIONS
    }

    def __init__(self, file: BinaryIO, storage_bytes: Callable[[str], int]) -> None:
        """`storage_bytes` says how many bytes of a storage the file holds, by its key."""
        super().__init__(file)
        self._storage_bytes = storage_bytes
        self.storages: dict[str, int] = {}

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401
        """Return the stand-in of a known type. Raises for every other."""
        known = _KNOWN.get(f"{module}.{name}")
        if known is None and module in ("torch", "torch.storage"):
            known = _item_type(name)
        if known is None:
            raise UnfitFile(
                f"it holds a {module[:80]}.{name[:80]}, and only tensors, numbers, text and "
                "containers of them are read. Save its weights alone, as .safetensors for example"
            )
        return known

    def persistent_load(self, pid: object) -> _Storage:
        """Return a storage that the file holds."""
        if not isinstance(pid, tuple) or len(pid) < 5:
            raise UnfitFile("it refers to something that is not tensor data")
        kind, item, key, _, numel, *_ = pid
        if kind != "storage" or not isinstance(item, _ItemType) or not isinstance(key, str):
            raise UnfitFile("it refers to something that is not tensor data")
        if not _is_count(numel):
            raise UnfitFile("the length of its tensor data is not a number")
        self.storages[key] = numel * item.bytes
        if self.storages[key] > self._storage_bytes(key):
            raise UnfitFile("a tensor is longer than its data")
        return _Storage(numel, item.bytes)


def _item_type(name: str) -> _ItemType | None:
    """Return the element type that a storage's or a type's name in torch means."""
    import torch

    if name in _STORAGE_BYTES:
        return _ItemType(_STORAGE_BYTES[name])
    kind = getattr(torch, name, None)
    return (
        None
        if not isinstance(kind, torch.dtype)
        else _ItemType(torch.empty(0, dtype=kind).element_size())
    )


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62


def _tensor(*described: object) -> TensorOutline:
    """Stand in for torch._utils._rebuild_tensor_v2(storage, offset, size, stride, ...)."""
    return _checked(described, item_bytes=None)


def _typed_tensor(*described: object) -> TensorOutline:
    """Stand in for _rebuild_tensor_v3(storage, offset, size, stride, grad, hooks, dtype, ...)."""
    kind = described[6]
    if not isinstance(kind, _ItemType):
        raise UnfitFile("the type of a tensor is unknown")
    return _checked(described, item_bytes=kind.bytes)


def _checked(described: tuple[object, ...], *, item_bytes: int | None) -> TensorOutline:
    """Refuse a tensor that does not lie within its storage: torch would take memory for it."""
    storage, offset, shape, stride, *_ = described
    if (
        not isinstance(storage, _Storage)
        or not isinstance(shape, tuple)
        or not isinstance(stride, tuple)
        or len(stride) != len(shape)
        or len(shape) > _MAX_DIMENSIONS
        or not _is_count(offset)
        or not all(map(_is_count, (*shape, *stride)))
    ):
        raise UnfitFile("a tensor is described wrongly")
    held = storage.numel * storage.item_bytes // (item_bytes or storage.item_bytes)
    count = math.prod(shape)
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    if count and (last >= held or count > held):
        raise UnfitFile("a tensor is longer than its data")
    return TensorOutline(shape)


def _parameter(data: object, *rest: object) -> TensorOutline:
    """Stand in for torch._utils._rebuild_parameter."""
    if not isinstance(data, TensorOutline):
        raise UnfitFile("a parameter is not a tensor")
    return data


class _Namespace:
    """Stands in for argparse.Namespace, in which recipes keep their options."""


class _NumpyType:
    """Stands in for a numpy.dtype of a number."""

    def __new__(cls, text: str, *rest: object) -> _NumpyType:
        if not isinstance(text, str) or not _NUMPY_SCALAR.fullmatch(text):
            raise UnfitFile("it holds a numpy type that is not a number")
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        """Its byte order and such do not matter here."""


def _numpy_scalar(kind: object, content: object) -> float:
    """Stand in for numpy's constructor of a number."""
    if not isinstance(kind, _NumpyType) or not isinstance(content, bytes):
        raise UnfitFile("a number of numpy is described wrongly")
    return 0.0


def _encode(text: object, codec: object = "latin1") -> bytes:
    """Stand in for _codecs.encode, by which protocol 2 writes bytes."""
    if not isinstance(text, str) or codec not in ("latin1", "latin-1"):
        raise UnfitFile("its bytes are written in a strange way")
    return text.encode("latin-1")


def _size(values: object = ()) -> tuple[int, ...]:
    if not isinstance(values, tuple | list) or not all(map(_is_count, values)):
        raise UnfitFile("a size is described wrongly")
    return tuple(values)


def _device(*args: object) -> str:
    return "device"


_KNOWN: Final[dict[str, Any]] = {
    "collections.OrderedDict": OrderedDict,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _typed_tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.Size": _size,
    "torch.device": _device,
    "__builtin__.set": set,
    "builtins.set": set,
    "argparse.Namespace": _Namespace,
    "numpy.dtype": _NumpyType,
    "numpy.core.multiarray.scalar": _numpy_scalar,
    "numpy._core.multiarray.scalar": _numpy_scalar,
    "_codecs.encode": _encode,
}
