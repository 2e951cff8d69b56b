"""Standard deviation of attention over the images, channel by channel, before and after attention."""

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from stripe.analysis import channel_std, evidence
from stripe.analysis.wording import interval_text
from stripe.capture import Capture, CaptureLike, as_capture
from stripe.names import counted, renamed
from stripe.plots.common import caption, columns, control_of, describe, ending_note, short_names, sides_of
from stripe.plots.figure import FigureOrAxes, StripeFigure
from stripe.plots.kinds import kind
from stripe.plots.select import CHANNEL_KINDS, Patterns, choose_epoch, choose_sites
from stripe.plots.style import Width, is_narrow, styled

__all__ = ["SIDES", "control_look", "finish", "quantiles", "spread_bars", "std"]

_RESAMPLES = 300  # of the intervals: enough for the digits that are shown
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_FLOOR = 1e-6  # a logarithmic axis has no 0, and smaller values are below the precision of float32
SIDES = {"input": ("before attention (GAP of the map)", "C1"), "attention": ("after attention", "C0")}


@kind("capture", "how far channels differ between images, by site", paper="fig. 1b", place=2)
@renamed(site="sites")
def std(
    capture: CaptureLike,
    *,
    sites: Patterns = None,
    epoch: int | None = None,
    style: str = "paper",
    width: Width | None = None,
    ax: Axes | None = None,
) -> FigureOrAxes:
    """Draw the distribution over the channels of the standard deviation over the images, for every site.

    The left panel shows σ_c = std_i(v_ic) in the units of the values, the right panel σ_c / |mean_i v_ic|, which has
    no unit, so that before and after can be compared. A dot is the median channel, the thick line spans the middle
    half of the channels, the thin line 90 % of them. A constant attention lies at the left end. Paper: fig. 1b.

    Lighter, below it: the same of the control at initialisation (or the one that the capture has), where nothing was
    learned.

    In figures at the right: what a constant in the place of attention moves in the output, in percent with its 95 %
    interval over images; what it is off itself (RMS) where the capture does not hold the size of the maps.

    Args:
        capture: A capture, its tree or its path.
        sites: Names of sites or globs; by default all sites.
        epoch: Epoch to draw; by default the last.
        style: Name of a style, as in ``stripe.plots.style.parameters``.
        width: Width of the figure in inches, ``"column"`` (3.3) or ``"page"`` (7); by default what the panels need.
        ax: Axes of your own to draw the left panel into.

    Returns:
        A figure with the sites from top to bottom, in the order of the forward pass; or ``ax``.

    Raises:
        NothingToDrawError: The capture has no attention of a kind that this plot shows.
        StripeError: The capture has no such site or epoch.

    Example:
        >>> from stripe import plots
        >>> plots.std("capture.h5")  # doctest: +SKIP
    """
    opened = as_capture(capture)
    with styled(style, ax=ax, width=width) as settings:
        epoch = choose_epoch(opened, epoch)
        chosen_sites = choose_sites(opened, sites, CHANNEL_KINDS)
        names, ending = short_names(list(chosen_sites))
        drawn = describe(opened, "std", epoch=epoch, sites=list(chosen_sites), images=opened.images.tolist())

        control = control_of(opened)
        sides = sides_of(chosen_sites)
        rows = [(SIDES[side], [data[side].sel(epoch=epoch) for data in chosen_sites.values()]) for side in sides]
        if control:
            of_control = [control[1].sites[name]["attention"].isel(epoch=0) for name in chosen_sites]
            rows.append((control_look(control[0]), of_control))
        half = 0.24 if control else 0.17
        if ax is not None:
            _panel(ax, rows, names, half, is_relative=False)
            ax.legend()
            return ax
        pitch = (0.32 if control else 0.26) if len(chosen_sites) <= 20 else 0.16
        narrow = is_narrow(width)
        height = pitch * max(len(chosen_sites), 3)
        figure = StripeFigure(settings, 6.9, 2.2 + 2 * height if narrow else 1.15 + height, drawn, printed=width)
        absolute, relative = figure.subplots(*((2, 1) if narrow else (1, 2)), sharey=True)
        _panel(relative, rows, names, half, is_relative=True)
        _panel(absolute, rows, names, half, is_relative=False)
        relative.tick_params(labelleft=narrow)
        _write_errors(relative, opened, epoch, list(chosen_sites))
        handles, labels = absolute.get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside upper left" if narrow else "outside upper right", ncols=1 if narrow else 3
        )
        notes = "dot: median channel, thick: middle 50 %, thin: 90 % of the channels, in brackets: 95 % interval"
        images = counted(len(opened.images), "image")
        figure.caption(caption(opened, f"epoch {epoch}", images, notes, ending_note(ending)))
        return figure


def _panel(
    axes: Axes,
    rows: list[tuple[tuple[str, str], list[xr.DataArray]]],
    names: list[str],
    half: float,
    *,
    is_relative: bool,
) -> None:
    """Draw the spread at every site, each side a row of bars, the outermost ``half`` of a row from the middle."""
    offsets = np.linspace(-half, half, len(rows)) if len(rows) > 1 else [0.0]
    for (look, values), offset in zip(rows, offsets, strict=True):
        spread_bars(axes, np.array([quantiles(each, is_relative) for each in values]), look, float(offset))
    finish(axes)
    if is_relative:
        axes.set(title="relative to the mean of the channel", xlabel="σ / |mean| of a channel (log scale)")
    else:
        axes.set(title="standard deviation over images", xlabel="σ of a channel (log scale)")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)


def _write_errors(axes: Axes, capture: Capture, epoch: int, sites: list[str]) -> None:
    """Write the error of a constant beside the row of each site, and what it is above them."""
    table = evidence(capture, epoch=epoch, resamples=_RESAMPLES).set_index("site").loc[sites]
    name = "output_error" if table["output_error"].notna().any() else "constant_error"
    texts = [interval_text(row, name) for row in table.to_dict("records")]
    for row, text in [(-0.8, f"{name.replace('_', ' ')} %"), *enumerate(texts)]:
        axes.annotate(text, (1.03, row), xycoords=("axes fraction", "data"), va="center", fontsize="x-small")


def control_look(name: str) -> tuple[str, str]:
    """Label and colour of a control, as ``SIDES`` has them of a side: a lighter blue."""
    return f"after attention, control {name}", "#9ecae1"


def quantiles(values: xr.DataArray, relative: bool) -> npt.NDArray[np.float64]:
    """Five quantiles over the channels as an array (5,); NaN if there is nothing to show."""
    spread = channel_std(columns(values), relative=relative).values
    finite = spread[np.isfinite(spread)]
    return np.quantile(finite, _QUANTILES) if finite.size else np.full(len(_QUANTILES), np.nan)


def spread_bars(axes: Axes, spread: npt.NDArray[np.float64], look: tuple[str, str], offset: float) -> None:
    """Draw the quantiles (sites, 5) as thin lines, thick lines and dots."""
    label, color = look
    rows = np.arange(len(spread)) + offset
    low, lower, middle, upper, high = np.maximum(spread, _FLOOR).T
    style: dict[str, Any] = {"color": color, "zorder": 2}
    axes.hlines(rows, low, high, linewidth=0.7, **style)
    axes.hlines(rows, lower, upper, linewidth=2.4, **style)
    axes.plot(
        middle, rows, "o", markersize=3, label=label, markeredgecolor=axes.get_facecolor(), markeredgewidth=0.4, **style
    )


def finish(axes: Axes) -> None:
    """Give the axes a logarithmic scale with faint guides."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    steps = (1.0,) if high / low > 100 else (1.0, 2.0, 5.0)
    axes.xaxis.set_major_locator(LogLocator(subs=steps))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="x", linewidth=0.4, alpha=0.4)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    left = axes.dataLim.x0
    if left <= _FLOOR:  # at least one channel does not vary at all
        axes.axvline(_FLOOR, color="0.5", linewidth=0.6, linestyle=":")
        axes.annotate(
            " ≤ 10⁻⁶", (_FLOOR, 0), xycoords=("data", "axes fraction"), color="0.5", fontsize="x-small", va="bottom"
        )
