"""Contiguous datasets as plain ranges of bytes in a file.

HDF5 lays out the file; the values are read and written past it. Its write buffers would report a full disk when they
are dropped, which nobody hears, and its lock would keep readers away from a capture in progress.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np

__all__ = ["Slab", "SlabWriter", "slabs"]


@dataclass(frozen=True)
class Slab:
    """A dataset in one piece.

    Attributes:
        path: The file.
        offset: Where it begins, in bytes.
        shape: Sizes of its axes, the slowest first.
        dtype: Type of its elements.
    """

    path: Path
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    def __getitem__(self, key: Any) -> np.ndarray[Any, Any]:
        """A read-only view of a part; the file is opened here, so that the slab can be sent to another process."""
        return np.asarray(np.memmap(self.path, self.dtype, "r", self.offset, self.shape)[key])


def slabs(file: h5py.File, path: Path) -> dict[str, Slab]:
    """All numeric datasets of a file that lie in one piece, by their path in it (``sites/layer1.0.se/attention``)."""
    found = {}

    def visit(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset) and h5py.check_string_dtype(item.dtype) is None:
            offset = item.id.get_offset()
            if offset is not None:  # None: repacked in chunks by another program
                found[name] = Slab(path.absolute(), offset, item.shape, item.dtype)

    file.visititems(visit)
    return found


class SlabWriter:
    """Writes into the slabs of one file, unbuffered: what fails, fails here.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("r+b", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def write(self, slab: Slab, index: tuple[int, ...], values: np.ndarray[Any, Any] | float) -> None:
        """Write values that lie one behind the other.

        Args:
            slab: Where.
            index: Index of the first element along the first axes, 0 along the others.
            values: (n, *rest) or a single row or number, converted to the slab's type.
        """
        start = int(np.ravel_multi_index(index + (0,) * (slab.ndim - len(index)), slab.shape))
        rest = memoryview(np.ascontiguousarray(values, slab.dtype).reshape(-1).view(np.uint8))
        self._file.seek(slab.offset + start * slab.dtype.itemsize)
        while rest:
            rest = rest[self._file.write(rest) :]

    def sync(self) -> None:
        """Wait until what was written has reached the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()
