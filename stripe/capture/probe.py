"""A test in another process of whether HDF5 survives a file.

On some damaged files HDF5 neither returns nor raises: it loops for ever or corrupts memory. Therefore a file that this
process did not write is first opened once in another process, which takes some tenths of a second.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

from stripe.errors import StripeError

__all__ = ["mark_sound", "probe"]

WALK = Path(__file__).with_name("walk.py")  # a program, not a module of this process

_sound: set[tuple[int, ...]] = set()
_damaged: dict[tuple[int, ...], str] = {}


def probe(path: Path) -> None:
    """Let another process read a file, unless that was done before or this process wrote it.

    Raises:
        StripeError: The other process crashed or did not end.
        OSError: The file does not exist.
    """
    signature = _signature(path)
    if signature in _sound:
        return
    if signature not in _damaged:
        # Packages are found as in this process, and not in the folder of the script.
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-P", os.fspath(WALK), os.fspath(path.absolute())]
        try:
            ended = subprocess.run(command, env=environment, check=False, capture_output=True).returncode
        except OSError:
            return  # no process can be started here; what is left is to trust the file
        if ended >= 0:
            _sound.add(signature)
            return
        hangs = -ended in (getattr(signal, name, None) for name in ("SIGXCPU", "SIGKILL"))
        _damaged[signature] = "reading it comes to no end" if hangs else "reading it crashes HDF5"
    raise StripeError(f"{path} can't be read: it is damaged, {_damaged[signature]}. Delete it and capture again.")


def mark_sound(path: Path) -> None:
    """Note that this process wrote a file, which needs no probe until it changes."""
    _sound.add(_signature(path))


def _signature(path: Path) -> tuple[int, ...]:
    """A key that changes when somebody writes a file or puts another one in its place."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
