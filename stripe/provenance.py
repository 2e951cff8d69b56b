"""What made a file: written into every picture, table, capture and checkpoint."""

import platform
import shlex
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["command_line", "provenance"]


def command_line() -> str:
    """The command as the user could type it again, or the name of the program that embeds us."""
    program = Path(sys.argv[0]).name or "python"
    return shlex.join([program, *sys.argv[1:]]) if program in {"stripe", "__main__.py"} else program


def provenance() -> dict[str, str]:
    """What made a file: our version, the libraries' versions, the command and the time.

    Returns:
        ``stripe``, ``torch``, ``torchvision``, ``timm``, ``numpy``, ``python`` (versions), ``command`` and
        ``created`` (ISO 8601, UTC), all strings. A library that is not installed is left out.
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
