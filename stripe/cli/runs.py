"""Runs that a command is given."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stripe.training import Run

__all__ = ["open_runs"]


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


def _seed(folder: Path) -> int:
    number = folder.name.removeprefix("seed-")
    return int(number) if number.isdecimal() else -1
