"""Files that are there as a whole or not at all."""

import os
from pathlib import Path

from stripe.errors import StripeError

__all__ = ["write_whole"]


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside its place and rename it, so that whoever is killed or runs out of disk leaves the old one.

    Args:
        path: The file; replaced where it is there. Only one process may write it at a time.
        content: What it is to hold.

    Raises:
        StripeError: It cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.tmp")
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise StripeError(f"{path} cannot be written: {error.strerror or error}.") from error
