"""Unpickling by an allow-list: plain values and tensors come back, everything else as an inert stand-in.

A pickle is a program that may call whatever it names. Here a name never becomes the object of that name: it becomes a
`Recipe`, which is one of ours for the few names on the list, and for all others one that makes stand-ins. So there is
nothing to call, to build, or to set an attribute of, but what this file defines.
"""

import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["ARRAY", "Inert", "Storage", "Unpickler"]

# Modules of which nothing but an attack has something in a checkpoint.
REFUSED = {"os", "posix", "nt", "subprocess", "runpy"}
REFUSED_BUILTINS = {f"builtins.{name}" for name in ("eval", "exec", "compile", "__import__", "open")}
ARRAY = "a numpy array"
MOST_DIMENSIONS = 64  # of torch and numpy


class Inert(dict[Any, Any]):
    """What stands for an object of a class that is not on the list: nothing but its name and, of a dict, its items.

    Attributes:
        name: Of the class or function, with its module.
        kind: What it is of, where it is a tensor that cannot be read; else empty.
    """

    def __init__(self, name: str, kind: str = "") -> None:
        super().__init__()
        self.name = name
        self.kind = kind


@dataclass(frozen=True, eq=False)
class Recipe:
    """What a name in a pickle stands for.

    Attributes:
        name: With its module.
        make: Arguments → value.
    """

    name: str
    make: Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Storage:
    """The numbers that tensors are views of.

    Attributes:
        values: All of them, (n,).
    """

    values: Tensor


class ElementType:
    """``numpy.dtype``, as far as numpy's scalars need it: its code, as ``i8``, and its byte order."""

    def __init__(self, code: Any) -> None:
        self.code = code if isinstance(code, str) else ""
        self.order = "="

    def scalar(self, content: Any) -> Any:
        """The number of this type that some bytes are."""
        if self.code[:1] not in tuple("biuf") or not isinstance(content, bytes):
            return Inert("numpy.generic")
        numbers = np.frombuffer(content, np.dtype(self.code).newbyteorder(self.order))
        return numbers.item() if numbers.size == 1 else Inert("numpy.generic")


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor | Inert:
    """A view of a storage; its place is checked, since the numbers may be damaged."""
    if not isinstance(storage, Storage):
        return Inert("torch.Tensor", "a tensor without data")
    plain = all(isinstance(side, tuple) and all(type(n) is int and n >= 0 for n in side) for side in (size, stride))
    if not plain or type(offset) is not int or offset < 0 or len(size) > MOST_DIMENSIONS:
        raise pickle.UnpicklingError("the place of a tensor is damaged")
    return storage.values.as_strided(size, stride, offset)  # raises where that is outside of the storage


def _tensor_of_type(storage: Any, offset: Any, size: Any, stride: Any, _grad: Any, _hooks: Any, dtype: Any) -> Any:
    if isinstance(storage, Storage) and isinstance(dtype, torch.dtype):
        storage = Storage(storage.values.view(dtype))
    return _tensor(storage, offset, size, stride)


def _first(value: Any = None, *_: Any) -> Any:
    return value if isinstance(value, Tensor | Inert) else Inert("torch.nn.Parameter", "a parameter without data")


def _subclass(function: Any, _kind: Any, arguments: Any, *_: Any) -> Any:
    """A tensor of a subclass, or with attributes: the tensor alone."""
    if isinstance(function, Recipe) and isinstance(arguments, tuple) and function.name.startswith("torch._utils."):
        return function.make(*arguments)
    return Inert("torch.Tensor", "a tensor of a class of its own")


def _encode(text: Any, encoding: Any = "latin1") -> bytes | Inert:
    """Protocol 2 writes bytes as text."""
    return text.encode("latin1") if isinstance(text, str) and encoding == "latin1" else Inert("_codecs.encode")


def _scalar(kind: Any, content: Any = b"") -> Any:
    return kind.scalar(content) if isinstance(kind, ElementType) else Inert("numpy.generic")


def _pairs(items: Any = (), *_: Any) -> "OrderedDict[Any, Any]":
    """An ordered dict, which old pickles give its items as a list of pairs."""
    made: OrderedDict[Any, Any] = OrderedDict()
    for pair in items if isinstance(items, list) else ():
        if isinstance(pair, list | tuple) and len(pair) == 2:
            put(made, *pair)
    return made


def _size(sides: Any = (), *_: Any) -> Any:
    return sides if isinstance(sides, tuple) else Inert("torch.Size")


def _number(*parts: Any) -> Any:
    fine = len(parts) == 2 and all(isinstance(part, float) for part in parts)
    return complex(*parts) if fine else Inert("builtins.complex")


def _unreadable(name: str, kind: str) -> Callable[..., Inert]:
    return lambda *_: Inert(name, kind)


UTILS = "torch._utils._rebuild_"
UNREADABLE = {
    "qtensor": "a quantised tensor",
    "sparse_tensor": "a sparse tensor",
    "sparse_csr_tensor": "a sparse tensor",
    "nested_tensor": "a nested tensor",
    "meta_tensor_no_storage": "a tensor without data",
    "wrapper_subclass": "a tensor of a class of its own",
    "device_tensor_from_numpy": ARRAY,
    "device_tensor_from_cpu_tensor": "a tensor of another device",
    "xla_tensor": ARRAY,
}
KNOWN: dict[str, Callable[..., Any]] = {
    f"{UTILS}tensor": _tensor,
    f"{UTILS}tensor_v2": _tensor,
    f"{UTILS}tensor_v3": _tensor_of_type,
    f"{UTILS}parameter": _first,
    f"{UTILS}parameter_with_state": _first,
    **{UTILS + name: _unreadable(UTILS + name, kind) for name, kind in UNREADABLE.items()},
    "torch._tensor._rebuild_from_type_v2": _subclass,
    "torch.nn.parameter.Parameter": _first,
    "torch.Size": _size,
    "collections.OrderedDict": _pairs,
    "_codecs.encode": _encode,
    "builtins.complex": _number,
    "numpy.dtype": lambda code="", *_: ElementType(code),
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
    "numpy.core.multiarray._reconstruct": _unreadable("numpy.ndarray", ARRAY),
    "numpy._core.multiarray._reconstruct": _unreadable("numpy.ndarray", ARRAY),
    "numpy._core.numeric._frombuffer": _unreadable("numpy.ndarray", ARRAY),
    "numpy.core.numeric._frombuffer": _unreadable("numpy.ndarray", ARRAY),
    "torch.distributed.tensor.DTensor": _unreadable("torch.distributed.tensor.DTensor", "a distributed tensor"),
}
DTYPES = {f"torch.{name}": value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}
STORAGES = {
    **{
        f"torch.{name}Storage": dtype
        for name, dtype in {
            **{"Float": torch.float32, "Double": torch.float64, "Half": torch.float16, "BFloat16": torch.bfloat16},
            **{"Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8},
            **{"Bool": torch.bool, "ComplexFloat": torch.complex64, "ComplexDouble": torch.complex128},
        }.items()
    },
    "torch.storage.UntypedStorage": torch.uint8,
}


def put(target: dict[Any, Any], key: Any, value: Any) -> None:
    """Set an item whose key may be anything.

    Only plain keys are kept. A tuple of tuples of tuples, which share their parts, would take for ever to hash.
    """
    parts = key if isinstance(key, tuple) else (key,)
    if all(isinstance(part, str | bytes | int | float | None) for part in parts):
        target[key] = value


class Unpickler(pickle._Unpickler):
    """Reads one pickle, and runs nothing of it.

    It is Python's own, in Python and not in C: there a damaged number allocates gigabytes.

    Args:
        file: Where it begins; its ``read`` must not allocate more than there is.
        storage: Storage type, key, number of elements and, in old files, the place of a view → storage.

    Attributes:
        refused: The names in it that stand for no value of ours, in their order.
    """

    stack: list[Any]
    read: Callable[[int], bytes]
    readline: Callable[[], bytes]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, file: Any, storage: Callable[..., Storage] | None = None) -> None:
        super().__init__(file, encoding="utf-8", errors="surrogateescape")
        self._storage = storage
        self.refused: list[str] = []

    def find_class(self, module: str, name: str) -> Any:
        """What a name stands for; never the object of that name."""
        module = {"__builtin__": "builtins", "torch.tensor": "torch._tensor"}.get(module, module)
        full = f"{module}.{name}"
        if module.split(".")[0] in REFUSED or full in REFUSED_BUILTINS:
            raise pickle.UnpicklingError(f"GLOBAL {full} is a call")
        if full in DTYPES:
            return DTYPES[full]
        if full in STORAGES:
            return STORAGES[full]
        if full not in KNOWN:
            self.refused.append(full)
        return Recipe(full, KNOWN.get(full, _unreadable(full, "")))

    def persistent_load(self, pid: Any) -> Any:
        """A storage; in old files also a class with its source, of which the class is taken."""
        sort = pid[0] if isinstance(pid, tuple) and pid else None
        if sort in ("module", b"module") and len(pid) > 1:
            return pid[1]
        if sort not in ("storage", b"storage") or len(pid) < 5 or self._storage is None:
            raise pickle.UnpicklingError("an object that lies elsewhere")
        dtype, key, _device, count, *view = pid[1:]
        if not isinstance(dtype, torch.dtype) or not isinstance(key, str | int) or type(count) is not int:
            return Inert("torch.Storage", "a tensor of an unknown type")
        return self._storage(dtype, key, count, *view)

    def load_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack[-1]
        self.stack[-1] = _made(function, arguments)

    def load_newobj_ex(self) -> None:
        _named, arguments, kind = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self.stack.append(_made(kind, arguments))

    def load_obj(self) -> None:
        kind, *arguments = self.pop_mark()
        self.stack.append(_made(kind, tuple(arguments)))

    def load_inst(self) -> None:
        module, name = (self.readline()[:-1].decode("ascii") for _ in range(2))
        self.stack.append(_made(self.find_class(module, name), tuple(self.pop_mark())))

    def load_build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, ElementType) and isinstance(state, tuple) and len(state) > 1:
            target.order = state[1] if state[1] in ("<", ">") else "="
        if isinstance(target, Tensor):
            raise pickle.UnpicklingError("a tensor that is made in two steps")

    def load_append(self) -> None:
        value = self.stack.pop()
        self._extend(self.stack[-1], [value])

    def load_appends(self) -> None:
        values = self.pop_mark()
        self._extend(self.stack[-1], values)

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._update(self.stack[-1], [key, value])

    def load_setitems(self) -> None:
        items = self.pop_mark()
        self._update(self.stack[-1], items)

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.stack.append({})
        self._update(self.stack[-1], items)

    def load_empty_set(self) -> None:
        self.stack.append(Inert("builtins.set"))

    def load_frozenset(self) -> None:
        self.pop_mark()
        self.load_empty_set()

    def load_additems(self) -> None:
        self.pop_mark()

    def load_bytearray8(self) -> None:
        (length,) = struct.unpack("<Q", self.read(8))
        self.stack.append(self.read(length))  # not allocated beforehand

    def get_extension(self, code: int) -> None:
        raise pickle.UnpicklingError(f"the extension {code}")

    @staticmethod
    def _extend(target: Any, values: list[Any]) -> None:
        if type(target) is list:
            target.extend(values)
        elif not isinstance(target, Inert):
            raise pickle.UnpicklingError("items of what is no list")

    @staticmethod
    def _update(target: Any, items: list[Any]) -> None:
        if not isinstance(target, dict):
            raise pickle.UnpicklingError("items of what is no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            put(target, key, value)

    dispatch = {
        **pickle._Unpickler.dispatch,
        pickle.REDUCE[0]: load_reduce,
        pickle.NEWOBJ[0]: load_reduce,
        pickle.NEWOBJ_EX[0]: load_newobj_ex,
        pickle.OBJ[0]: load_obj,
        pickle.INST[0]: load_inst,
        pickle.BUILD[0]: load_build,
        pickle.APPEND[0]: load_append,
        pickle.APPENDS[0]: load_appends,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.DICT[0]: load_dict,
        pickle.EMPTY_SET[0]: load_empty_set,
        pickle.FROZENSET[0]: load_frozenset,
        pickle.ADDITEMS[0]: load_additems,
        pickle.BYTEARRAY8[0]: load_bytearray8,
    }


def _made(function: Any, arguments: Any) -> Any:
    if not isinstance(function, Recipe) or not isinstance(arguments, tuple):
        return Inert("object")
    return function.make(*arguments)
