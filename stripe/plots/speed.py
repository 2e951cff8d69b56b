"""Cost of attention: throughput, parameters and FLOPs of networks side by side."""

from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes

from stripe.plots.figure import StripeFigure
from stripe.plots.kinds import kind
from stripe.plots.measured import caption_of, is_unfused, module_colors, record_of, role_of
from stripe.plots.style import Width, is_narrow, styled

__all__ = ["speed"]


@kind("speeds", "throughput, parameters and FLOPs", paper="table 1", place=9)
def speed(table: pd.DataFrame, *, style: str = "paper", width: Width | None = None) -> StripeFigure:
    """Draw bars of images per second, parameters and FLOPs, one row per network in the order of the table.

    Each attention module has its colour; a lightly filled bar is a network with ASR that is not fused. Whiskers are
    quartiles; the number beside them is the speed relative to the first network. Paper: table 1.

    Args:
        table: Table from ``stripe.bench.measure``.
        style: Name of a style, as in ``stripe.plots.style.parameters``.
        width: Width of the figure in inches, ``"column"`` (3.3) or ``"page"`` (7); by default what the panels need.

    Example:
        >>> from stripe import bench, plots
        >>> plots.speed(bench.measure(["resnet83", "resnet83+se"]))  # doctest: +SKIP
    """
    with styled(style) as settings:
        bars = 0.24 * max(len(table), 3)
        narrow = is_narrow(width)
        height = 1.7 + 3 * bars if narrow else 0.9 + bars
        figure = StripeFigure(settings, 6.9, height, record_of(table, "speed"), printed=width)
        shape: dict[str, Any] = {"nrows": 3} if narrow else {"ncols": 3, "width_ratios": [2, 1, 1]}
        rate, parameters, flops = figure.subplots(**shape, sharey=True)
        _bars(rate, table, table["images_per_second"])
        _bars(parameters, table, table["parameters"] / 1e6)
        _bars(flops, table, table["flops"] / 1e9)
        rows = range(len(table))
        rate.hlines(
            rows, table["lower_quartile"], table["upper_quartile"], color=mpl.rcParams["text.color"], linewidth=1.2
        )
        for row, (end, relative) in enumerate(zip(table["upper_quartile"], table["relative_speed"], strict=True)):
            rate.annotate(
                f"× {relative:.2f}", (end, row), (4, 0), textcoords="offset points", va="center", fontsize="x-small"
            )
        rate.set_xlim(right=1.14 * table["upper_quartile"].max())
        for axes in (rate, parameters, flops) if narrow else (rate,):
            axes.set_yticks(rows, table["model"])
        rate.invert_yaxis()
        rate.set_title("images a second (× the first)")
        parameters.set_title("parameters (million)")
        flops.set_title("GFLOPs an image")
        figure.caption(caption_of(table))
        return figure


def _bars(axes: Axes, table: pd.DataFrame, values: "pd.Series[float]") -> None:
    colors = module_colors(table)
    for number, (row, value) in enumerate(zip(table.itertuples(), values, strict=True)):
        axes.barh(number, value, height=0.7, color=colors[role_of(row)[1]], alpha=0.4 if is_unfused(row) else 0.9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
