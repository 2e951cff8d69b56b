"""Structure searches: the weights of the ways to put attention together, block by block, over the epochs."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from stripe.analysis import search_controls
from stripe.names import data_name, in_brackets
from stripe.plots.common import ending_note, short_names
from stripe.plots.figure import StripeFigure
from stripe.plots.kinds import kind
from stripe.plots.runs import RunLike, by_network
from stripe.plots.select import NothingToDrawError
from stripe.plots.style import Width, is_narrow, styled

__all__ = ["search"]

# Lines often lie upon each other, those of the two orders above all: so one of two is dashed, and above the other.
_DASHED: dict[str, Any] = {"linestyle": (0, (3, 1.5)), "zorder": 4}
_LOOKS: dict[str, dict[str, Any]] = {
    "identity": {"color": "0.55"},
    "ca>sa": {"color": "C0"},
    "sa>ca": {"color": "C1", **_DASHED},
    "ca": {"color": "C2"},
    "sa": {"color": "C3", **_DASHED},
}


@kind("runs", "structure search: weights of each block over the epochs, and the choice", place=11)
def search(runs: Sequence[RunLike], *, style: str = "paper", width: Width | None = None) -> StripeFigure:
    """Draw the weights p = softmax(α) of each block over the epochs of a search, from 0.2 each before the first.

    What is chosen for a block is written above its panel, and its line is thick; both lines are, if channel and spatial
    attention are chosen in parallel; none is, where no choice leads by 0.1 and the block is undecided. Of several seeds
    a line is the mean and the shade reaches from the lowest to the highest; the choice is then the one made most often,
    and how often it was made. The foot says for how many blocks all seeds chose the same, and what chance gives.

    Where controls were trained (``stripe search --control``), a panel below shows how far their test accuracy is from
    that of what was found, with the 95 % interval over the seeds.

    Args:
        runs: Searches, finished or not, that differ in nothing but the seed.
        style: Name of a style, as in ``stripe.plots.style.parameters``.
        width: Width of the figure in inches, ``"column"`` (3.3) or ``"page"`` (7); by default what the panels need.

    Raises:
        NothingToDrawError: A run is no search or has not finished an epoch, or the runs differ in more than the seed.
        StripeError: A file is damaged.

    Example:
        >>> from stripe import plots
        >>> from stripe.training import Run
        >>> plots.search([Run(Path("runs/search"))])  # doctest: +SKIP
    """
    from stripe.tasks import structure  # which imports torch

    searches = [_read(run) for run in runs]
    groups = by_network(runs)
    if len(groups) != 1:
        raise NothingToDrawError(
            f"{len(groups)} networks or ways of searching in one picture: draw the searches of one, which may differ "
            "in their seed."
        )
    chosen = structure.agreement(searches)
    weights = structure.trajectories(searches)
    names, ending = short_names(list(chosen))
    table = search_controls.read({run.path: run.settings.get("seed", 0) for run in runs})
    drawn = {"kind": "search", "runs": [str(run.path) for run in runs], "chosen": {k: v[0] for k, v in chosen.items()}}
    with styled(style) as settings:
        columns = min(len(names), 2 if is_narrow(width) else 4)
        rows = math.ceil(len(names) / columns)
        heights = [1.25 * rows, *([] if table is None else [1.5])]
        figure = StripeFigure(settings, 6.9, 0.75 + sum(heights), drawn, printed=width)
        grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
        panels = grid[0].subgridspec(rows, columns).subplots(sharex=True, sharey=True, squeeze=False)
        for number, (axes, (block, (choice, count))) in enumerate(zip(panels.flat, chosen.items(), strict=False)):
            _panel(axes, weights.sel(block=block), choice)
            of = f"  {count}/{len(runs)}" if len(runs) > 1 and count else ""
            axes.set_title(f"{names[number]}: {structure.LABELS[choice]}{of}")
        for axes in panels.flat[len(names) :]:
            axes.set_visible(False)
        for axes in panels.flat[max(0, len(names) - columns) : len(names)]:
            axes.set_xlabel("epoch")
            axes.xaxis.set_tick_params(labelbottom=True)
        for axes in panels[:, 0]:
            axes.set_ylabel("weight p")
        if table is not None:
            _controls(figure.add_subplot(grid[1]), table)
        handles = [Line2D([], [], label=structure.LABELS[name], **look) for name, look in _LOOKS.items()]
        figure.legend(handles=handles, loc="outside upper left", ncols=3 if is_narrow(width) else 5)
        below = "" if table is None else "below: other choices on the same budget"
        below += ", 95 % interval over the seeds" if below and len(runs) > 1 else ""
        figure.caption(_caption(runs, searches, below, ending_note(ending)))
        return figure


def _read(run: RunLike) -> xr.Dataset:
    from stripe.tasks import structure  # which imports torch

    if not (run.path / structure.FILE).exists():
        raise NothingToDrawError(
            f"{run.path} is no structure search that has finished an epoch; `stripe search` makes one."
        )
    return structure.read(run.path)


def _panel(axes: Axes, weights: xr.DataArray, choice: str) -> None:
    """The lines of a block from its weights (seed, epoch, operation)."""
    from stripe.tasks import structure

    epochs = weights["epoch"].to_numpy()
    for name, look in _LOOKS.items():
        values = weights.sel(operation=name).transpose("seed", "epoch").to_numpy()
        is_chosen = name in structure.PARTS.get(choice, (choice,))
        axes.plot(epochs, np.nanmean(values, axis=0), linewidth=1.8 if is_chosen else 0.8, **look)
        if len(values) > 1:
            low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
            axes.fill_between(epochs, low, high, color=look["color"], alpha=0.18, linewidth=0)
    axes.set_xlim(0, epochs.max())
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1], ["0", ".5", "1"])
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.spines[["top", "right"]].set_visible(False)


def _controls(axes: Axes, table: pd.DataFrame) -> None:
    """How far the accuracy of each control is from that of what was found."""
    compared = search_controls.compared(table).dropna(subset="difference").iloc[::-1]
    half = (compared["high"] - compared["difference"]).fillna(0)
    axes.errorbar(
        compared["difference"], range(len(compared)), xerr=half, fmt="o", markersize=3, color="C0", linewidth=1
    )
    axes.axvline(0, color="0.6", linewidth=0.8, zorder=0)
    axes.set_yticks(range(len(compared)), compared["choice"].tolist())
    axes.set_ylim(-0.6, len(compared) - 0.4)
    axes.set_xlabel("test accuracy minus found (points)")
    axes.spines[["top", "right"]].set_visible(False)


def _caption(runs: Sequence[RunLike], searches: Sequence[xr.Dataset], *endings: str) -> str:
    """Network · data · scale · penalty · what the lines mean · how far the seeds agree."""
    from stripe.tasks import structure

    settings = runs[0].settings
    options = (settings.get("task") or {}).get("options") or {}
    penalty = f"penalty w = {options['penalty']:g}" if options.get("penalty") else "no penalty"
    notes = ["thick: chosen"]
    if any(choice == structure.UNDECIDED for search in searches for choice in structure.decisions(search).values()):
        notes.append(f"undecided: no lead of {structure.CLOSE:g}")
    if len(runs) > 1:
        same, chance = structure.unanimous(searches)
        of = searches[0].sizes["block"]
        notes.append("line and shade: mean and range over seeds")
        notes.append(f"all {len(runs)} seeds the same: {same} of {of} blocks, by chance {chance:.1f}")
    parts = [
        f"{settings.get('model', '')}{in_brackets(settings.get('args'))} + {settings.get('attention', '')}",
        data_name(str(settings.get("data", ""))),
        runs[0].scale,
        penalty,
        *notes,
        *endings,
    ]
    return " · ".join(part for part in parts if part)
