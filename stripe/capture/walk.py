"""A program that reads everything in an HDF5 file that a reader of captures may read; ``probe`` runs it.

Errors of HDF5 are ignored here; it only matters whether HDF5 returns. The program imports nothing of ours, so that it
starts fast.
"""

import contextlib
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py

MEMORY = 16 * 2**30


def walk(path: str) -> None:
    """Read everything in a file but its numbers."""
    with contextlib.suppress(Exception), h5py.File(path, "r", locking=False) as file:
        attempt(visit, "", file)
        attempt(file.visititems, visit)


def visit(_name: str, item: Any) -> None:
    """Read the attributes, the type and the axes of one object."""
    attempt(h5py.h5o.get_info, item.id)
    for name in attempt(lambda: list(item.attrs)) or ():
        attempt(item.attrs.get, name)
    if isinstance(item, h5py.Group):
        for name in attempt(lambda: list(item)) or ():
            attempt(item.get, name)
    elif isinstance(item, h5py.Dataset):
        attempt(lambda: (item.shape, item.dtype, item.id.get_offset()))
        attempt(lambda: [h5py.h5ds.get_scale_name(dim[0].id) for dim in item.dims])
        attempt(lambda: item.is_scale and h5py.h5ds.get_scale_name(item.id))
        attempt(read_text, item)


def read_text(item: Any) -> None:
    """Read a dataset of texts, which lie scattered in a file at addresses that may be damaged."""
    stored = math.prod(item.shape) * item.dtype.itemsize <= 2000 * item.id.get_storage_size()
    if h5py.check_string_dtype(item.dtype) is not None and stored:
        item[:]


def attempt(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function and return its result, or None if it raises."""
    try:
        return function(*args)
    except Exception:
        return None


if __name__ == "__main__":
    import resource  # which not every system has; there the limits are not set, and this fails at once

    # Of computing, not of the clock, as file systems may be slow; a sound file takes a fraction of it.
    seconds = min(2 + Path(sys.argv[1]).stat().st_size // 500_000, 30)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    walk(sys.argv[1])
