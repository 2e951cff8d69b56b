"""Costs and gains of folding attention: accuracy against speed, site by site."""

import pandas as pd
from matplotlib.axes import Axes

from stripe.names import counted, data_name, without_folders
from stripe.plots.figure import FigureOrAxes, StripeFigure
from stripe.plots.kinds import kind
from stripe.plots.select import NothingToDrawError
from stripe.plots.style import Width, styled

__all__ = ["frontier"]


@kind("frontier", "accuracy against speed, site by site", place=10)
def frontier(
    table: pd.DataFrame,
    *,
    style: str = "paper",
    width: Width | None = None,
    cmap: str | None = None,
    ax: Axes | None = None,
) -> FigureOrAxes:
    """Draw the accuracy against the relative speed, with 0, 1, 2 … sites folded, the cheapest first.

    The number beside a point is the number of folded sites; its colour is the relative error of the logits against
    those with attention, where these were compared. The bars are standard errors of the change of accuracy over the
    images. The dashed line is the accuracy with attention.

    Args:
        table: Table from ``stripe.fold.FoldResult.frontier`` (``stripe fold --frontier``), with the columns ``sites``,
            ``accuracy`` (or ``agreement``; per cent; or a metric by its name), ``uncertainty`` (points), ``error``
            (relative) and ``relative_speed``.
        style: Name of a style, as in ``stripe.plots.style.parameters``.
        width: Width of the figure in inches, ``"column"`` (3.3) or ``"page"`` (7); by default what the panels need.
        cmap: Name of a colour map of matplotlib.
        ax: Axes of your own to draw into, without a caption.

    Returns:
        A figure; or ``ax``.

    Raises:
        NothingToDrawError: The table has no accuracies.
    """
    measure = next((name for name in ("agreement", "accuracy") if name in table), str(table.columns[2]))
    if table[measure].isna().any():
        raise NothingToDrawError("The table has no accuracies: the images that it was made with had no labels.")
    about = table.attrs
    record = {"kind": "frontier", "table": table.to_dict("list"), **{str(key): value for key, value in about.items()}}
    with styled(style, cmap, ax=ax, width=width) as settings:
        if ax is not None:
            _curve(ax, table, measure)
            return ax
        figure = StripeFigure(settings, 4.6, 3.2, record, printed=width)
        _curve(figure.subplots(), table, measure)
        parts = [without_folders(str(about.get("model", ""))), str(about.get("processor", ""))]
        if "images" in about:
            images = counted(int(about["images"]), f"{about.get('split', 'held-out')} image")
            parts.append(f"{images} of {data_name(str(about['data']))}")
        figure.caption(" · ".join(part for part in parts if part))
        return figure


def _curve(axes: Axes, table: pd.DataFrame, measure: str) -> None:
    """Draw a point for each number of folded sites, and a colour bar of the error of the logits."""
    axes.axhline(table[measure].iloc[0], color="0.6", linewidth=0.8, linestyle="--", zorder=1)
    speed, accuracy, uncertainty = table[["relative_speed", measure, "uncertainty"]].to_numpy(float).T
    axes.errorbar(speed, accuracy, uncertainty, color="0.7", linewidth=0.8, zorder=1)
    compared = table["error"].notna().any()  # the outputs of a detector are not
    points = axes.scatter(speed, accuracy, c=100 * table["error"] if compared else "C0", s=22, zorder=2)
    step = max(1, len(table) // 8)  # more numbers would overlap
    for number in [*range(0, len(table) - 1, step), len(table) - 1]:
        side, aligned = (4, "left") if number % 2 else (-4, "right")
        axes.annotate(
            f"{table['sites'].iloc[number]}",
            (speed[number], accuracy[number]),
            (side, 4),
            textcoords="offset points",
            ha=aligned,
            fontsize="x-small",
        )
    axes.set_xlabel("speed, relative to the network with attention")
    titles = {
        "accuracy": "accuracy (%)",
        "agreement": "agreement with attention (%)",
        "ap": "AP (%)",
        "miou": "mIoU (%)",
    }
    axes.set_ylabel(titles.get(measure, measure))
    axes.set_title("numbers: how many sites are folded", fontsize="small")
    axes.margins(0.08, 0.12)
    axes.spines[["top", "right"]].set_visible(False)
    if compared:
        bar = axes.figure.colorbar(points, ax=axes, label="error of the logits (%)")
        bar.outline.set_linewidth(0.4)
