"""Reading of torch's own files (.pth, .pt, .bin, .ckpt …), which are pickles, without running their content."""

import io
import mmap
import re
import stat
import struct
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stripe.checkpoint.inert import Storage
from stripe.checkpoint.unpickler import Unpickler
from stripe.errors import StripeError

__all__ = ["Pickled", "read_pickled", "refusal", "regular"]

HDF5 = b"\x89HDF\r\n\x1a\n"  # first bytes of these files
MAGIC_NUMBER, PROTOCOL_VERSION = 0x1950A86A20F9469CFC6C, 1001  # at the start of files before torch 1.6
LOCAL_HEADER = 30  # bytes before the name of an entry in a zip archive


@dataclass(frozen=True)
class Pickled:
    """Content of a file that ``torch.save`` wrote.

    Attributes:
        content: Tensors on the CPU, plain values, and stand-ins for everything else.
        refused: Names of the classes and functions that stand-ins replace.
    """

    content: Any
    refused: list[str]


def read_pickled(path: Path, *, tensors: bool = True) -> Pickled:
    """Read a file that ``torch.save`` wrote; nothing in it runs, see ``stripe.checkpoint.inert``.

    Tensors are mapped from the file and not read, if its format permits it (since torch 1.6).

    Args:
        path: Path of the file.
        tensors: Whether the values of tensors are needed; if not, those of old files are undefined.

    Raises:
        StripeError: The file is not a checkpoint, is damaged, or names functions that no checkpoint has.
    """
    try:
        regular(path)
        if zipfile.is_zipfile(path):
            return _read_zip(path)
        return _read_old(path, tensors)
    except StripeError:
        raise
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise StripeError(f"{path} cannot be read: {error.strerror}") from error
    except Exception as error:  # a damaged file may raise anything
        raise StripeError(_explain(path, str(error))) from error


def regular(path: Path) -> None:
    """Check that a path is a regular file; reading a pipe would wait.

    Raises:
        StripeError: The path is not a regular file.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # also for a name with a NUL
        raise StripeError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not stat.S_ISREG(mode):
        raise StripeError(f"{path} cannot be read: it is no file, but a folder, a pipe or a device")


def refusal(path: Path, name: str) -> str:
    """The message about a file that holds a Python object instead of tensors."""
    return (
        f"{path} holds a Python object ({name}) and not only tensors; loading it could run code, so it "
        "is not loaded. Where you trust it, save its state dict: torch.save(model.state_dict(), 'new.pth')"
    )


def _read_zip(path: Path) -> Pickled:
    """Read a zip archive, which holds one pickle and one uncompressed file per storage."""
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        entries = {entry.filename.partition("/")[2]: entry for entry in archive.infolist()}
        if "constants.pkl" in entries:
            raise ValueError("TorchScript")
        if (order := entries.get("byteorder")) and archive.read(order) != sys.byteorder.encode():
            raise StripeError(f"{path} was written on a machine of another byte order; save it again on one like this")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
            raise StripeError(f"{path} is a compressed archive; unpack it, and pack it with `zip -0` or torch.save")
        size = path.stat().st_size
        whole = _mapped(path, size)

        def place(entry: zipfile.ZipInfo) -> int:
            file.seek(entry.header_offset)
            header = file.read(LOCAL_HEADER)
            start: int = entry.header_offset + LOCAL_HEADER + sum(struct.unpack("<HH", header[26:30]))
            if header[:4] != b"PK\x03\x04" or start + entry.file_size > size:
                raise ValueError("an entry of the archive lies outside of it")
            return start

        storages: dict[str | int, Storage] = {}

        def storage(dtype: torch.dtype, key: str | int, count: int) -> Storage:
            if key not in storages:
                entry = entries[f"data/{key}"]
                length = count * dtype.itemsize
                if length != entry.file_size:
                    raise ValueError("a storage has another size than its entry")
                start = place(entry)
                values = whole[start : start + length]
                storages[key] = Storage(_typed(values.clone() if start % dtype.itemsize else values, dtype))
            found = storages[key]
            return found if found.values.dtype == dtype else Storage(found.values.view(dtype))

        pickled = entries["data.pkl"]
        file.seek(place(pickled))
        unpickler = Unpickler(io.BytesIO(file.read(pickled.file_size)), storage)
        return Pickled(unpickler.load(), unpickler.refused)


def _read_old(path: Path, tensors: bool) -> Pickled:
    """Read the format before torch 1.6: five pickles, then the storages one after the other."""
    left = path.stat().st_size
    storages: dict[str | int, Storage] = {}

    def storage(dtype: torch.dtype, key: str | int, count: int, view: Any = None) -> Storage:
        nonlocal left
        if key not in storages:
            length = count * dtype.itemsize
            left -= length
            if count < 0 or left < 0:
                raise ValueError("storages longer than the file")
            storages[key] = Storage(torch.empty(count, dtype=dtype))
        found = storages[key]
        if view is None:
            return found
        _key, offset, length = view
        return Storage(found.values.narrow(0, offset, length))

    with path.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as file:
        if [Unpickler(file).load() for _ in range(2)] != [MAGIC_NUMBER, PROTOCOL_VERSION]:
            raise ValueError("another format")
        Unpickler(file).load()  # sizes of the types of C
        unpickler = Unpickler(file, storage)
        content = unpickler.load()
        for key in Unpickler(file).load():
            values = storages[key].values
            (count,) = struct.unpack("<q", file.read(8))
            if count != len(values) or values.nbytes > len(file) - file.tell():
                raise ValueError("a storage has another size than was said")
            if tensors and count:
                opened.seek(file.tell())
                opened.readinto(values.view(torch.uint8).numpy())
            file.seek(values.nbytes, io.SEEK_CUR)
    return Pickled(content, unpickler.refused)


def _mapped(path: Path, size: int) -> torch.UntypedStorage:
    try:
        mapped = torch.UntypedStorage.from_file(str(path), False, size)
    except (RuntimeError, UnicodeError):  # a file system without mapping, or a name that is not UTF-8
        return torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8).untyped_storage()
    assert isinstance(mapped, torch.UntypedStorage)
    return mapped


def _typed(storage: torch.UntypedStorage, dtype: torch.dtype) -> torch.Tensor:
    return torch.empty(0, dtype=dtype).set_(storage)


def _explain(path: Path, error: str) -> str:
    forbidden = re.search(r"GLOBAL (\S+)", error)
    if forbidden:
        return refusal(path, forbidden[1])
    if "TorchScript" in error:
        return (
            f"{path} is a TorchScript archive, which is code and not weights; "
            "save its state dict: torch.save(torch.jit.load(path).state_dict(), 'weights.pth')"
        )
    with path.open("rb") as file:
        if file.read(len(HDF5)) == HDF5:
            return (
                f"{path} is no checkpoint, but HDF5, as captures are: `stripe analyze`, `plot` and `report` take it as "
                "it is; here a network's weights are wanted, such as best.safetensors of a run"
            )
    return (
        f"{path} is not a checkpoint that can be read safely: it is empty, cut short, of another format, or a "
        "pickle of Python objects"
    )
