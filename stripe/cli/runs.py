"""Runs that a command is given."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stripe.training import Run

__all__ = ["capture_of", "captures_of", "is_checkpoint", "open_runs"]


def open_runs(paths: Sequence[Path]) -> "list[Run]":
    """The runs in some directories.

    Args:
        paths: Run directories, or those that ``stripe train --seeds`` made and that hold one a seed.

    Raises:
        StripeError: One is neither.
    """
    from stripe.training import Run

    runs = []
    for path in paths:
        seeds = sorted((found.parent for found in path.glob("seed-*/run.json")), key=_seed)
        runs += [Run(folder) for folder in seeds or [path]]
    for run in runs:
        _ = run.scale  # raises where it is no run
    return runs


def capture_of(path: Path) -> Path:
    """The capture that a path names: the file itself, or the capture of the run in a directory.

    Raises:
        StripeError: The path is a directory without a run, of several runs, or of a run without a capture.
    """
    from stripe.errors import StripeError

    if not path.is_dir():
        return path
    run, *more = open_runs([path])
    if more:
        raise StripeError(f"{path} holds {len(more) + 1} runs; name one of them, such as {run.path}.")
    if not run.capture_file.exists():
        raise StripeError(
            f"The run in {path} has no capture: train with --capture N, or give its checkpoints to `stripe capture`."
        )
    return run.capture_file


def captures_of(paths: Sequence[Path]) -> list[Path]:
    """Paths of captures, in which each run is replaced by its capture.

    Args:
        paths: Captures, or directories as ``open_runs`` takes them.

    Raises:
        StripeError: A directory is not one of a run, a run has no capture, or a file is a checkpoint.
    """
    from stripe.errors import StripeError

    for path in paths:
        if is_checkpoint(path):
            raise StripeError(
                f"{path} is a checkpoint, which holds no attention values; record them with "
                f"stripe capture --ckpt {path}"
            )
    return [
        capture_of(each)
        for path in paths
        for each in ([run.path for run in open_runs([path])] if path.is_dir() else [path])
    ]


def is_checkpoint(path: Path) -> bool:
    """Whether a file is named like a checkpoint. Captures mostly end in ``.h5``, and are read without torch."""
    if path.suffix == ".h5" or not path.is_file():
        return False
    from stripe.checkpoint.reader import SUFFIXES

    return path.name.endswith(SUFFIXES)


def _seed(folder: Path) -> int:
    number = folder.name.removeprefix("seed-")
    return int(number) if number.isdecimal() else -1
