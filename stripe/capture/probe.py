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

__all__ = ["mark_sound", "probe", "unreadable"]

WALK = Path(__file__).with_name("walk.py")  # a program, not a module of this process

SIGNATURE = b"\x89HDF\r\n\x1a\n"
"""The bytes with which every HDF5 file that this package writes begins."""

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


def unreadable(path: Path) -> str:
    """Say what to do about a file that HDF5 cannot read; nobody is told to delete a file of another kind."""
    try:
        with path.open("rb") as file:
            start = file.read(len(SIGNATURE))
    except OSError:
        start = b""
    if start and not SIGNATURE.startswith(start):
        return (
            "It is no HDF5 file, but one of another kind, or its beginning is damaged. If it is a checkpoint, `stripe "
            "capture` makes a capture of it"
        )
    return "It is damaged: delete it and capture again"


def mark_sound(path: Path) -> None:
    """Note that this process wrote a file, which needs no probe until it changes."""
    _sound.add(_signature(path))


def _signature(path: Path) -> tuple[int, ...]:
    """A key that changes when somebody writes a file or puts another one in its place."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
