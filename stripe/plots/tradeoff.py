"""What accuracy costs: accuracy against speed and against size."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from stripe.plots.figure import FigureOrAxes, StripeFigure, check_single
from stripe.plots.kinds import kind
from stripe.plots.measured import ROLES, caption_of, is_unfused, module_colors, record_of, role_of
from stripe.plots.select import NothingToDrawError
from stripe.plots.style import Width, is_narrow, styled

__all__ = ["tradeoff"]

_MARKERS = {"none": ("D", 4.5), "attention": ("o", 5.5), "asr": ("*", 9.0), "both": ("P", 6.5)}  # and their sizes


@kind("speeds", "accuracy against speed and parameters", paper="fig. 3", place=8)
def tradeoff(
    table: pd.DataFrame, *, style: str = "paper", width: Width | None = None, ax: Axes | None = None
) -> FigureOrAxes:
    """Accuracy against images a second (left) and against parameters (right), a point a network. Paper: fig. 3.

    A colour is an attention module, a marker what it is used for; a hollow marker is ASR that was not fused. An arrow
    leads from attention to ASR of the same module. Whiskers are the quartiles of the speed
    and, where there were several seeds, the standard deviation of the accuracy.

    Args:
        table: From `stripe.bench.measure`, with what `stripe.bench.add_accuracy` adds. Networks without an accuracy
            are left out.
        style: Name of a style, as in ``stripe.plots.style.parameters``.
        width: Width of the figure in inches, ``"column"`` (3.3) or ``"page"`` (7); by default what the panels need.
        ax: Axes of your own to draw the accuracy against the speed into, of one backbone.

    Returns:
        A figure with a row of panels for each backbone; or ``ax``.

    Raises:
        NothingToDrawError: No network in the table has an accuracy.
        StripeError: There is one ``ax`` for several backbones.

    Example:
        >>> from stripe import bench, plots
        >>> plots.tradeoff(bench.read_table("bench.csv"))  # doctest: +SKIP
    """
    if "accuracy" not in table or table["accuracy"].isna().all():
        raise NothingToDrawError(
            "The table has no accuracies. Name the runs that trained its networks: `stripe bench --runs RUN`, or after "
            "the table in `stripe plot --kind tradeoff TABLE RUN`."
        )
    left_out = list(table.loc[table["accuracy"].isna(), "model"])
    table = table[table["accuracy"].notna()]
    colors = module_colors(table)
    backbones = list(dict.fromkeys(table["backbone"]))
    with styled(style, ax=ax, width=width) as settings:
        if ax is not None:
            check_single(len(backbones), "keep the rows of one backbone")
            _speeds(ax, list(table.itertuples()), colors)
            ax.set(xlabel="images a second", ylabel="accuracy (%)", title=backbones[0])
            ax.legend(handles=_legend(table, colors))
            return ax
        narrow = is_narrow(width)
        height = (2 if narrow else 1) * 2.2 * len(backbones) + (1.6 if narrow else 1.1)
        figure = StripeFigure(settings, 6.9, height, record_of(table, "tradeoff"), printed=width)
        if narrow:
            grid = figure.subplots(2 * len(backbones), 1, squeeze=False).reshape(len(backbones), 2)
        else:
            grid = figure.subplots(len(backbones), 2, sharey="row", sharex="col", squeeze=False)
        for (speed, size), backbone in zip(grid, backbones, strict=True):
            rows = list(table[table["backbone"] == backbone].itertuples())
            _speeds(speed, rows, colors)
            _points(size, rows, lambda row: row.parameters / 1e6, colors)
            speed.set(ylabel="accuracy (%)", title=backbone)
            if narrow:
                size.set_ylabel("accuracy (%)")
        for speed, size in grid if narrow else grid[-1:]:
            speed.set_xlabel("images a second")
            size.set_xlabel("parameters (million)")
        figure.legend(handles=_legend(table, colors), loc="outside upper left", ncols=2 if narrow else 4)
        notes = [*map(str, table.attrs.get("accuracy_of", ()))]
        notes += [f"without an accuracy: {', '.join(left_out)}"] if left_out else []
        figure.caption(caption_of(table, *notes))
        return figure


def _speeds(axes: Axes, rows: Sequence[Any], colors: Mapping[str, str]) -> None:
    """Draw the accuracy against the speed."""
    axes.hlines(**_whiskers(rows), color="0.6", linewidth=0.8, zorder=1)
    _points(axes, rows, lambda row: float(row.images_per_second), colors)
    _arrows(axes, rows, colors)


def _points(axes: Axes, rows: Sequence[Any], place: Callable[[Any], float], colors: Mapping[str, str]) -> None:
    """A marker a network."""
    for row in rows:
        role, module = role_of(row)
        x, spread = place(row), row.accuracy_std
        if spread == spread:  # NaN with one seed
            axes.vlines(x, row.accuracy - spread, row.accuracy + spread, color="0.6", linewidth=0.8, zorder=1)
        marker, size = _MARKERS[role]
        color, ground = colors[module], axes.get_facecolor()
        face, edge, width = (ground, color, 1.0) if is_unfused(row) else (color, ground, 0.4)
        style: dict[str, Any] = {"markerfacecolor": face, "markeredgecolor": edge, "markeredgewidth": width}
        axes.plot(x, row.accuracy, marker, markersize=size, **style)
    axes.grid(color="0.5", linewidth=0.4, alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(0.08, 0.12)


def _arrows(axes: Axes, rows: Sequence[Any], colors: Mapping[str, str]) -> None:
    """From attention to ASR of the same module, the fused one where there is one."""
    order = sorted(rows, key=is_unfused, reverse=True)
    ends = {module: row for row in order for role, module in [role_of(row)] if role == "asr"}
    for row in rows:
        role, module = role_of(row)
        if role == "attention" and module in ends:
            start, end = ((point.images_per_second, point.accuracy) for point in (row, ends[module]))
            arrow = {"arrowstyle": "->", "color": colors[module], "alpha": 0.6, "shrinkA": 5, "shrinkB": 6}
            axes.annotate("", end, start, arrowprops=arrow)


def _whiskers(rows: Sequence[Any]) -> dict[str, Any]:
    """Quartiles of the speed, as ``hlines`` takes them."""
    return {
        "y": [row.accuracy for row in rows],
        "xmin": [row.lower_quartile for row in rows],
        "xmax": [row.upper_quartile for row in rows],
    }


def _legend(table: pd.DataFrame, colors: Mapping[str, str]) -> list[Line2D]:
    """What the markers mean, what the colours mean, and the other marks."""
    rows = list(table.itertuples())
    roles = {role_of(row)[0] for row in rows}
    shapes = [(_MARKERS[role], label, colors["none"]) for role, label in ROLES.items() if role in roles]
    patches = [(("s", 6.0), name.upper(), color) for name, color in colors.items() if name != "none"]
    handles = [
        Line2D([], [], linestyle="", marker=marker, markersize=size, color=color, label=label)
        for (marker, size), label, color in [*shapes, *patches]
    ]
    if any(map(is_unfused, rows)):
        hollow: dict[str, Any] = {"markerfacecolor": "none", "markeredgecolor": colors["none"], "markersize": 9}
        handles.append(Line2D([], [], linestyle="", marker="*", label="hollow: not fused", **hollow))
    if {role_of(row)[1] for row in rows if role_of(row)[0] == "attention"} & {
        role_of(row)[1] for row in rows if role_of(row)[0] == "asr"
    }:
        arrow: dict[str, Any] = {"linestyle": "", "marker": r"$\rightarrow$", "markersize": 9, "color": colors["none"]}
        handles.append(Line2D([], [], label="attention to its ASR", **arrow))
    spread = ", std over seeds" if table["accuracy_std"].notna().any() else ""
    handles.append(Line2D([], [], color="0.6", linewidth=0.8, label=f"quartiles of the speed{spread}"))
    return handles
