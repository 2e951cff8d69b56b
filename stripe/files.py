"""Files that are there as a whole or not at all, on file systems that can do less than a local disk."""

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stripe.errors import StripeError

__all__ = ["UNSUPPORTED", "beside", "name_new", "replacing", "sync", "write_whole"]

# How file systems say that they have no locks, links, permissions or the like: exFAT, SMB, NFS, FUSE, Lustre …
UNSUPPORTED = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOLCK, errno.EPERM, errno.ENOTTY}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Have a file written beside its place, then renamed: whoever is killed or runs out of disk leaves the old one.

    Args:
        path: The file; replaced where it is there. Folders that are missing are made. Only one process may write it at
            a time: the name beside it is always the same, so that what a killed process left is not left for ever.

    Yields:
        Where to write.

    Raises:
        StripeError: It cannot be written.

    Example:
        >>> with replacing(Path("/tmp/table.csv")) as unfinished:
        ...     _ = unfinished.write_text("a,b")
    """
    unfinished = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        with unfinished.open("rb") as file:
            sync(file.fileno())  # the content reaches the disk before the name does
        unfinished.replace(path)
    except OSError as error:
        raise StripeError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        with contextlib.suppress(OSError):  # it was renamed, or its folder could not be made
            unfinished.unlink()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside its place and rename it, see `replacing`.

    Args:
        path: The file.
        content: What it is to hold.

    Raises:
        StripeError: It cannot be written.
    """
    with replacing(path) as unfinished:
        unfinished.write_bytes(content)


def beside(path: Path) -> Path:
    """Make an empty file beside another, hidden and of a new name, with the permissions that new files have.

    Raises:
        OSError: It cannot be made.
    """
    while True:
        unfinished = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}.tmp")
        try:
            os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except FileExistsError:
            continue
        return unfinished


def name_new(unfinished: Path, path: Path) -> None:
    """Give a finished file its name, where no file has it yet; `unfinished` may be there afterwards or not.

    A hard link refuses to overwrite, which a rename does not. Where the file system has none, the name is taken by an
    empty file first.

    Raises:
        FileExistsError: A file of that name is there.
        OSError: It cannot be named.
    """
    try:
        os.link(unfinished, path)
    except FileExistsError:
        raise
    except OSError:  # for whatever reason: if it is not the link alone, what follows fails as well
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        try:
            unfinished.replace(path)
        except OSError:
            path.unlink(missing_ok=True)
            raise


def sync(descriptor: int) -> None:
    """Wait until what was written to an open file has reached the disk, where the file system can tell.

    Raises:
        OSError: It could not be written.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
