"""Images × channels, before and after attention: the picture that gave the Stripe Observation its name."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from stripe.analysis import stripe_index
from stripe.capture import CaptureLike, as_capture
from stripe.names import renamed
from stripe.plots.common import caption, column_name, columns, control_of, describe, sides_of
from stripe.plots.figure import StripeFigure
from stripe.plots.heatmap import colorbar, heatmap, robust_limits
from stripe.plots.kinds import kind
from stripe.plots.select import (
    CHANNEL_KINDS,
    Choice,
    Patterns,
    choose,
    choose_epoch,
    choose_sites,
)
from stripe.plots.style import styled

__all__ = ["stripe"]

_SITES = 3  # drawn by default: the first, middle and last, as late stages may differ from early ones
_TITLES = {"input": "before attention", "attention": "after attention"}
_QUANTITIES = {"input": "mean of the map (GAP)", "attention": "attention value v", "control": "attention value v"}
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
) -> StripeFigure:
    """Draw heatmaps, images × channels, of the map's global average (before) and of the attention values (after).

    If attention is a constant, all rows of the right panel are equal: it shows vertical stripes. The number above a
    panel is the stripe index η² = Var_c(mean_i v) / Var_{i,c}(v) of *all* images and channels, which is 1 for perfect
    stripes. The colours of each panel span the 1–99 % quantiles of the drawn values, as the two sides have different
    units. Paper: fig. 1a, 23–29.

    Args:
        capture: A capture, its tree or its path.
        sites: Names of sites or globs; by default the first, the middle and the last site.
        images: Number of images (a sample, balanced over the classes), or a list of images.
        channels: Number of channels (a sample), or a list of channels. Other axes (branches, strips) are drawn as
            further channels.
        epoch: Epoch to draw; by default the last.
        seed: Seed of the samples.
        style: Name of a style, as in ``stripe.plots.style.parameters``.

    Returns:
        A figure with one row of panels per site. The left panel is missing if ``input`` was not recorded.

    Raises:
        NothingToDrawError: The capture has no attention of a kind that this plot shows.
        StripeError: The capture has no such site, image, channel or epoch.

    Example:
        >>> from stripe import plots
        >>> plots.stripe("capture.h5", sites="layer3.*", channels=64)  # doctest: +SKIP
    """
    opened = as_capture(capture)
    with styled(style) as settings:
        epoch = choose_epoch(opened, epoch)
        chosen_sites = choose_sites(opened, sites, CHANNEL_KINDS, _SITES)
        ids = opened.images
        rows = choose(images, ids, what="image", seed=seed, classes=opened.labels)
        drawn = describe(opened, "stripe", epoch=epoch, seed=seed, images=ids[rows].tolist(), sites={})
        sides = sides_of(chosen_sites)
        control = control_of(opened)
        panels_wide = len(sides) + bool(control)

        height = 1.75 * len(chosen_sites) + 0.45
        figure = StripeFigure(settings, _WIDTHS[panels_wide], height, drawn)
        grid = figure.subplots(len(chosen_sites), panels_wide, squeeze=False)
        for panels, (name, data) in zip(grid, chosen_sites.items(), strict=True):
            width = int(np.prod(data["attention"].shape[2:]))
            chosen = choose(channels, np.arange(width), what="channel", seed=seed)
            drawn["sites"][name] = {"channels": chosen.tolist()}
            shown = {side: data[side].sel(epoch=epoch) for side in sides}
            if control:
                shown["control"] = control[1].sites[name]["attention"].isel(epoch=0)
            for (side, found), axes in zip(shown.items(), panels, strict=True):
                values = columns(found)
                first = side == sides[0]
                title = f"control {control[0]}" if control and side == "control" else _TITLES[side]
                limits = _panel(axes, values, rows, chosen, f"{name}\n{title}" if first else f"\n{title}", side)
                drawn["sites"][name][f"{side}_range"] = limits
                axes.set_xlabel(_axis(column_name(data), len(chosen), width))
                if first:
                    axes.set_ylabel(_axis("image", len(rows), len(ids)))
        figure.caption(caption(opened, f"epoch {epoch}", f"sampled with seed {seed}"))
        return figure


def _panel(
    axes: Axes, values: xr.DataArray, rows: np.ndarray, chosen: np.ndarray, heading: str, side: str
) -> tuple[float, float]:
    """Draw one heatmap, with its heading, index and colour bar; return its colour limits."""
    matrix = values.isel(image=rows, channel=chosen).values
    limits = robust_limits(matrix)
    image = heatmap(axes, matrix, limits=limits)
    axes.set_title(heading)
    index = float(stripe_index(values))
    axes.set_title(_index_text(index), loc="right")
    axes.set(xticks=[], yticks=[])
    colorbar(image, axes, f"{_QUANTITIES[side]}\n(1–99 % quantiles)", aspect=14, pad=0.02)
    return limits


def _axis(what: str, drawn: int, available: int) -> str:
    """Label of an axis with the drawn and the available number, such as ``channel (64 of 256)``."""
    return f"{what} ({drawn} of {available})" if drawn < available else f"{what} ({available})"


def _index_text(index: float) -> str:
    """Format an index with three digits; an index below 1 is never rounded to 1."""
    if np.isnan(index):
        return "η² undefined"
    return "η² > 0.999" if 0.9995 <= index < 1 else f"η² = {index:.3f}"
