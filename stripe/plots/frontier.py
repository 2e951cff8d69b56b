"""Costs and gains of folding attention: accuracy against speed, site by site."""

import pandas as pd

from stripe.names import counted
from stripe.plots.figure import StripeFigure
from stripe.plots.kinds import kind
from stripe.plots.select import NothingToDrawError
from stripe.plots.style import Width, styled

__all__ = ["frontier"]


@kind("frontier", "accuracy against speed, site by site", place=10)
def frontier(
    table: pd.DataFrame, *, style: str = "paper", width: Width | None = None, cmap: str | None = None
) -> StripeFigure:
    """Draw the accuracy against the relative speed, with 0, 1, 2 … sites folded, the cheapest first.

    The number beside a point is the number of folded sites; its colour is the relative error of the logits against
    those with attention. The bars are standard errors of the change of accuracy over the images. The dashed line is
    the accuracy with attention.

    Args:
        table: Table from ``stripe.fold.FoldResult.frontier`` (``stripe fold --frontier``), with the columns ``sites``,
            ``accuracy`` (or ``agreement``; per cent; or a metric by its name), ``uncertainty`` (points), ``error``
            (relative) and ``relative_speed``.
        style: Name of a style, as in ``stripe.plots.style.parameters``.
        width: Width of the figure in inches, ``"column"`` (3.3) or ``"page"`` (7); by default what the panels need.
        cmap: Name of a colour map of matplotlib.

    Raises:
        NothingToDrawError: The table has no accuracies.
    """
    measure = next((name for name in ("agreement", "accuracy") if name in table), str(table.columns[2]))
    if table[measure].isna().any():
        raise NothingToDrawError("The table has no accuracies: the images that it was made with had no labels.")
    about = table.attrs
    record = {"kind": "frontier", "table": table.to_dict("list"), **{str(key): value for key, value in about.items()}}
    with styled(style, cmap) as settings:
        figure = StripeFigure(settings, 4.6, 3.2, record, printed=width)
        axes = figure.subplots()
        axes.axhline(table[measure].iloc[0], color="0.6", linewidth=0.8, linestyle="--", zorder=1)
        speed, accuracy, uncertainty = table[["relative_speed", measure, "uncertainty"]].to_numpy(float).T
        axes.errorbar(speed, accuracy, uncertainty, color="0.7", linewidth=0.8, zorder=1)
        points = axes.scatter(speed, accuracy, c=100 * table["error"], s=22, zorder=2)
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
        titles = {"accuracy": "accuracy (%)", "agreement": "agreement with attention (%)"}
        axes.set_ylabel(titles.get(measure, measure))
        axes.set_title("numbers: how many sites are folded", fontsize="small")
        axes.margins(0.08, 0.12)
        axes.spines[["top", "right"]].set_visible(False)
        figure.colorbar(points, ax=axes, label="error of the logits (%)")
        parts = [str(about.get(key, "")) for key in ("model", "processor")]
        split = about.get("split", "held-out")
        parts += [f"{counted(int(about['images']), f'{split} image')} of {about['data']}"] if "images" in about else []
        figure.caption(" · ".join(part for part in parts if part))
        return figure
