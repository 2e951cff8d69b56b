"""Finding checkpoints, in the order of their epochs."""

import glob
import re
from collections.abc import Sequence
from pathlib import Path

from stripe.errors import StripeError
from stripe.models.checkpoint.reading import SUFFIXES, epoch_of

__all__ = ["find"]


def find(patterns: Sequence[str | Path]) -> list[Path]:
    """The checkpoints that patterns stand for.

    Args:
        patterns: Each a file (of any name), a folder (all checkpoints in it, not in its subfolders), or a
            glob (the checkpoints and folders among its matches; ``**`` goes through subfolders).

    Returns:
        Each file once, ordered by the epoch that it holds or its name says, files without an epoch last and
        in the natural order of their names (2 before 10).

    Raises:
        StripeError: A pattern matches nothing, or a file cannot be read.
    """
    found: dict[Path, Path] = {}  # where it really lies → as it was asked for
    for pattern in patterns:
        for path in _expand(Path(pattern).expanduser()):
            found.setdefault(path.resolve(), path)
    if not found:
        raise StripeError("no checkpoint was named")
    return sorted(found.values(), key=_order)


def _expand(pattern: Path) -> list[Path]:
    if pattern.is_dir():
        inside = _checkpoints_in(pattern)
        if not inside:
            deeper = next((f"; there are some in {d}" for d in pattern.iterdir() if _checkpoints_in(d)), "")
            raise StripeError(f"no checkpoint ({', '.join(SUFFIXES)}) in the folder {pattern}{deeper}")
        return inside
    if pattern.exists():  # before globbing, since a file's name may hold brackets
        return [pattern]
    matches: list[Path] = []
    for name in glob.glob(str(pattern), recursive=True):  # noqa: PTH207 (pathlib's starts from one folder)
        match = Path(name)
        matches += _checkpoints_in(match) if match.is_dir() else [match] if _is_checkpoint(match) else []
    if not matches:
        raise StripeError(f"no checkpoint matches {pattern}; files end in {', '.join(SUFFIXES)}")
    return matches


def _checkpoints_in(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if _is_checkpoint(path)] if folder.is_dir() else []


def _is_checkpoint(path: Path) -> bool:
    return path.is_file() and path.name.endswith(SUFFIXES) and not path.name.startswith(".")


def _order(path: Path) -> tuple[bool, int, list[tuple[int, str]]]:
    epoch = epoch_of(path)
    natural = [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", str(path))]
    return epoch is None, epoch or 0, natural
