"""The unpickler, which resolves names by an allow-list; see ``stripe.checkpoint.inert``."""

import pickle
import struct
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from stripe.checkpoint.inert import DTYPES, KNOWN, STORAGES, Construction, ElementType, Inert, Storage, put, unreadable

__all__ = ["Unpickler"]

# Modules and functions that occur in a checkpoint only if it is an attack.
REFUSED = {"os", "posix", "nt", "subprocess", "runpy"}
REFUSED_BUILTINS = {f"builtins.{name}" for name in ("eval", "exec", "compile", "__import__", "open")}


class Unpickler(pickle._Unpickler):
    """An unpickler that reads one pickle and runs nothing in it.

    It is derived from Python's own unpickler in Python: in the one in C a damaged number allocates gigabytes.

    Args:
        file: File at the start of the pickle; its ``read`` must not allocate more than the file holds.
        storage: Function that makes a storage from its type, its key, the number of elements and, in old files, the
            position of a view.

    Attributes:
        refused: Names in the pickle that are not on the list, in their order.
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
        """Return our recipe for a name, never the object of that name."""
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
        return Construction(full, KNOWN.get(full, unreadable(full, "")))

    def persistent_load(self, pid: Any) -> Any:
        """Return a storage; or, in old files, the class of a class with its source."""
        sort = pid[0] if isinstance(pid, tuple) and pid else None
        if sort in ("module", b"module") and len(pid) > 1:
            return pid[1]
        if sort not in ("storage", b"storage") or len(pid) < 5 or self._storage is None:
            raise pickle.UnpicklingError("an object that lies elsewhere")
        dtype, key, _device, count, *view = pid[1:]
        if not isinstance(dtype, torch.dtype) or not isinstance(key, str | int) or type(count) is not int:
            return Inert("torch.Storage", "a tensor of an unknown type")
        return self._storage(dtype, key, count, *view)

    def _reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack[-1]
        self.stack[-1] = _made(function, arguments)

    def _newobj_ex(self) -> None:
        _named, arguments, kind = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self.stack.append(_made(kind, arguments))

    def _obj(self) -> None:
        kind, *arguments = self.pop_mark()
        self.stack.append(_made(kind, tuple(arguments)))

    def _inst(self) -> None:
        module, name = (self.readline()[:-1].decode("ascii") for _ in range(2))
        self.stack.append(_made(self.find_class(module, name), tuple(self.pop_mark())))

    def _build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, ElementType) and isinstance(state, tuple) and len(state) > 1:
            target.order = state[1] if state[1] in ("<", ">") else "="
        if isinstance(target, Tensor):
            raise pickle.UnpicklingError("a tensor that is made in two steps")

    def _append(self) -> None:
        value = self.stack.pop()
        self._extend(self.stack[-1], [value])

    def _appends(self) -> None:
        values = self.pop_mark()
        self._extend(self.stack[-1], values)

    def _setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._update(self.stack[-1], [key, value])

    def _setitems(self) -> None:
        items = self.pop_mark()
        self._update(self.stack[-1], items)

    def _dict(self) -> None:
        items = self.pop_mark()
        self.stack.append({})
        self._update(self.stack[-1], items)

    def _empty_set(self) -> None:
        self.stack.append(Inert("builtins.set"))

    def _frozenset(self) -> None:
        self.pop_mark()
        self._empty_set()

    def _additems(self) -> None:
        self.pop_mark()

    def _bytearray8(self) -> None:
        (length,) = struct.unpack("<Q", self.read(8))
        self.stack.append(self.read(length))  # not allocated beforehand

    def get_extension(self, code: int) -> None:
        """Refuse names that a program has given numbers to, as no checkpoint has them."""
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

    dispatch: ClassVar[dict[int, Any]] = {
        **pickle._Unpickler.dispatch,
        pickle.REDUCE[0]: _reduce,
        pickle.NEWOBJ[0]: _reduce,
        pickle.NEWOBJ_EX[0]: _newobj_ex,
        pickle.OBJ[0]: _obj,
        pickle.INST[0]: _inst,
        pickle.BUILD[0]: _build,
        pickle.APPEND[0]: _append,
        pickle.APPENDS[0]: _appends,
        pickle.SETITEM[0]: _setitem,
        pickle.SETITEMS[0]: _setitems,
        pickle.DICT[0]: _dict,
        pickle.EMPTY_SET[0]: _empty_set,
        pickle.FROZENSET[0]: _frozenset,
        pickle.ADDITEMS[0]: _additems,
        pickle.BYTEARRAY8[0]: _bytearray8,
    }


def _made(function: Any, arguments: Any) -> Any:
    if not isinstance(function, Construction) or not isinstance(arguments, tuple):
        return Inert("object")
    return function.make(*arguments)
