"""Runs that a command is given."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stripe.training import Run

__all__ = ["capture_of", "open_runs"]


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


def _seed(folder: Path) -> int:
    number = folder.name.removeprefix("seed-")
    return int(number) if number.isdecimal() else -1
