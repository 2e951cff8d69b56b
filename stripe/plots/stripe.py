"""Images × channels, before and after attention: the picture that gave the Stripe Observation its name."""

import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.axis import Axis

from stripe.analysis import stripe_index
from stripe.capture import CaptureLike, as_capture
from stripe.names import renamed
from stripe.plots.common import caption, column_name, columns, control_of, describe, sides_of, still_note
from stripe.plots.figure import FigureOrAxes, StripeFigure, check_single
from stripe.plots.heatmap import bar_below, colorbar, heatmap, readable_limits
from stripe.plots.kinds import kind
from stripe.plots.select import (
    CHANNEL_KINDS,
    Choice,
    Patterns,
    choose,
    choose_epoch,
    choose_sites,
)
from stripe.plots.style import Width, is_narrow, styled

__all__ = ["index_text", "number_axis", "stripe"]

_SITES = 3  # drawn by default: the first, middle and last, as late stages may differ from early ones
_TITLES = {"input": "before attention", "attention": "after attention"}
_QUANTITIES = {"input": "GAP", "attention": "v", "control": "v"}
_WIDTHS = {1: 4.4, 2: 7.2, 3: 9.6}  # inches, by panels


@kind("capture", "images × channels, before and after attention", paper="fig. 1a, 23–29", place=1)
@renamed(site="sites")
def stripe(
    capture: CaptureLike,
    *,
    sites: Patterns = None,
    images: Choice = 100,
    channels: Choice = 128,
    epoch: int | None = None,
    seed: int = 0,
    style: str = "paper",
    width: Width | None = None,
    cmap: str | None = None,
    ax: Axes | None = None,
) -> FigureOrAxes:
    """Draw heatmaps, images × channels, of the map's global average (before) and of the attention values (after).

    If attention is a constant, all rows of the right panel are equal: it shows vertical stripes. The number above a
    panel is the stripe index η² = Var_c(mean_i v) / Var_{i,c}(v) of *all* images and channels, which is 1 for perfect
    stripes. The colours of each panel span the 1–99 % quantiles of the drawn values, as the two sides have different
    units. Paper: fig. 1a, 23–29.

    Args:
        capture: A capture, its tree or its path.
        sites: Names of sites or globs; by default the first, the middle and the last site, and the middle one for
            ``ax``.
        images: Number of images (a sample, balanced over the classes), or a list of images.
        channels: Number of channels (a sample), or a list of channels. Other axes (branches, strips) are drawn as
            further channels.
        epoch: Epoch to draw; by default the last.
        seed: Seed of the samples.
        style: Name of a style, as in ``stripe.plots.style.parameters``.
        width: Width of the figure in inches, ``"column"`` (3.3) or ``"page"`` (7); by default what the panels need.
        cmap: Name of a colour map of matplotlib.
        ax: Axes of your own to draw attention at one site into, without what is before it.

    Returns:
        A figure with one row of panels per site, whose left panel is missing if ``input`` was not recorded; or ``ax``.

    Raises:
        NothingToDrawError: The capture has no attention of a kind that this plot shows.
        StripeError: The capture has no such site, image, channel or epoch.

    Example:
        >>> from stripe import plots
        >>> plots.stripe("capture.h5", sites="layer3.*", channels=64)  # doctest: +SKIP
    """
    opened = as_capture(capture)
    with styled(style, cmap, ax=ax, width=width) as settings:
        epoch = choose_epoch(opened, epoch)
        chosen_sites = choose_sites(opened, sites, CHANNEL_KINDS, _SITES if ax is None else 1)
        ids = opened.images
        rows = choose(images, ids, what="image", seed=seed, classes=opened.labels)
        if ax is not None:
            check_single(len(chosen_sites), "choose one site, as sites='layer3.0.se'")
            ((name, data),) = chosen_sites.items()
            values = columns(data["attention"].sel(epoch=epoch))
            chosen = choose(channels, np.arange(values.sizes["channel"]), what="channel", seed=seed)
            _panel(ax, values, rows, chosen, f"{name}\n{_TITLES['attention']}", "attention")
            number_axis(ax.xaxis, chosen, 8)
            number_axis(ax.yaxis, ids[rows], 4)
            ax.set_ylabel(_axis("image", len(rows), len(ids)))
            ax.set_xlabel(_axis(column_name(data), len(chosen), values.sizes["channel"]))
            return ax
        drawn = describe(opened, "stripe", epoch=epoch, seed=seed, images=ids[rows].tolist(), sites={})
        sides = sides_of(chosen_sites)
        control = control_of(opened)
        panels_wide = len(sides) + bool(control)

        narrow = is_narrow(width)  # no room for titles side by side, and for colour bars between panels
        draw = _narrow_panel if narrow else _panel
        height = (1.8 if narrow else 1.75) * len(chosen_sites) + 0.45
        figure = StripeFigure(settings, _WIDTHS[panels_wide], height, drawn, printed=width)
        grid = figure.subplots(len(chosen_sites), panels_wide, squeeze=False)
        flat = []
        for panels, (name, data) in zip(grid, chosen_sites.items(), strict=True):
            held = int(np.prod(data["attention"].shape[2:]))
            chosen = choose(channels, np.arange(held), what="channel", seed=seed)
            drawn["sites"][name] = {"channels": chosen.tolist()}
            shown = {side: data[side].sel(epoch=epoch) for side in sides}
            if control:
                shown["control"] = control[1].sites[name]["attention"].isel(epoch=0)
            for (side, found), axes in zip(shown.items(), panels, strict=True):
                values = columns(found)
                first = side == sides[0]
                title = f"control {control[0]}" if control and side == "control" else _TITLES[side]
                limits, span = draw(axes, values, rows, chosen, f"{name if first else ''}\n{title}", side)
                flat += [span] if span else []
                drawn["sites"][name][f"{side}_range"] = limits
                number_axis(axes.xaxis, chosen, max(3, 8 // panels_wide) if narrow else 8)
                if first:
                    number_axis(axes.yaxis, ids[rows], 4)
                    axes.set_ylabel(_axis("image", len(rows), len(ids)))
                if not narrow or axes is panels[panels_wide // 2]:
                    axes.set_xlabel(_axis(column_name(data), len(chosen), held))
        notes = ["GAP: mean of the map", "v: attention value"] if len(sides) > 1 else ["v: attention value"]
        notes.append("colours: 1–99 % quantiles of the drawn values")
        if still := still_note(chosen_sites):
            notes.append(still)
        if flat:
            notes.append(f"nearly one value (a range of {max(flat):.0e} or less), drawn with wider colours")
        figure.caption(caption(opened, f"epoch {epoch}", *notes, f"sampled with seed {seed}"))
        return figure


def _panel(
    axes: Axes, values: xr.DataArray, rows: np.ndarray, chosen: np.ndarray, heading: str, side: str
) -> tuple[tuple[float, float], float]:
    """Draw one heatmap, with its heading, index and colour bar; return its limits, and its range if it is flat."""
    matrix = values.isel(image=rows, channel=chosen).values
    limits, span = readable_limits(matrix)
    image = heatmap(axes, matrix, limits=limits)
    axes.set_title(heading, loc="left")
    index = float(stripe_index(values))
    axes.set_title(index_text(index), loc="right")
    axes.set(xticks=[], yticks=[])
    bar = colorbar(image, axes, "", aspect=14, pad=0.02)
    # Below the bar, as beside it, it would be that of the next panel; from its left edge on, as the number of the
    # last channel is at its left.
    bar.ax.set_xlabel(_QUANTITIES[side], fontsize="small", labelpad=7, loc="left")
    return limits, span


def _narrow_panel(
    axes: Axes, values: xr.DataArray, rows: np.ndarray, chosen: np.ndarray, heading: str, side: str
) -> tuple[tuple[float, float], float]:
    """As ``_panel``, but with heading and index above each other, and with the colour bar below."""
    matrix = values.isel(image=rows, channel=chosen).values
    limits, span = readable_limits(matrix)
    image = heatmap(axes, matrix, limits=limits)
    name, title = heading.split("\n")
    short = title.removesuffix(" attention")
    axes.set_title(f"\n{short}\n{index_text(float(stripe_index(values)))}", loc="left", fontsize="small")
    # The name of the site may reach over the other panels, which the layout must not know.
    above = 2.4 * float(axes.title.get_fontsize()) + 3.5
    label = axes.annotate(name, (0, 1), (0, above), xycoords="axes fraction", textcoords="offset points")
    label.set_in_layout(False)
    axes.set(xticks=[], yticks=[])
    bar_below(image, axes, _QUANTITIES[side], location="bottom", aspect=14, pad=0.04)
    return limits, span


def number_axis(axis: Axis, chosen: npt.NDArray[np.int64], room: int) -> None:
    """Write the numbers of some of the drawn images or channels, as they are in the capture."""
    places = np.unique(np.linspace(0, len(chosen) - 1, min(room, len(chosen))).round().astype(int))
    axis.set_ticks(places, [str(number) for number in chosen[places]], fontsize="x-small")


def _axis(what: str, drawn: int, available: int) -> str:
    """Label of an axis with the drawn and the available number, such as ``channel (64 of 256)``."""
    return f"{what} ({drawn} of {available})" if drawn < available else f"{what} ({available})"


def index_text(index: float) -> str:
    """Format an index with three digits; an index below 1 is never rounded to 1."""
    if np.isnan(index):
        return "η² undefined"
    return "η² > 0.999" if 0.9995 <= index < 1 else f"η² = {index:.3f}"
