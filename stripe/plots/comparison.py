"""Numbers of the paper (left) beside our own (right)."""

from collections.abc import Iterable
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from stripe.plots.figure import StripeFigure
from stripe.plots.select import NothingToDrawError
from stripe.plots.style import Width, is_narrow, styled

__all__ = ["comparison"]


def comparison(
    table: pd.DataFrame,
    *,
    lines: bool = False,
    axis: str = "accuracy (%)",
    here: str = "here",
    caption: str = "",
    style: str = "paper",
    width: Width | None = None,
) -> StripeFigure:
    """Draw two panels per group, each with its own scale: the paper's accuracies, or another measure, and ours.

    Networks and data may differ between the two, so the pattern is to be compared, and not the level. Points are
    means over seeds at the best epoch, whiskers the 95 % intervals of these means, and small hollow points the values
    after the last epoch.

    Args:
        table: Table with the columns ``group``, ``row``, ``column``, ``paper``, ``best``, ``best_low``, ``best_high``
            and ``last`` (NaN if missing). Each row is one cell of the paper's table; rows and columns keep their order.
        lines: Whether each row is drawn as a line over the columns, which are then steps of one quantity. Otherwise
            the rows go from top to bottom, and each column has a colour.
        axis: Name of the measure with its unit.
        here: Title of our panels.
        caption: Text at the foot of the figure.
        style: Name of a style, as in ``stripe.plots.style.parameters``.
        width: Width of the figure in inches, ``"column"`` (3.3) or ``"page"`` (7); by default what the panels need.

    Raises:
        NothingToDrawError: The table has no number of ours.
        StripeError: The width is none.
    """
    if not len(table) or table["best"].isna().all():
        raise NothingToDrawError("No run of this table is finished, so there is nothing to compare yet.")
    groups = [(str(name), part) for name, part in table.groupby("group", sort=False)]
    drawn = {"kind": "comparison", "table": table.astype(object).where(table.notna(), None).to_dict("list")}
    with styled(style) as settings:
        across = ["paper", "best"] if table["paper"].notna().any() else ["best"]
        heights = [2.0 if lines else 0.35 + part["row"].nunique() * _row_height(part) for _, part in groups]
        stacked = lines and is_narrow(width)  # the names of the columns need the width
        down = len(across) if stacked else 1
        figure = StripeFigure(settings, 3.45 * max(len(across), 1.4), down * sum(heights) + 0.95, drawn, printed=width)
        shared = {} if lines else {"sharex": "col", "sharey": "row"}
        shape = (down * len(groups), len(across) // down)
        panels = figure.subplots(*shape, squeeze=False, height_ratios=np.repeat(heights, down), **shared)  # type: ignore[call-overload]
        grid = panels.reshape(len(groups), len(across))
        for number, (own, (name, part)) in enumerate(zip(grid, groups, strict=True)):
            for axes, side in zip(own, across, strict=True):
                (_lines if lines else _points)(axes, part, side)
                axes.spines[["top", "right"]].set_visible(False)
                axes.grid(axis="y" if lines else "x", color="0.5", linewidth=0.4, alpha=0.3)
                axes.set_axisbelow(True)
                if lines:
                    axes.set_ylabel(axis if stacked or axes is own[0] else "")
                elif number == len(groups) - 1:
                    axes.set_xlabel(axis)
                title = {"paper": "the paper", "best": here}[side] if number == 0 or lines else ""
                axes.set_title("\n".join(text for text in (name if axes is own[0] else "", title) if text))
        cut = _cut_whiskers(grid[:, -1], table, lines)
        handles, labels = grid[0][-1].get_legend_handles_labels()
        if len(labels) > 1:
            figure.legend(handles, labels, loc="outside upper left", ncols=4)
        hollow = "here: best epoch, hollow: last epoch" if len(across) > 1 else "hollow: last epoch"
        notes = [hollow] if table["last"].notna().any() else []
        if table["best_low"].notna().any():
            notes.append(f"whiskers: 95 % interval of the mean over seeds{', cut at the edge' if cut else ''}")
        figure.caption(" · ".join([*([caption] if caption else []), *notes]))
        return figure


def _lines(axes: Axes, part: pd.DataFrame, side: str) -> None:
    """Draw one line per row over the columns."""
    columns = list(dict.fromkeys(part["column"]))
    for number, (row, cells) in enumerate(part.groupby("row", sort=False)):
        cells = cells.set_index("column").reindex(columns)
        x = np.arange(len(columns)) + 0.04 * (number - 1)
        color = f"C{number}"
        axes.plot(
            x, cells[side], _marker(number), color=color, markersize=4, linestyle="-", linewidth=1, label=str(row)
        )
        if side == "best":
            axes.vlines(x, cells["best_low"], cells["best_high"], color=color, linewidth=0.8)
            axes.plot(x, cells["last"], "o", **_hollow(axes, color))
    axes.set_xticks(range(len(columns)), columns)
    axes.set_xlim(-0.4, len(columns) - 0.6)


def _points(axes: Axes, part: pd.DataFrame, side: str) -> None:
    """Draw one line of points per row, with one colour per column."""
    rows = list(dict.fromkeys(part["row"]))
    columns = list(dict.fromkeys(part["column"]))
    for number, (column, cells) in enumerate(part.groupby("column", sort=False)):
        cells = cells.set_index("row").reindex(rows)
        shift = min(0.16, 0.75 / len(columns)) * (number - (len(columns) - 1) / 2)
        y, color = np.arange(len(rows)) + shift, f"C{number}"
        if side == "best":
            axes.hlines(y, cells["best_low"], cells["best_high"], color=color, linewidth=0.8)
            axes.plot(cells["last"], y, "o", **_hollow(axes, color))
        axes.plot(cells[side], y, _marker(number), linestyle="", color=color, markersize=4.5, label=str(column))
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.tick_params(axis="y", length=0)


def _cut_whiskers(panels: Iterable[Axes], table: pd.DataFrame, lines: bool) -> bool:
    """Have the points fill the panels, where a few seeds give intervals many times as wide; whether some are cut."""
    points = table[["best", "last"]].to_numpy(dtype=float)
    low, high = np.nanmin(points), np.nanmax(points)
    room = 1.5 * max(high - low, 0.02 * abs(high))
    ends = table[["best_low", "best_high"]].to_numpy(dtype=float)
    if not np.any((ends < low - room) | (ends > high + room)):
        return False
    for axes in panels:
        set_limits, limits = (axes.set_ylim, axes.get_ylim()) if lines else (axes.set_xlim, axes.get_xlim())
        set_limits(max(limits[0], low - room), min(limits[1], high + room))
    return True


def _row_height(part: pd.DataFrame) -> float:
    """Return the height of a row in inches, in which the points of its columns have room above each other."""
    return max(0.2, 0.05 + 0.085 * part["column"].nunique())


def _marker(number: int) -> str:
    """Return the marker of a row or column; their colours begin anew after some."""
    return "osDv"[number // len(mpl.rcParams["axes.prop_cycle"]) % 4]


def _hollow(axes: Axes, color: str) -> dict[str, Any]:
    ground = axes.get_facecolor()
    return {"markersize": 2.8, "markerfacecolor": ground, "markeredgecolor": color, "markeredgewidth": 0.7, "zorder": 1}
