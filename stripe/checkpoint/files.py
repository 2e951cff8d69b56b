"""Search for files of checkpoints by patterns, in the order of their epochs and without copies."""

import filecmp
import glob
import hashlib
import logging
import re
from collections.abc import Sequence
from pathlib import Path

import torch

from stripe.checkpoint.reader import MAIN, SUFFIXES, epoch_of, read
from stripe.errors import StripeError

__all__ = ["find", "names_moment", "same_weights", "without_copies"]

logger = logging.getLogger(__name__)

BEGINNING = 1 << 20  # bytes
MOMENT = re.compile(r"(?<![a-z])(last|latest|best|final|current|newest)(?![a-z])", re.IGNORECASE)
# Files beside the main file of a folder: shards, and the state of a training.
COMPANION = re.compile(
    r".*-\d{5}-of-\d{5}\.|optimizer|scheduler|sampler|scaler|training_args|rng_state|random_states", re.IGNORECASE
)


def find(patterns: Sequence[str | Path]) -> list[Path]:
    """Find the checkpoints that match patterns.

    A folder that Hugging Face's libraries wrote is one checkpoint, represented by its main file or index.

    Args:
        patterns: Each pattern is a file (of any name), a folder (all checkpoints in it, not in its subfolders), or a
            glob (the checkpoints and folders among its matches; ``**`` includes subfolders).

    Returns:
        Each file once, ordered by the epoch in the file or its name. Files without an epoch come last, in the natural
        order of their names (2 before 10).

    Raises:
        StripeError: A pattern matches nothing, or a file cannot be read.
    """
    found: dict[Path, Path] = {}  # real path → path as given
    for pattern in patterns:
        for path in _expand(Path(pattern)):
            found.setdefault(path.resolve(), path)
    if not found:
        raise StripeError("no checkpoint was named")
    epochs = {path: epoch_of(path) for path in found.values()}
    return sorted(epochs, key=lambda path: _order(path, epochs[path]))


def without_copies(paths: Sequence[Path]) -> list[Path]:
    """Leave out copies and hard links among checkpoints, with a warning.

    Args:
        paths: Checkpoints from ``find``. Files with the same content but different epochs are not copies.

    Raises:
        StripeError: A file cannot be read.
    """
    epochs = {path: epoch_of(path) for path in paths}
    kept: dict[tuple[int, str], list[Path]] = {}
    left = set()
    # last.ckpt and model_best.pth are taken for the copies, not for the originals
    for path in sorted(epochs, key=lambda path: (names_moment(path), epochs[path] is None)):
        alike = kept.setdefault(_beginning(path), [])
        same_epoch = (other for other in alike if epochs[path] in (None, epochs[other]))
        original = next((other for other in same_epoch if _same(path, other)), None)
        if original is None:
            alike.append(path)
        else:
            left.add(path)
            logger.warning("%s is a copy of %s, and left out", path, original)
    return [path for path in paths if path not in left]


def names_moment(path: Path) -> bool:
    """Whether a file is named for its moment of the training (``last.ckpt``, ``model_best.pth``), not for its epoch."""
    return MOMENT.search(path.name) is not None


def same_weights(path: Path, other: Path, weights: str | None = None) -> bool:
    """Whether two checkpoints hold the same tensors, whatever else is in them.

    Args:
        path: Path of one checkpoint.
        other: Path of the other checkpoint.
        weights: Name of the weights in them, as for ``stripe.checkpoint.read``.

    Raises:
        StripeError: One of them cannot be read.
    """
    left, right = (read(p, weights=weights).state_dict for p in (path, other))
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def _beginning(path: Path) -> tuple[int, str]:
    """Size of a file and digest of its first bytes, which are equal for copies and hardly ever for other weights."""
    try:
        with path.open("rb") as file:
            return path.stat().st_size, hashlib.blake2b(file.read(BEGINNING)).hexdigest()
    except OSError as error:
        raise StripeError(f"{path} cannot be read: {error.strerror or error}") from error


def _same(path: Path, other: Path) -> bool:
    return path.samefile(other) or filecmp.cmp(path, other, shallow=False)


def _expand(pattern: Path) -> list[Path]:
    try:
        return _matches(pattern.expanduser())
    except (OSError, ValueError, RuntimeError) as error:  # no permission, a NUL in the name, ~nobody
        raise StripeError(f"{pattern} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _matches(pattern: Path) -> list[Path]:
    if pattern.is_dir():
        inside = _checkpoints_in(pattern)
        if not inside:
            deeper = next((f"; there are some in {d}" for d in pattern.iterdir() if _checkpoints_in(d)), "")
            raise StripeError(f"no checkpoint ({', '.join(SUFFIXES)}) in the folder {pattern}{deeper}")
        return inside
    if pattern.exists():  # before globbing, as the name of a file may contain brackets
        return [pattern]
    matches: list[Path] = []
    for name in glob.glob(str(pattern), recursive=True):  # noqa: PTH207 (pathlib's starts from one folder)
        match = Path(name)
        matches += _checkpoints_in(match) if match.is_dir() else [match] if _is_checkpoint(match) else []
    if not matches:
        raise StripeError(f"no checkpoint matches {pattern}; files end in {', '.join(SUFFIXES)}")
    return matches


def _checkpoints_in(folder: Path) -> list[Path]:
    """The checkpoints of a folder; beside a main file, shards and the state of a training do not count."""
    if not folder.is_dir():
        return []
    main = next((folder / name for name in MAIN if (folder / name).is_file()), None)
    found = [path for path in folder.iterdir() if _is_checkpoint(path) and path.name not in MAIN]
    return found if main is None else [main, *(path for path in found if not COMPANION.match(path.name))]


def _is_checkpoint(path: Path) -> bool:
    return path.is_file() and path.name.endswith(SUFFIXES) and not path.name.startswith(".")


def _order(path: Path, epoch: int | None) -> tuple[bool, int, list[tuple[int, str]]]:
    natural = [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", str(path))]
    return epoch is None, epoch or 0, natural
