"""Addition of groups to an existing capture, which is changed completely or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import h5py

from stripe.capture.layout import LIBVER
from stripe.capture.lock import open_for_writing
from stripe.capture.probe import mark_sound
from stripe.capture.structure import readable, structure
from stripe.errors import StripeError
from stripe.files import beside

__all__ = ["extending"]


@contextmanager
def extending(path: Path) -> Iterator[h5py.File]:
    """Open a copy of a capture for adding groups; the copy replaces the capture if the context ends without an error.

    A lock keeps other writers out meanwhile.

    Args:
        path: Path of the capture.

    Yields:
        The copy, open for writing.

    Raises:
        StripeError: The file is damaged, is not a capture, has no complete epoch, or is open for writing elsewhere; or
            the copy can't be written.
    """
    with open_for_writing(path) as lock:
        with readable(path):
            structure(lock, path)
            complete = lock["complete"][:]
        if not complete.any():
            raise StripeError(f"{path} has no complete epoch yet. Give the command that was writing it again first.")
        copy = path
        try:
            copy = beside(path)
            shutil.copyfile(path, copy)
            with suppress(OSError):  # a file system without permissions
                shutil.copymode(path, copy)
            with h5py.File(copy, "r+", libver=LIBVER, locking=False) as file:
                yield file
            copy.replace(path)
            mark_sound(path)
        except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:  # h5py raises any of them
            raise StripeError(f"Can't add to {path}, which is as it was: {error}.") from error
        finally:
            if copy != path:
                copy.unlink(missing_ok=True)
