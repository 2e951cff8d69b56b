"""Stripe index of every site at every epoch: how close to a constant the attention of a network is."""

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from stripe.analysis import control_evidence, evidence, stripe_index
from stripe.capture import Capture, CaptureLike, as_capture
from stripe.names import counted, renamed
from stripe.plots.common import caption, describe, ending_note, label_epochs, short_names, still_note
from stripe.plots.figure import FigureOrAxes, StripeFigure, size_of
from stripe.plots.heatmap import colorbar, heatmap
from stripe.plots.kinds import kind
from stripe.plots.select import CHANNEL_KINDS, Patterns, choose_sites
from stripe.plots.style import MISSING, Width, is_narrow, styled

__all__ = ["index", "write_numbers"]

_RESAMPLES = 300  # of the intervals: enough for the resolution of a picture
_CONTROLS = ("#9ecae1", "#fdae6b")  # lighter than the site's own mark
_NUMBERED = 14  # largest number of epochs at which a cell has room for its number
_CELL = 0.25  # inches that a number takes
_BAR = 0.5  # inches of the colour bar and its numbers


@kind("capture", "stripe index of every site over the epochs", place=5)
@renamed(site="sites")
def index(
    capture: CaptureLike,
    *,
    sites: Patterns = None,
    style: str = "paper",
    width: Width | None = None,
    cmap: str | None = None,
    ax: Axes | None = None,
) -> FigureOrAxes:
    """Draw a heatmap, sites × epochs, of the stripe index η² = Var_c(mean_i v) / Var_{i,c}(v) of all images.

    The index is 1 (bright) if attention is the same vector for every image, and 0 (dark) if all channels have the same
    mean. Grey cells have no index, because v does not vary at all. The colours always span 0 to 1.

    Beside it, for the last epoch: what a constant in the place of attention moves in the output, with its 95 % interval
    over images; what it is off itself (RMS) where the capture does not hold the size of the maps. Lighter, below it,
    the same of the controls, in which nothing was learned.

    Args:
        capture: A capture, its tree or its path.
        sites: Names of sites or globs; by default all sites.
        style: Name of a style, as in ``stripe.plots.style.parameters``.
        width: Width of the figure in inches, ``"column"`` (3.3) or ``"page"`` (7); by default what the panels need.
        cmap: Name of a colour map of matplotlib.
        ax: Axes of your own to draw the heatmap into, without what stands beside it.

    Returns:
        A figure with the sites from top to bottom, in the order of the forward pass; or ``ax``.

    Raises:
        NothingToDrawError: The capture has no channel attention.
        StripeError: The capture has no such site.

    Example:
        >>> from stripe import plots
        >>> plots.index("run/capture.h5")  # doctest: +SKIP
    """
    opened = as_capture(capture)
    with styled(style, cmap, ax=ax, width=width) as settings:
        chosen_sites = choose_sites(opened, sites, [*CHANNEL_KINDS, "spatial"])
        names, ending = short_names(list(chosen_sites))
        kinds = [opened.facts[name].kind for name in chosen_sites]
        if len(set(kinds)) > 1:
            names = [n if n.endswith(kind) else f"{n}  {kind}" for n, kind in zip(names, kinds, strict=True)]
        epochs = opened.epochs
        matrix = np.stack([stripe_index(data["attention"]).values for data in chosen_sites.values()])
        if ax is not None:
            _heatmap(ax, matrix, names, epochs, size_of(ax)[0] - _BAR, bounded=True)
            return ax
        drawn = describe(opened, "index", epochs=epochs.tolist(), sites=list(chosen_sites), range=[0.0, 1.0])

        pitch = 0.24 if len(chosen_sites) <= 20 else 0.15
        labels = 0.055 * max(map(len, names))
        beside = 1.1 if is_narrow(width) else 1.5
        own = 6.9 - beside if len(epochs) > _NUMBERED else max(3.4, 1.3 + labels + 0.3 * len(epochs))
        figure = StripeFigure(settings, own + beside, 1.1 + pitch * max(len(chosen_sites), 4), drawn, printed=width)
        own = own if width is None else figure.get_figwidth() - beside
        room = own - labels
        axes, errors = figure.subplots(1, 2, sharey=True, width_ratios=(max(room, 1.0), beside))
        _heatmap(axes, matrix, names, epochs, room - _BAR, bounded=width is not None)
        axes.set_title("stripe index η²" + ("" if is_narrow(width) else "  (1: a constant)"))
        _write_errors(errors, opened, list(chosen_sites))
        if is_narrow(width):
            errors.set_xlabel("%")
        handles: list[Artist] = list(errors.get_legend_handles_labels()[0])
        if np.isnan(matrix).any():
            handles.append(Patch(facecolor=MISSING, label="undefined: v does not vary, one channel, or NaN"))
        if handles:
            figure.legend(handles=handles, loc="outside upper right")
        note = f"right: what a constant is off at epoch {epochs[-1]}, with its 95 % interval"
        notes = (note, still_note(chosen_sites), ending_note(ending))
        figure.caption(caption(opened, counted(len(opened.images), "image"), *notes))
        return figure


def _heatmap(
    axes: Axes,
    matrix: npt.NDArray[np.float64],
    names: list[str],
    epochs: npt.NDArray[np.int64],
    room: float,
    *,
    bounded: bool,
) -> None:
    """Draw the index, sites × epochs, with a number in each cell if ``room``, the width in inches, has place for it."""
    image = heatmap(axes, matrix, limits=(0.0, 1.0))
    axes.set_yticks(range(len(names)), names)
    label_epochs(axes, epochs, room=max(2, int(3 * room)) if bounded else _NUMBERED)
    axes.set(title="stripe index η²", xlabel="epoch", ylabel="site")
    colorbar(image, axes, "", pad=0.02, aspect=25)
    if len(epochs) <= _NUMBERED and room >= _CELL * len(epochs):
        write_numbers(axes, matrix)


def _write_errors(axes: Axes, capture: Capture, sites: list[str]) -> None:
    """Draw the error of a constant at the last epoch, a dot on its interval for each site."""
    table = evidence(capture, resamples=_RESAMPLES).set_index("site").loc[sites]
    has_output = table["output_error"].notna().any()
    name = "output_error" if has_output else "constant_error"
    value, low, high = (100 * table[f"{name}{end}"].to_numpy() for end in ("", "_low", "_high"))
    beside = control_evidence(capture, resamples=_RESAMPLES)
    rows = np.arange(len(sites)) - 0.1 * len(beside)  # so that the last control's mark, too, is within the panel
    for place, (control, found) in enumerate(beside.items()):
        of_control = found.set_index("site").loc[sites]
        ends = (100 * of_control[f"{name}{end}"].to_numpy() for end in ("", "_low", "_high"))
        _mark(
            axes,
            rows + 0.2 * (place + 1),
            *ends,
            color=_CONTROLS[place % 2],
            marker="sD"[place % 2],
            label=f"control {control}",
        )
    _mark(axes, rows, value, low, high, color="C0", marker="o", label="")
    axes.set_xlim(left=0)
    axes.set(title=name.replace("_", " "), xlabel="% (95 % interval)")
    axes.tick_params(axis="y", length=0, labelleft=False)
    axes.grid(axis="x", linewidth=0.4, alpha=0.4)
    axes.spines[["top", "right"]].set_visible(False)


def _mark(
    axes: Axes,
    rows: npt.NDArray[Any],
    value: npt.NDArray[Any],
    low: npt.NDArray[Any],
    high: npt.NDArray[Any],
    *,
    color: str,
    marker: str,
    label: str,
) -> None:
    """A mark on its interval for each row."""
    axes.hlines(rows, low, high, color=color, linewidth=1.2)
    axes.plot(value, rows, marker, color=color, markersize=3, label=label)


def write_numbers(axes: Axes, matrix: npt.NDArray[np.float64]) -> None:
    """Write each cell's number into it, dark on bright colours and bright on dark ones."""
    for (row, column), value in np.ndenumerate(matrix):
        if np.isfinite(value):
            color = "black" if value > 0.55 else "white"
            axes.text(column, row, _text(value), ha="center", va="center", color=color, fontsize="x-small")


def _text(value: float) -> str:
    """Format an index with three decimals; only exact values become 1 and 0, as small distances from 1 matter."""
    if min(value, 1 - value) < 1e-9:  # rounding of float64
        return f"{value:.0f}"
    return {"1.000": ">.999", "0.000": "<.001"}.get(text := f"{value:.3f}", text.removeprefix("0"))
