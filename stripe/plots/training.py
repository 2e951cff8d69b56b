"""How trainings went: loss and score over the epochs, several runs in one picture."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from stripe.names import data_name
from stripe.plots.diff import learning_rate_drops
from stripe.plots.figure import FigureOrAxes, StripeFigure
from stripe.plots.kinds import kind
from stripe.plots.runs import RunLike, by_network, common_scoring, selected_by
from stripe.plots.select import NothingToDrawError
from stripe.plots.style import Width, is_narrow, styled
from stripe.tasks.scoring import Scoring

__all__ = ["training"]

_SPLITS: dict[str, dict[str, Any]] = {
    "train": {"linestyle": "--", "linewidth": 0.7},
    "test": {"linestyle": "-", "linewidth": 1.0},
}
_POINTS: dict[str, dict[str, Any]] = {
    "train": {"marker": "o", "markersize": 6, "markerfacecolor": "none"},
    "test": {"marker": "o", "markersize": 3},
}
"""Of one epoch, which makes no line: a ring and a dot, which can be seen where both are in one place."""
_MOST = 6  # as many colours as a style has


@kind("runs", "loss and accuracy over the epochs", place=7)
def training(
    runs: Sequence[RunLike], *, style: str = "paper", width: Width | None = None, ax: Axes | None = None
) -> FigureOrAxes:
    """Curves over the epochs: left the loss, right the score; one colour per network, dashed on the training images.

    Runs that differ in nothing but the seed are one network: the line is their mean, the shade reaches from the lowest
    to the highest. The legend says the test scores after the last and after the best epoch, mean ± standard deviation
    over the seeds. Dotted lines mark where the learning rate drops. The score of classification is the accuracy; the
    runs of another task say what theirs is, and its losses by name are drawn where there is one network.

    Args:
        runs: ``stripe.training.Run``, finished or not.
        style: Name of a style, as in ``stripe.plots.style.parameters``.
        width: Width of the figure in inches, ``"column"`` (3.3) or ``"page"`` (7); by default what the panels need.
        ax: Axes of your own to draw the score into.

    Returns:
        A figure; or ``ax``.

    Raises:
        NothingToDrawError: There is no run, a run has not finished an epoch, there are more networks than can be told
            apart, or runs of different tasks.

    Example:
        >>> from stripe import plots
        >>> from stripe.training import Run
        >>> plots.training([Run(Path("runs/plain")), Run(Path("runs/se"))])  # doctest: +SKIP
    """
    groups = by_network(runs)
    if not 1 <= len(groups) <= _MOST:
        raise NothingToDrawError(f"{len(groups)} networks in one picture: draw 1 to {_MOST}, which can be told apart.")
    scoring = common_scoring(runs)
    tables = {name: [_metrics(run) for run in group] for name, group in groups.items()}
    with styled(style, ax=ax, width=width) as settings:
        if ax is not None:
            _panel(ax, tables, scoring.best, scoring)
            ax.legend(handles=[*_split_lines(tables), *_network_lines(groups, tables, scoring)])
            return ax
        drawn = {"kind": "training", "runs": {name: [str(run.path) for run in group] for name, group in groups.items()}}
        quantities = tuple(dict.fromkeys(("loss", scoring.best)))
        shape = (len(quantities), 1) if is_narrow(width) else (1, len(quantities))
        figure = StripeFigure(settings, 6.9, 0.6 + 2.1 * shape[0] + 0.16 * len(groups), drawn, printed=width)
        panels = dict(zip(quantities, figure.subplots(*shape, squeeze=False).flat, strict=True))
        for quantity, axes in panels.items():
            _panel(axes, tables, quantity, scoring)
        parts = _losses_by_name(panels["loss"], *tables.values(), names=scoring.losses) if len(groups) == 1 else []
        # Many lines leave no corner free: the legend then gets the upper third for itself.
        several: dict[str, Any] = {"ncols": 2, "loc": "upper right", "fontsize": "x-small"} if parts else {}
        panels["loss"].legend(handles=[*_split_lines(tables), *parts], **several)
        panels["loss"].set_ylim(0, _top_loss(tables) * (1.5 if parts else 1))
        networks = _network_lines(groups, tables, scoring)
        title = f"test {scoring.label(scoring.best)} after the last and the best epoch"
        heading: dict[str, Any] = {"title": title, "alignment": "left"}
        figure.legend(handles=networks, loc="outside upper left", **heading)
        figure.caption(_caption(runs, len(runs) > len(groups), bool(_drops(tables))))
        return figure


def _panel(axes: Axes, tables: Mapping[str, Sequence[pd.DataFrame]], quantity: str, scoring: Scoring) -> None:
    """Draw the curves of one quantity, of each network and on each split."""
    for number, group in enumerate(tables.values()):
        for split, line in _SPLITS.items():
            values = pd.concat([table[f"{split}_{quantity}"] for table in group], axis=1)
            _curve(axes, values, f"C{number}", line, _POINTS[split])
    for drop in _drops(tables):
        axes.axvline(drop, color="0.5", linewidth=0.6, linestyle=":", zorder=0)
    title = "loss" if quantity == "loss" else scoring.label(quantity)
    axes.set(xlabel="epoch", ylabel=scoring.axis(quantity), title=title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if _one_epoch(tables):  # or the axis shows a few hundredths of an epoch
        epoch = next(iter(tables.values()))[0].index[0]
        axes.set_xlim(epoch - 1, epoch + 1)
        axes.set_xticks([epoch])
    if axes.dataLim.y0 >= 0:  # then no margin below 0, which would suggest such values
        axes.set_ylim(bottom=max(0.0, axes.get_ylim()[0]))
    axes.spines[["top", "right"]].set_visible(False)


def _split_lines(tables: Mapping[str, Sequence[pd.DataFrame]]) -> list[Line2D]:
    """What tells the splits apart, for a legend."""
    lines = {split: line | {"linestyle": ""} | _POINTS[split] for split, line in _SPLITS.items()}
    lines = lines if _one_epoch(tables) else _SPLITS
    return [Line2D([], [], color="0.5", label=split, **line) for split, line in lines.items()]


def _one_epoch(tables: Mapping[str, Sequence[pd.DataFrame]]) -> bool:
    """Whether all runs have the same one epoch."""
    return len({epoch for group in tables.values() for table in group for epoch in table.index}) == 1


def _network_lines(
    groups: Mapping[str, Sequence[RunLike]], tables: Mapping[str, Sequence[pd.DataFrame]], scoring: Scoring
) -> list[Line2D]:
    """The colour of each network and its scores, for a legend."""
    return [
        Line2D([], [], color=f"C{number}", label=f"{name}:  {_scores(groups[name], group, scoring)}")
        for number, (name, group) in enumerate(tables.items())
    ]


def _metrics(run: RunLike) -> pd.DataFrame:
    table = run.metrics
    if table.empty:
        raise NothingToDrawError(f"{run.path} has not finished an epoch, so there is no curve to draw yet.")
    return table.set_index("epoch")


def _curve(axes: Axes, values: pd.DataFrame, color: str, line: Mapping[str, Any], point: Mapping[str, Any]) -> None:
    """The mean over the columns, one a seed, and their range."""
    how = {**line, **point} if len(values) == 1 else line
    axes.plot(values.index, values.mean(axis=1), color=color, zorder=3, **how)  # above the axis
    if values.shape[1] > 1:
        axes.fill_between(values.index, values.min(axis=1), values.max(axis=1), color=color, alpha=0.2, linewidth=0)


def _top_loss(tables: Mapping[str, Sequence[pd.DataFrame]]) -> float:
    """Above all curves, but not above the few epochs of a high rate after which the test loss explodes."""
    each = [table for group in tables.values() for table in group]
    return 1.15 * float(max(max(table["train_loss"].max(), table["test_loss"].quantile(0.9)) for table in each))


def _drops(tables: Mapping[str, Sequence[pd.DataFrame]]) -> list[float]:
    """Between which epochs a learning rate drops, in any run."""
    found = set()
    for table in (table for group in tables.values() for table in group if len(table) > 1):
        found |= {float(table.index[drop]) - 0.5 for drop in learning_rate_drops(table["learning_rate"].to_numpy())}
    return sorted(found)


def _losses_by_name(axes: Axes, tables: Sequence[pd.DataFrame], *, names: Sequence[str]) -> list[Line2D]:
    """Draw the parts of the test loss of a network; the lines for a legend."""
    handles = []
    for number, name in enumerate(names, 1):
        values = pd.concat([table[f"test_{name}"] for table in tables], axis=1)
        _curve(axes, values, f"C{number}", {"linewidth": 0.7}, _POINTS["test"])
        handles.append(Line2D([], [], color=f"C{number}", linewidth=0.7, label=name.replace("_", " ")))
    return handles


def _scores(runs: Sequence[RunLike], tables: Sequence[pd.DataFrame], scoring: Scoring) -> str:
    """``73.54 %, best 74.10 %``, over the seeds."""
    column = f"test_{scoring.best}"
    last = [float(table[column].iloc[-1]) for table in tables]
    best = []
    for run, table in zip(runs, tables, strict=True):
        values = table[f"{selected_by(run)}_{scoring.best}"]
        losses = table.get(f"{selected_by(run)}_loss", values)
        best.append(float(table[column].iloc[scoring.best_of(values.tolist(), losses.tolist())]))
    return f"{scoring.spread(last)}, best {scoring.spread(best)}"


def _caption(runs: Sequence[RunLike], seeds: bool, drops: bool) -> str:
    """Data · scales · what the lines mean."""
    data = dict.fromkeys(data_name(str(run.settings.get("data", ""))) for run in runs)
    scales = dict.fromkeys(run.scale for run in runs)
    select = {"val": "held-out training images", "test": "the test split itself"}
    notes = ["best epoch by " + ", ".join(dict.fromkeys(select[selected_by(run)] for run in runs))]
    notes += ["line and shade: mean and range over seeds"] if seeds else []
    notes += ["dotted lines: the learning rate drops"] if drops else []
    return " · ".join([", ".join(data), "; ".join(scales), *notes])
