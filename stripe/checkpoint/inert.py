"""Unpickling by an allow-list: plain values and tensors are restored, everything else becomes an inert stand-in.

A pickle is a program that may call any function that it names. Here a name never becomes the object of that name, but a
``Construction``: one of ours for the few names on the list, and one that makes stand-ins for all others. So a pickle
can call, build and change nothing but the objects that this file defines.
"""

import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "ARRAY",
    "DTYPES",
    "KNOWN",
    "STORAGES",
    "Construction",
    "ElementType",
    "Inert",
    "Storage",
    "put",
    "unreadable",
]

ARRAY = "a numpy array"
MOST_DIMENSIONS = 64  # limit of torch and NumPy


class Inert(dict[Any, Any]):
    """Stand-in for an object whose class is not on the list, with its name and, if it is a dict, its items.

    Attributes:
        name: Name of the class or function, with its module.
        kind: Kind of the tensor, if it stands for a tensor that cannot be read; else empty.
    """

    def __init__(self, name: str, kind: str = "") -> None:
        super().__init__()
        self.name = name
        self.kind = kind


@dataclass(frozen=True, eq=False)
class Construction:
    """Function of ours that a name in a pickle stands for.

    Attributes:
        name: Name in the pickle, with its module.
        make: Function that makes a value from the arguments.
    """

    name: str
    make: Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Storage:
    """Numbers that tensors are views of.

    Attributes:
        values: All numbers as a tensor (n,).
    """

    values: Tensor


class ElementType:
    """The part of ``numpy.dtype`` that NumPy's scalars need: a code such as ``i8``, and the byte order."""

    def __init__(self, code: Any) -> None:
        self.code = code if isinstance(code, str) else ""
        self.order = "="

    def scalar(self, content: Any) -> Any:
        """Read a number of this type from bytes."""
        if not re.fullmatch(r"[biuf]\d{1,2}", self.code) or not isinstance(content, bytes):
            return Inert("numpy.generic")
        numbers = np.frombuffer(content, np.dtype(self.order + self.code))
        return numbers.item() if numbers.size == 1 else Inert("numpy.generic")


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor | Inert:
    """Make a tensor as a view of a storage; its position is checked, as it may be damaged."""
    if not isinstance(storage, Storage):
        return Inert("torch.Tensor", "a tensor without data")
    plain = all(isinstance(side, tuple) and all(type(n) is int and n >= 0 for n in side) for side in (size, stride))
    if not plain or type(offset) is not int or offset < 0 or len(size) > MOST_DIMENSIONS:
        raise pickle.UnpicklingError("the place of a tensor is damaged")
    return storage.values.as_strided(size, stride, offset)  # raises if the view is outside of the storage


def _tensor_of_type(storage: Any, offset: Any, size: Any, stride: Any, _grad: Any, _hooks: Any, dtype: Any) -> Any:
    if isinstance(storage, Storage) and isinstance(dtype, torch.dtype):
        storage = Storage(storage.values.view(dtype))
    return _tensor(storage, offset, size, stride)


def _first(value: Any = None, *_: Any) -> Any:
    return value if isinstance(value, Tensor | Inert) else Inert("torch.nn.Parameter", "a parameter without data")


def _subclass(function: Any, _kind: Any, arguments: Any, *_: Any) -> Any:
    """Make a tensor of a subclass, or with attributes, as a plain tensor."""
    if (
        isinstance(function, Construction)
        and isinstance(arguments, tuple)
        and function.name.startswith("torch._utils.")
    ):
        return function.make(*arguments)
    return Inert("torch.Tensor", "a tensor of a class of its own")


def _encode(text: Any, encoding: Any = "latin1") -> bytes | Inert:
    """Restore bytes, which protocol 2 writes as text."""
    return text.encode("latin1") if isinstance(text, str) and encoding == "latin1" else Inert("_codecs.encode")


def _scalar(kind: Any, content: Any = b"") -> Any:
    return kind.scalar(content) if isinstance(kind, ElementType) else Inert("numpy.generic")


def _pairs(items: Any = (), *_: Any) -> "OrderedDict[Any, Any]":
    """Make an ordered dict, whose items old pickles give as a list of pairs."""
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


def unreadable(name: str, kind: str) -> Callable[..., Inert]:
    """Return a function that makes stand-ins of one kind from any arguments."""
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
    **{UTILS + name: unreadable(UTILS + name, kind) for name, kind in UNREADABLE.items()},
    "torch._tensor._rebuild_from_type_v2": _subclass,
    "torch.nn.parameter.Parameter": _first,
    "torch.Size": _size,
    "collections.OrderedDict": _pairs,
    "_codecs.encode": _encode,
    "builtins.complex": _number,
    "numpy.dtype": lambda code="", *_: ElementType(code),
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
    "numpy.core.multiarray._reconstruct": unreadable("numpy.ndarray", ARRAY),
    "numpy._core.multiarray._reconstruct": unreadable("numpy.ndarray", ARRAY),
    "numpy._core.numeric._frombuffer": unreadable("numpy.ndarray", ARRAY),
    "numpy.core.numeric._frombuffer": unreadable("numpy.ndarray", ARRAY),
    "torch.distributed.tensor.DTensor": unreadable("torch.distributed.tensor.DTensor", "a distributed tensor"),
}
DTYPES = {f"torch.{name}": value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}
STORAGES = {
    "torch.storage.UntypedStorage": torch.uint8,
    "torch.FloatStorage": torch.float32,
    "torch.DoubleStorage": torch.float64,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
    "torch.QInt8Storage": torch.int8,
    "torch.QUInt8Storage": torch.uint8,
    "torch.QInt32Storage": torch.int32,
    "torch.ComplexFloatStorage": torch.complex64,
    "torch.ComplexDoubleStorage": torch.complex128,
}


def put(target: dict[Any, Any], key: Any, value: Any) -> None:
    """Set an item of a dictionary, if its key is a plain value.

    Other keys are dropped: the hash of nested tuples that share their parts would take for ever.
    """
    parts = key if isinstance(key, tuple) else (key,)
    if all(isinstance(part, str | bytes | int | float | None) for part in parts):
        target[key] = value
