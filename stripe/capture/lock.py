"""The lock of HDF5, which keeps a second writer out of a capture."""

import errno
import functools
import logging
import os
from pathlib import Path

import h5py

from stripe.capture.probe import probe, unreadable
from stripe.errors import StripeError

__all__ = ["open_for_writing"]

logger = logging.getLogger(__name__)


def open_for_writing(path: Path) -> h5py.File:
    """Open a capture for writing with HDF5, whose lock keeps a second writer out until the file is closed."""
    if path.is_dir():
        raise StripeError(f"{path} is a folder; the output is a file, such as {path / 'capture.h5'}.")
    try:
        if not path.stat().st_size:
            raise OSError("the file is empty")  # HDF5 would make a new one of it
        probe(path)
        return _locked(path)
    except (OSError, RuntimeError, ValueError) as error:  # h5py raises any of them
        reason = str(error)
        if isinstance(error, BlockingIOError) or "unable to lock" in reason:
            message = "is being written by another process. Wait until it ends, or give another output file"
        elif isinstance(error, PermissionError):
            message = "may not be written to. Give another output file, or change its permissions"
        elif "already open" in reason:
            message = "is still open in this program. Close it first, or give another output file"
        else:
            message = f"can't be opened as HDF5 ({error}). {unreadable(path)}"
        raise StripeError(f"{path} {message}.") from error


def _locked(path: Path) -> h5py.File:
    """Open a file with HDF5's lock, or without one if the file system has no locks."""
    try:
        return h5py.File(path, "r+")
    except OSError as error:
        held_elsewhere = error.errno in (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES)
        if "unable to lock" not in str(error) or held_elsewhere:
            raise
        _say_unlocked(path, error.errno)
        return h5py.File(path, "r+", locking=False)


@functools.cache
def _say_unlocked(path: Path, number: int | None) -> None:
    logger.warning(
        "%s: its file system gives no locks (%s), so that nothing keeps a second writer out: start only one at a time",
        *(path, os.strerror(number or errno.ENOLCK)),
    )
