"""Whether HDF5 survives a file.

On some damaged files HDF5 neither returns nor raises: it loops for ever or corrupts memory. Therefore a file that this
process has not made itself is opened in another process first, once; that takes some tenths of a second.
"""

import os
import subprocess
import sys
from pathlib import Path

from stripe.capture import walk
from stripe.errors import StripeError

__all__ = ["mark_sound", "probe"]

SECONDS = 20.0

_sound: set[tuple[int, ...]] = set()


def probe(path: Path) -> None:
    """Have another process read a file, unless that was done before or this process wrote it.

    Raises:
        StripeError: The other process crashed, or did not come to an end.
        OSError: There is no such file.
    """
    if _signature(path) in _sound:
        return
    # Found as this process finds its packages, and not in the folder of the script.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-P", walk.__file__, os.fspath(path.absolute())]
    try:
        ended = subprocess.run(command, env=environment, timeout=SECONDS, check=False, capture_output=True).returncode
    except subprocess.TimeoutExpired as error:
        raise _damaged(path, f"reading it does not end within {SECONDS:g} s") from error
    except OSError:
        return  # no process can be started here; what is left is to trust the file
    if ended < 0:
        raise _damaged(path, "reading it crashes HDF5")
    mark_sound(path)


def mark_sound(path: Path) -> None:
    """Note that this process wrote a file, so that it needs no probe as it is now."""
    _sound.add(_signature(path))


def _signature(path: Path) -> tuple[int, ...]:
    """What changes when somebody writes a file or puts another one in its place."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _damaged(path: Path, reason: str) -> StripeError:
    return StripeError(f"{path} is damaged: {reason}. Delete it and capture again.")
