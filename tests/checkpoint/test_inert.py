"""Objects beside the weights in a pickled checkpoint: they do not run, and do not prevent reading."""

import argparse
import collections
import contextlib
import dataclasses
import datetime
import decimal
import enum
import functools
import operator
import os
import pathlib
import pickle
import random
import struct
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stripe import checkpoint
from stripe.errors import StripeError

STATE = {"conv.weight": torch.arange(6.0).reshape(2, 3), "bn.bias": torch.ones(2)}


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Settings:
    rate: float = 0.1


class Attributes(dict[str, Any]):
    """As EasyDict, yacs and the like have them."""


class Lines(list[str]):
    pass


class Slotted:
    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 1


HARMLESS = {
    "array": np.arange(3.0),
    "array of records": np.zeros(2, dtype=[("a", "i4")]),
    "state of numpy's generator": np.random.RandomState(0).get_state(),
    "generator of numpy": np.random.default_rng(0),
    "state of Python's generator": random.getstate(),
    "state of torch's generator": torch.get_rng_state(),
    "path": pathlib.Path("/x"),
    "defaultdict": collections.defaultdict(list, {"loss": [1.0]}),
    "deque": collections.deque([1, 2]),
    "counter": collections.Counter("aab"),
    "datetime": datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
    "timedelta": datetime.timedelta(1),
    "namespace": argparse.Namespace(folder=pathlib.Path("x")),
    "simple namespace": types.SimpleNamespace(a=1),
    "partial": functools.partial(torch.optim.Adam, lr=1),
    "attrgetter": operator.attrgetter("a.b"),
    "bound method": "x".join,
    "class": int,
    "function": pathlib.Path.exists,
    "member of an enum": Colour.RED,
    "dataclass": Settings(),
    "subclass of dict": Attributes(a=1),
    "subclass of list": Lines(["a"]),
    "slots": Slotted(),
    "set": {1, 2},
    "frozen set": frozenset([1]),
    "bytearray": bytearray(b"x"),
    "bytes": b"\xff",
    "complex": 1j,
    "decimal": decimal.Decimal(1),
    "huge integer": 10**400,
    "exception": ValueError("x"),
    "device": torch.device("cuda"),
    "dtype": torch.float16,
    "size": torch.Size([1]),
    "parameter": nn.Parameter(torch.ones(2)),
    "sparse tensor": torch.eye(3).to_sparse(),
    "module": nn.Linear(2, 2),
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_objects(tmp_path: Path, name: str, protocol: int, zipped: bool) -> None:
    thing = HARMLESS[name]
    content = {"epoch": np.int64(4), "log": {"x": [thing]}, "state_dict": STATE, "args": thing}
    path = tmp_path / "a.ckpt"
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    found = checkpoint.read(path)
    assert found.state_dict.keys() == STATE.keys()
    assert all(torch.equal(found.state_dict[key], STATE[key]) for key in STATE)
    assert found.epoch == 4
    assert checkpoint.find([path]) == [path]


@pytest.mark.parametrize("number", [np.int64(7), np.int32(7), np.uint8(7), np.dtype(">i4").type(7), torch.tensor(7), 7])
def test_kinds_of_epochs(tmp_path: Path, number: Any) -> None:
    torch.save({"epoch": number, "state_dict": STATE}, tmp_path / "a.pth")
    assert checkpoint.read(tmp_path / "a.pth").epoch == 7


@pytest.mark.parametrize("number", [10**30, -1, np.float64(1.5), np.str_("7"), np.arange(3)])
def test_an_epoch_that_is_none(tmp_path: Path, number: Any) -> None:
    torch.save({"epoch": number, "state_dict": STATE}, tmp_path / "a.pth")
    assert checkpoint.read(tmp_path / "a.pth").epoch is None


def test_tensors_of_all_kinds_come_back_as_they_were(tmp_path: Path) -> None:
    base = torch.arange(24.0)
    state = {
        "a.transposed": base.reshape(4, 6).t(),
        "a.part": base[3:9:2],
        "a.scalar": torch.tensor(3),
        "a.empty": torch.zeros(0, 2),
        "a.parameter": nn.Parameter(torch.ones(2)),
        **{
            f"a.{kind}": torch.arange(3).to(kind)
            for kind in (torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.uint8, torch.bool)
        },
        "a.complex": torch.tensor([1 + 2j]),
        "a.fp8": torch.ones(3).to(torch.float8_e4m3fn),
        "a.uint16": torch.arange(3).to(torch.uint16),
    }
    for zipped in (True, False):
        torch.save(state, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
        found = checkpoint.read(tmp_path / "a.pth").state_dict
        assert found.keys() == state.keys()
        for name, value in state.items():
            assert found[name].dtype == value.dtype
            assert found[name].shape == value.shape
            assert found[name].tolist() == value.tolist()


@pytest.mark.parametrize(
    ("kind", "tensor"),
    [
        ("a sparse tensor", torch.eye(3).to_sparse()),
        ("a tensor without data", torch.empty(3, device="meta")),
        ("a numpy array", np.ones(3)),
    ],
    ids=["sparse", "meta", "numpy"],
)
def test_tensors_that_are_no_plain_ones(tmp_path: Path, kind: str, tensor: Any) -> None:
    torch.save({"a.weight": tensor}, tmp_path / "a.pth")
    with pytest.raises(StripeError, match=rf"a\.pth: a\.weight is {kind}; save a state dict of plain tensors"):
        checkpoint.read(tmp_path / "a.pth")


def mark(folder: str) -> None:
    os.mkdir(folder)  # noqa: PTH102


class Call:
    """Pickled, it is the call of a function."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.parts


class Hook:
    """An object whose building calls ``__setstate__``."""

    def __setstate__(self, state: Any) -> None:
        mark(state["folder"])

    def __getstate__(self) -> Any:
        return {"folder": self.folder}


def attacks(folder: str) -> dict[str, Any]:
    """Objects that make a folder when plain pickle loads them."""
    hook = Hook()
    hook.folder = folder  # type: ignore[attr-defined]
    line = f"__import__('os').mkdir({folder!r})"
    return {
        "function": Call(mark, folder),
        "of os": Call(os.mkdir, folder),
        "system": Call(os.system, f"mkdir {folder}"),
        "eval": Call(eval, line),
        "exec": Call(exec, line),
        "getattr": Call(pathlib.Path(folder).mkdir),
        "partial": Call(functools.partial(mark, folder)),
        "methodcaller": Call(operator.methodcaller("mkdir"), pathlib.Path(folder)),
        "method": Call(pathlib.Path.mkdir, pathlib.Path(folder)),
        "map": Call(list, Call(map, mark, [folder])),
        "setstate": hook,
        "pickle in a pickle": Call(pickle.loads, pickle.dumps(Call(mark, folder))),
        "class of a tensor": Call(torch._tensor._rebuild_from_type_v2, mark, torch.Tensor, (folder,), {}),
    }


def test_the_attacks_work_elsewhere(tmp_path: Path) -> None:
    for name in attacks(""):
        folder = tmp_path / name.replace(" ", "-")
        with contextlib.suppress(AttributeError):  # of what comes after the call
            pickle.loads(pickle.dumps(attacks(str(folder))[name]))
        assert folder.exists(), name


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_runs(tmp_path: Path, protocol: int, zipped: bool) -> None:
    folder = tmp_path / "ran"
    for name, attack in attacks(str(folder)).items():
        for place in ({"state_dict": STATE, "extra": attack}, {"state_dict": {**STATE, "x": attack}}, attack):
            path = tmp_path / "a.pth"
            torch.save(place, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
            try:
                found = checkpoint.read(path)
            except StripeError:
                continue
            finally:
                assert not folder.exists(), name
            assert found.state_dict.keys() == STATE.keys()
    assert not folder.exists()


def archive(path: Path, content: bytes) -> Path:
    """A file as ``torch.save`` makes it, around a pickle of our own."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", content)
        file.writestr("a/byteorder", "little")
        file.writestr("a/data/0", struct.pack("<2f", 1, 2))
        file.writestr("a/version", "3")
    return path


# Programs for the unpickler that pickle.dumps never writes.
PROGRAMS = {
    "attributes of a class on the list": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}X\x01\x00\x00\x00aK\x01s\x86b.",
    "a class by INST": b"(S'{folder}'\niposix\nmkdir\n.",
    "a class by OBJ": b"(cposix\nmkdir\nS'{folder}'\no.",
    "a class by OBJ, of a harmless module": b"(c{module}\nmark\nS'{folder}'\no.",
    "a function by NEWOBJ": b"\x80\x02c{module}\nmark\nX\x04\x00\x00\x00name\x85\x81.",
    "a function that lies in the memo": b"\x80\x02c{module}\nmark\nq\x000h\x00S'{folder}'\n\x85R.",
    "an extension": b"\x80\x02\x82\x01.",
    "a name with dots": b"\x80\x04\x8c\x05torch\x94\x8c\x08hub.load\x94\x93.",
    "an identifier that is text": b"P1\n.",
    "a class as identifier": b"\x80\x02X\x06\x00\x00\x00modulecposix\nmkdir\nX\x01\x00\x00\x00aX\x01\x00\x00\x00b(tQ.",
    "a class with its source": b"\x80\x02(X\x06\x00\x00\x00modulec{module}\nmark\nX\x01\x00\x00\x00a\x8c\x01btQ.",
    "a huge place in the memo": b"\x80\x02K\x01r\xff\xff\xff\xff.",
    "a huge bytearray": b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x0f.",
    "a huge text": b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x0f.",
    "a huge frame": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x0f.",
    "a key that takes for ever to hash": b"\x80\x02})" + b"q\x00h\x00\x86" * 60 + b"K\x01s.",
    "a tensor outside of its storage": (
        b"\x80\x02}X\x03\x00\x00\x00a.bctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage"
        b"\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x02tQK\x00K\x09\x85K\x01\x85\x89}tRs."
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "ran"
    program = PROGRAMS[name].replace(b"{folder}", str(folder).encode()).replace(b"{module}", __name__.encode())
    before = dict(vars(torch._utils._rebuild_tensor_v2))
    with pytest.raises(StripeError, match=r"a\.pth"):
        checkpoint.read(archive(tmp_path / "a.pth", program))
    assert not folder.exists()
    assert vars(torch._utils._rebuild_tensor_v2) == before


def test_a_compressed_archive(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "a.pth")
    with (
        zipfile.ZipFile(tmp_path / "a.pth") as old,
        zipfile.ZipFile(tmp_path / "b.pth", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(StripeError, match=r"b\.pth is a compressed archive"):
        checkpoint.read(tmp_path / "b.pth")


def test_an_archive_whose_storages_are_not_aligned(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "a.pth") as old, zipfile.ZipFile(tmp_path / "b.pth", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    found: dict[str, Tensor] = checkpoint.read(tmp_path / "b.pth").state_dict
    assert all(torch.equal(found[key], STATE[key]) for key in STATE)


def test_an_unknown_byte_order(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "a.pth")
    content = (tmp_path / "a.pth").read_bytes()
    at = content.index(b"little", content.index(b"byteorder"))
    (tmp_path / "a.pth").write_bytes(content[:at] + b"bigbig" + content[at + 6 :])
    with pytest.raises(StripeError, match=r"a\.pth"):
        checkpoint.read(tmp_path / "a.pth")
