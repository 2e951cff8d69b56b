"""Contiguous datasets as plain ranges of bytes in a file.

HDF5 lays out the file, but values are read and written without it: it would report a full disk only when its write
buffers are dropped, where the error is lost, and its lock would keep readers away from a capture in progress.
"""

import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np

from stripe.errors import StripeError
from stripe.files import sync

__all__ = ["Slab", "SlabWriter", "slabs"]

# No compression makes a dataset smaller than by this factor.
COMPRESSION = 1100


@dataclass(frozen=True)
class Slab:
    """A contiguous dataset in a file.

    Attributes:
        path: Path of the file.
        name: Name of the dataset in the file.
        offset: Position of its first byte in the file.
        shape: Sizes of its axes, the slowest first.
        dtype: Data type of its elements.
    """

    path: Path
    name: str
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    def __getitem__(self, key: Any) -> np.ndarray[Any, Any]:
        """A read-only view of a part. The file is opened here, so that a slab can be sent to another process.

        Raises:
            StripeError: The file was removed or cut short since it was opened.
        """
        if not math.prod(self.shape):
            return np.asarray(np.empty(self.shape, self.dtype)[key])
        try:  # the map compares its length with the file's, so that no access goes beyond the end
            whole = np.memmap(self.path, self.dtype, "r", self.offset, self.shape)
        except (OSError, ValueError) as error:
            raise StripeError(
                f"{self.path} can't be read any more ({error}): it was moved or cut short since it was opened. Open it "
                "again, or capture again."
            ) from error
        return np.asarray(whole[key])


def slabs(file: h5py.File, path: Path) -> dict[str, Slab]:
    """Find all contiguous numeric datasets of a file, by their path in it (``sites/layer1.0.se/attention``).

    Raises:
        ValueError: A dataset reaches beyond the end of the file or into another one: the file is damaged.
    """
    found: dict[str, Slab] = {}
    root = h5py.h5o.get_info(file.id).addr
    taken = [(root, root + 1, "the root")]
    size = path.stat().st_size

    def visit(name: str, item: h5py.Dataset | h5py.Group) -> None:
        header = h5py.h5o.get_info(item.id).addr
        taken.append((header, header + 1, name))
        if not isinstance(item, h5py.Dataset) or item.shape is None:
            return
        nbytes = math.prod(item.shape) * item.dtype.itemsize
        offset = item.id.get_offset()
        if offset is None:  # an axis without coordinates, or repacked in chunks by another program
            if nbytes > COMPRESSION * item.id.get_storage_size() + 2**20 and not item.is_scale:
                raise ValueError(f"{name} is larger than what the file holds of it")
            return
        if offset + nbytes > size:
            raise ValueError(f"the file ends within {name}")
        taken.append((offset, offset + nbytes, name))
        if h5py.check_string_dtype(item.dtype) is None:
            found[name] = Slab(path.absolute(), name, offset, item.shape, item.dtype)

    file.visititems(visit)
    taken.sort()
    for (_, end, first), (begin, _, second) in itertools.pairwise(taken):
        if begin < end:
            raise ValueError(f"{first} and {second} lie on the same bytes")
    return found


class SlabWriter:
    """A writer for the slabs of one file, without a buffer, so that an error is raised where it happens.

    Args:
        path: Path of the file.
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

    def write(self, slab: Slab, index: tuple[int, ...], values: np.ndarray[Any, Any] | np.generic) -> None:
        """Write values that are contiguous in a slab.

        Args:
            slab: The slab to write into.
            index: Index of the first element along the first axes; it is 0 along the others.
            values: Array (n, *rest) or (*rest), where rest are the sizes of the slab's other axes. It is converted to
                the data type of the slab.

        Raises:
            StripeError: The values have another shape or kind than the slab, or don't fit into it at that index.
                Nothing was written.
        """
        rows = np.asarray(values)
        rest = slab.shape[len(index) :]
        count = 1 if rows.shape == rest else len(rows) if rows.ndim and rows.shape[1:] == rest else -1
        sizes = slab.shape[: len(index)]
        inside = all(0 <= at < size for at, size in zip(index, sizes, strict=False)) and 0 < len(index) <= slab.ndim
        if count < 0 or not inside or index[-1] + count > sizes[-1] or not _same_kind(rows.dtype, slab.dtype):
            raise StripeError(
                f"{slab.path} has no place for {rows.dtype} values of shape {rows.shape} at {index} of {slab.name}, "
                f"which holds {slab.dtype} values of shape {slab.shape}; nothing of it was written."
            )
        start = int(np.ravel_multi_index(index + (0,) * len(rest), slab.shape))
        left = memoryview(np.ascontiguousarray(rows, slab.dtype).reshape(-1).view(np.uint8))
        self._file.seek(slab.offset + start * slab.dtype.itemsize)
        while left:
            left = left[self._file.write(left) :]

    def sync(self) -> None:
        """Wait until all written values have reached the disk."""
        sync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _same_kind(given: np.dtype[Any], held: np.dtype[Any]) -> bool:
    return given.kind == held.kind or np.can_cast(given, held, "safe")
