"""Files that are written completely or not at all, also on file systems that can do less than a local disk."""

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stripe.errors import StripeError

__all__ = ["UNSUPPORTED", "beside", "name_new", "replacing", "sync", "write_whole"]

# Errors of file systems without locks, links, permissions or the like: exFAT, SMB, NFS, FUSE, Lustre …
UNSUPPORTED = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOLCK, errno.EPERM, errno.ENOTTY}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A context in which a file is written under a temporary name, and gets its own name at the end.

    A process that is killed or runs out of disk leaves the old file. Only one process may write the file at a time: the
    temporary name is always the same, so that the remains of a killed process are overwritten.

    Args:
        path: Path of the file; an existing file is replaced, and missing folders are made.

    Yields:
        The temporary path to write to.

    Raises:
        StripeError: The file cannot be written.

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
        with contextlib.suppress(OSError):  # it has its own name now, or its folder could not be made
            unfinished.unlink()


def write_whole(path: Path, content: bytes) -> None:
    """Write bytes into a file under a temporary name and rename it; see ``replacing``.

    Args:
        path: Path of the file.
        content: Content of the file.

    Raises:
        StripeError: The file cannot be written.
    """
    with replacing(path) as unfinished:
        unfinished.write_bytes(content)


def beside(path: Path) -> Path:
    """Make an empty hidden file with a new name beside another, with the permissions of new files.

    Raises:
        OSError: The file cannot be made.
    """
    while True:
        unfinished = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}.tmp")
        try:
            os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except FileExistsError:
            continue
        return unfinished


def name_new(unfinished: Path, path: Path) -> None:
    """Give a finished file its name, if no file has it yet; ``unfinished`` may exist afterwards or not.

    A hard link refuses to overwrite a file, which a rename does not. If the file system has no hard links, the name is
    first taken by an empty file.

    Raises:
        FileExistsError: A file of that name exists.
        OSError: The file cannot get the name.
    """
    try:
        os.link(unfinished, path)
    except FileExistsError:
        raise
    except OSError:  # for any reason: if not only the link fails, the following lines fail as well
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        try:
            unfinished.replace(path)
        except OSError:
            path.unlink(missing_ok=True)
            raise


def sync(descriptor: int) -> None:
    """Wait until the content of an open file has reached the disk, if the file system can tell.

    Raises:
        OSError: The content could not be written.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
