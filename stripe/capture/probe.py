"""Whether HDF5 survives a file.

On some damaged files HDF5 neither returns nor raises: it loops for ever or corrupts memory. Therefore a file that this
process has not made itself is opened in another process first, once; that takes some tenths of a second.
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
    """Have another process read a file, unless that was done before or this process wrote it.

    Raises:
        StripeError: The other process crashed, or came to no end.
        OSError: There is no such file.
    """
    signature = _signature(path)
    if signature in _sound:
        return
    if signature not in _damaged:
        # Found as this process finds its packages, and not in the folder of the script.
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
    """Note that this process wrote a file, so that it needs no probe as it is now."""
    _sound.add(_signature(path))


def _signature(path: Path) -> tuple[int, ...]:
    """What changes when somebody writes a file or puts another one in its place."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
