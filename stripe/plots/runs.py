"""What a picture needs to know of trainings: their names, and which of them differ in nothing but the seed."""

import json
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from stripe.errors import StripeError
from stripe.names import run_name
from stripe.plots.select import NothingToDrawError
from stripe.tasks.scoring import Scoring

__all__ = [
    "Arrays",
    "RunLike",
    "by_network",
    "common_scoring",
    "folder_name",
    "read_arrays",
    "scoring_of",
    "selected_by",
]

Arrays = dict[str, npt.NDArray[Any]]
"""Arrays by name."""


class RunLike(Protocol):
    """A training; ``stripe.training.Run`` is one."""

    @property
    def path(self) -> Path:
        """The run's directory."""

    @property
    def settings(self) -> dict[str, Any]:
        """What determines the result."""

    @property
    def scale(self) -> str:
        """At what scale it was made, in words."""

    @property
    def metrics(self) -> pd.DataFrame:
        """One row per epoch."""


Kind = TypeVar("Kind", bound=RunLike)


def by_network(runs: Sequence[Kind]) -> dict[str, list[Kind]]:
    """Runs of each network; those of one differ in nothing but the seed.

    Args:
        runs: Any.

    Returns:
        Name → runs, in the order of the first of each. Networks that are the same but were trained otherwise have the
        name of the run's directory after theirs.
    """
    groups: dict[str, list[Kind]] = {}
    for run in runs:
        rest = {key: value for key, value in run.settings.items() if key != "seed"}
        groups.setdefault(json.dumps(rest, sort_keys=True), []).append(run)
    names = [run_name(group[0].settings) for group in groups.values()]
    return {
        name if names.count(name) == 1 else f"{name} ({folder_name(group[0].path)})": group
        for name, group in zip(names, groups.values(), strict=True)
    }


def selected_by(run: RunLike) -> str:
    """How the best epoch of a run was chosen, ``val`` or ``test``."""
    return str(run.settings.get("select", "test"))


def scoring_of(run: RunLike) -> Scoring:
    """What the task of a run measures; classification, where the run does not say.

    Raises:
        StripeError: The settings of the run are damaged.
    """
    try:
        return Scoring.read(run.settings.get("task"))
    except StripeError as error:
        raise StripeError(f"{run.path}: {error}") from error


def common_scoring(runs: Sequence[RunLike]) -> Scoring:
    """What the task of all these runs measures.

    Args:
        runs: At least one.

    Raises:
        NothingToDrawError: They are runs of different tasks.
    """
    each = [scoring_of(run) for run in runs]
    if len({(scoring.best, scoring.losses) for scoring in each}) > 1:
        names = " and by ".join(dict.fromkeys(scoring.best for scoring in each))
        raise NothingToDrawError(f"These runs are scored by {names}: they are of different tasks, and no comparison.")
    return each[0]


def read_arrays(run: RunLike, file: str, needed: Collection[str], *, otherwise: str = "") -> Arrays:
    """Read the arrays that a run keeps in an ``.npz`` file, such as pictures of what its network makes of images.

    Args:
        run: The run.
        file: Place of the file in the run's directory.
        needed: Names of arrays that it must hold.
        otherwise: Why the file may be missing, besides a first epoch that has not ended.

    Raises:
        NothingToDrawError: There is no such file.
        StripeError: The file is damaged, or lacks an array.
    """
    path = run.path / file
    if not path.exists():
        why = f"it has not finished an epoch{f', or {otherwise}' if otherwise else ''}"
        raise NothingToDrawError(f"{run.path} has no {file}: {why}.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = dict(archive)
    except Exception as error:  # a damaged file fails in many ways
        raise StripeError(f"{path} is damaged: {error}.") from error
    if missing := [name for name in needed if name not in arrays]:
        raise StripeError(f"{path} is damaged: it has no {', '.join(missing)}.")
    return arrays


def folder_name(path: Path) -> str:
    """The name that somebody gave the folder of a run: ``seed-0`` is ours, and stands in one with a name."""
    path = path.absolute()
    return path.parent.name if re.fullmatch(r"seed-\d+", path.name) else path.name
