"""Controls of a structure search: what other choices score on the same budget, and how far that is from what it found.

``stripe search --control N`` leaves the table ``controls.csv`` beside its runs, with one row for each choice of each
seed: ``seed``; ``choice``, what kind it is; ``name``, its folder in ``control`` of the search; ``attention``; ``last``
and ``best``, the test accuracy in per cent at the last and at the best epoch. Choices that are the same attention are
one training.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from stripe.analysis.mean_interval import mean_interval
from stripe.errors import StripeError

__all__ = ["COLUMNS", "FILE", "FOUND", "compared", "read"]

FILE = "controls.csv"
"""Name of the table, in the folder that the command was given."""

FOUND = "found"
"""The ``name`` of the row that holds the search's own choice."""

COLUMNS = {"seed": "int64", "choice": "str", "name": "str", "attention": "str", "last": "float64", "best": "float64"}
"""Columns of the table → their types."""


def read(searches: Mapping[Path, int]) -> pd.DataFrame | None:
    """The rows of some searches.

    Args:
        searches: Run directory of each → its seed. The table lies in it or, if it is called ``seed-0`` and so on, in
            the folder around it.

    Returns:
        The rows of all; None where there is no table.

    Raises:
        StripeError: A table is damaged.
    """
    found = []
    for folder, seed in searches.items():
        around = [folder.parent] if folder.name == f"seed-{seed}" else []
        path = next((each / FILE for each in (folder, *around) if (each / FILE).exists()), None)
        if path is not None:
            table = _checked(path)
            found.append(table[table["seed"] == seed])
    rows = pd.concat(found, ignore_index=True) if found else None
    return None if rows is None or rows.empty else rows


def _checked(path: Path) -> pd.DataFrame:
    """A table, if it is one."""
    try:
        table = pd.read_csv(path, engine="python", keep_default_na=False)[list(COLUMNS)].astype(COLUMNS)
        seeds = _found(table)["seed"]
        if not np.isfinite(table[["last", "best"]].to_numpy()).all():
            raise ValueError("an accuracy is no number")
        if seeds.duplicated().any() or not set(table["seed"]) <= set(seeds):
            raise ValueError("it does not say what each search found")
    except Exception as error:  # a damaged table fails in many ways
        raise StripeError(f"{path} cannot be read: {error}. It is damaged or was edited.") from error
    return table


def _found(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["name"] == FOUND]


def compared(table: pd.DataFrame) -> pd.DataFrame:
    """How far each choice is from what was found, at the last epoch.

    What was found with a seed is compared with the choices that were trained with the same; of several at random it is
    their mean. The interval is that of ``mean_interval`` over the seeds.

    Args:
        table: From ``read``, or of its columns.

    Returns:
        One row per choice, in the order of the table: ``choice``; ``last`` and ``best``, means over its runs;
        ``difference``, the mean of its accuracy minus that of what was found; ``low`` and ``high``, the ends of the
        95 % interval of that, NaN of a single seed; all three NaN of what was found itself.
    """
    found = _found(table).set_index("seed")["last"]
    rows = []
    for choice, of in table.groupby("choice", sort=False):
        is_found = set(of["name"]) == {FOUND}
        by_seed = of.groupby("seed")["last"].mean()
        difference = mean_interval([] if is_found else (by_seed - found[by_seed.index]).tolist())
        rows.append((choice, of["last"].mean(), of["best"].mean(), difference.mean, difference.low, difference.high))
    return pd.DataFrame(rows, columns=["choice", "last", "best", "difference", "low", "high"])
