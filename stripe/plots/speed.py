"""Cost of attention: throughput, parameters and FLOPs of networks side by side."""

from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from stripe.names import without_folders
from stripe.plots.figure import FigureOrAxes, StripeFigure
from stripe.plots.kinds import kind
from stripe.plots.measured import caption_of, is_unfused, module_colors, record_of, role_of
from stripe.plots.style import Width, is_narrow, styled

__all__ = ["speed"]


@kind("speeds", "throughput, parameters and FLOPs", paper="table 1", place=9)
def speed(
    table: pd.DataFrame, *, style: str = "paper", width: Width | None = None, ax: Axes | None = None
) -> FigureOrAxes:
    """Draw bars of images per second, parameters and FLOPs, one row per network in the order of the table.

    Each attention module has its colour; a lightly filled bar is a network with ASR that is not fused. Whiskers are
    quartiles; the number beside them is the speed relative to the first network. Paper: table 1.

    Args:
        table: Table from ``stripe.bench.measure``.
        style: Name of a style, as in ``stripe.plots.style.parameters``.
        width: Width of the figure in inches, ``"column"`` (3.3) or ``"page"`` (7); by default what the panels need.
        ax: Axes of your own to draw the images a second into.

    Returns:
        A figure; or ``ax``.

    Example:
        >>> from stripe import bench, plots
        >>> plots.speed(bench.measure(["resnet83", "resnet83+se"]))  # doctest: +SKIP
    """
    with styled(style, ax=ax, width=width) as settings:
        if ax is not None:
            _rates(ax, table)
            return ax
        bars = 0.24 * max(len(table), 3)
        narrow = is_narrow(width)
        height = 1.7 + 3 * bars if narrow else 0.9 + bars
        figure = StripeFigure(settings, 6.9, height, record_of(table, "speed"), printed=width)
        shape: dict[str, Any] = {"nrows": 3} if narrow else {"ncols": 3, "width_ratios": [2, 1, 1]}
        rate, parameters, flops = figure.subplots(**shape, sharey=True)
        _rates(rate, table)
        _bars(parameters, table, table["parameters"] / 1e6)
        _bars(flops, table, table["flops"] / 1e9)
        if narrow:
            for axes in (parameters, flops):
                axes.set_yticks(range(len(table)), _names(table))
        parameters.set_title("parameters (million)")
        flops.set_title("GFLOPs an image")
        if not narrow:
            for axes in (parameters, flops):  # whose last number would run into the first of the next panel
                axes.xaxis.set_major_locator(MaxNLocator(3))
        figure.caption(caption_of(table))
        return figure


def _names(table: pd.DataFrame) -> list[str]:
    return [without_folders(str(name)) for name in table["model"]]


def _rates(axes: Axes, table: pd.DataFrame) -> None:
    """Draw bars of images a second, with quartiles and the speed relative to the first network."""
    _bars(axes, table, table["images_per_second"])
    rows, ends = range(len(table)), table["upper_quartile"]
    axes.hlines(rows, table["lower_quartile"], ends, color=mpl.rcParams["text.color"], linewidth=1.2)
    for row, (end, relative) in enumerate(zip(ends, table["relative_speed"], strict=True)):
        axes.annotate(
            f"× {relative:.2f}", (end, row), (4, 0), textcoords="offset points", va="center", fontsize="x-small"
        )
    axes.set_xlim(right=1.14 * ends.max())
    axes.set_yticks(rows, _names(table))
    axes.invert_yaxis()
    axes.set_title("images a second (× the first)")


def _bars(axes: Axes, table: pd.DataFrame, values: "pd.Series[float]") -> None:
    colors = module_colors(table)
    for number, (row, value) in enumerate(zip(table.itertuples(), values, strict=True)):
        axes.barh(number, value, height=0.7, color=colors[role_of(row)[1]], alpha=0.4 if is_unfused(row) else 0.9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
