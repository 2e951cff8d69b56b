"""Files that are there as a whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stripe.errors import StripeError

__all__ = ["replacing", "write_whole"]


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
            os.fsync(file.fileno())  # the content reaches the disk before the name does
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
