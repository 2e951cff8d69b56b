"""Provenance of files, which is written into every picture, table, capture and checkpoint."""

import platform
import shlex
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["command_line", "provenance"]


def command_line() -> str:
    """Return the command as the user could type it again, or the name of the program that embeds us."""
    program = Path(sys.argv[0]).name or "python"
    if program in {"stripe", "__main__.py"}:  # the latter as `python -m stripe`
        return shlex.join(["stripe", *sys.argv[1:]])
    return program


def provenance() -> dict[str, str]:
    """Return the provenance of a file that is written now.

    Returns:
        A dictionary of strings: the versions of ``stripe``, ``torch``, ``torchvision``, ``timm``, ``numpy`` and
        ``python``, the ``command``, and the time ``created`` (ISO 8601, UTC). A library that is missing is left out.
    """
    found = {"stripe": _version("stripe-observation")}
    found |= {name: _version(name) for name in ("torch", "torchvision", "timm", "numpy")}
    return {
        **{name: value for name, value in found.items() if value},
        "python": platform.python_version(),
        "command": command_line(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
