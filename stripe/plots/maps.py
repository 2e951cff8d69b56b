"""What spatial attention does to a map: the map before it, its weights, and the map after it, image by image."""

import os
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.axes import Axes

from stripe.analysis.networks import network_names
from stripe.capture import Capture, CaptureLike, as_capture
from stripe.errors import StripeError
from stripe.plots.common import caption, describe, image_name
from stripe.plots.figure import FigureOrAxes, StripeFigure, wrapped
from stripe.plots.heatmap import bar_below, heatmap, readable_limits
from stripe.plots.kinds import kind
from stripe.plots.select import Choice, NothingToDrawError, Patterns, choose, choose_epoch, choose_sites
from stripe.plots.spatial import as_maps
from stripe.plots.style import Width, is_narrow, printed_width, styled

__all__ = ["maps"]

Values = npt.NDArray[np.floating]

COLUMNS = ("input", "weight", "output")
_OPACITY = 0.65  # of a map over the image
_ROOM = 0.6  # inches of a row in which the name of an image has room from bottom to top


@kind("captures", "map before spatial attention, weights and map after it", paper="SPSA's fig. 3", place=5)
def maps(
    captures: CaptureLike | Sequence[CaptureLike],
    *,
    sites: Patterns = None,
    images: Choice | None = None,
    epoch: int | None = None,
    seed: int = 0,
    over_image: bool = False,
    style: str = "paper",
    width: Width | None = None,
    cmap: str | None = None,
) -> FigureOrAxes:
    """Draw what one spatial site does to its map, for several images: the input, the weights and the output.

    Of the maps the root mean square over the channels is shown. A weight multiplies all channels of a position, so that
    the output is the input times the weight (times 1 + weight, where the product is added to the map); of several heads
    the mean weight is shown. Several captures
    of the same images stand side by side, as SPSA with and without its reverse operation. Paper of SPSA: fig. 3.

    Args:
        captures: One or several captures, their trees or paths.
        sites: Names of sites or globs, of which the middle spatial site is drawn; by default that of the network.
        images: Number of images (a sample, balanced over the classes), or a list of images; by default 4.
        epoch: Epoch to draw; by default the last.
        seed: Seed of the sample.
        over_image: Whether the maps are drawn over the images.
        style: Name of a style, as in ``stripe.plots.style.parameters``.
        width: Width of the figure in inches, ``"column"`` (3.3) or ``"page"`` (7); by default what the panels need.
        cmap: Name of a colour map of matplotlib.

    Returns:
        A figure.

    Raises:
        NothingToDrawError: A capture has no spatial attention, or was made without the input of its sites.
        StripeError: A capture has no such site, image or epoch, or captures have other images.

    Example:
        >>> from stripe import plots
        >>> plots.maps(["spsa.h5", "without.h5"], sites="layer2.3.*", images=3)  # doctest: +SKIP
    """
    several = [captures] if isinstance(captures, Capture | xr.DataTree | str | os.PathLike) else list(captures)
    opened = [as_capture(each) for each in several]
    first = opened[0]
    if any(not np.array_equal(one.images, other.images) for one, other in pairwise(opened)):
        raise StripeError(
            "The captures hold other images, so that no row could show one image; give captures of one set."
        )
    rows = choose(4 if images is None else images, first.images, what="image", seed=seed, classes=first.labels)
    panels = [_of_site(each, sites, choose_epoch(each, epoch), rows) for each in opened]
    with styled(style, cmap, width=width) as settings:
        drawn = describe(
            first, "maps", seed=seed, images=first.images[rows].tolist(), sites=[name for name, _ in panels]
        )
        rise, run = panels[0][1][0].shape[1:]
        stacked = is_narrow(width)  # the networks below each other, else side by side
        across, blocks = (4, len(panels)) if stacked else (3 * len(panels) + 1, 1)
        wide = printed_width(width) or max(1.05 * across + 0.3, 3.6)
        ratio = min(rise / run, 2)
        tall = 0.9 * wide / across * ratio
        down = ((tall + 0.05) * len(rows) + 0.4) * blocks + 0.7
        figure = StripeFigure(settings, wide, down, drawn, printed=width)
        figure.set_layout_engine("compressed")
        ratios = [*[1.0] * len(rows), 0.07 / ratio] * blocks
        grid = figure.subplots(len(ratios), across, squeeze=False, height_ratios=ratios)
        pictures = [first.thumbnail(int(position)) for position in rows]
        for block in np.split(grid, blocks):
            for axes, position, picture in zip(block[:, 0], rows, pictures, strict=False):
                _picture(axes, picture, image_name(first, int(position)), across=tall < _ROOM)
            block[0, 0].set_title("image", loc="center", fontsize="small")
            block[-1, 0].remove()
        room = 72 * figure.get_figwidth() * 3 / across
        for number, (name, (_, of_site)) in enumerate(zip(network_names(opened), panels, strict=True)):
            block, start = (np.split(grid, blocks)[number], 1) if stacked else (grid, 1 + 3 * number)
            for column, title, values in zip(block.T[start : start + 3], COLUMNS, of_site, strict=True):
                limits, _ = readable_limits(values)
                for axes, one, picture in zip(column, values, pictures, strict=False):
                    image = _map(axes, one, limits, picture if over_image else None)
                bar_below(image, None, "", cax=column[-1], orientation="horizontal")
                column[0].set_title(title, loc="center", fontsize="small")
            if len(opened) > 1:
                named = wrapped(name, room, 0.8 * settings["font.size"])
                block[0, start + 1].set_title(f"{named}\nweight", loc="center", fontsize="small")
        names = ", ".join(dict.fromkeys(name for name, _ in panels))
        notes = [f"site {names}", "input and output: root mean square over channels", f"sampled with seed {seed}"]
        figure.caption(
            caption(first, *notes) if len(opened) == 1 else " · ".join([*notes, first.scale or ""]).strip(" ·")
        )
        figure.draw_without_rendering()  # panels are as wide as they can be, and the height that they leave is above
        figure.set_figheight(figure.get_tightbbox().y1 + 0.04)
        return figure


def _of_site(
    capture: Capture, sites: Patterns, epoch: int, rows: npt.NDArray[np.int64]
) -> tuple[str, tuple[Values, Values, Values]]:
    """The name of the site, and its maps (image, height, width) of ``COLUMNS``."""
    chosen = list(choose_sites(capture, sites, ["spatial"], 1).items())
    name, data = chosen[len(chosen) // 2]
    before = next((each for each in ("input_rms", "input") if each in data), None)
    if before is None:
        raise NothingToDrawError(
            f"The capture was made without the maps before {name}; make one with record_input=True."
        )
    weight, entering = (data[each].sel(epoch=epoch).isel(image=rows) for each in ("attention", before))
    leaving = entering * (1 + weight if capture.facts[name].residual else weight)
    if "group" in weight.dims:  # each head weighs channels of its own
        entering, leaving = ((each**2).mean("group") ** 0.5 for each in (entering, leaving))
    return name, (as_maps(entering, name), as_maps(weight, name), as_maps(leaving, name))


def _map(axes: Axes, values: Values, limits: tuple[float, float], picture: npt.NDArray[np.uint8] | None) -> Any:
    image = heatmap(axes, values, limits=limits, aspect="equal")
    if picture is not None:
        height, width = values.shape
        axes.imshow(picture.mean(2), cmap="grey", extent=(-0.5, width - 0.5, height - 0.5, -0.5), zorder=-1)
        image.set_alpha(_OPACITY)
    axes.set(xticks=[], yticks=[])
    return image


def _picture(axes: Axes, picture: npt.NDArray[np.uint8] | None, name: str, *, across: bool) -> None:
    if picture is None:
        axes.set_frame_on(False)
    else:
        axes.imshow(picture)
    axes.grid(False)
    axes.set(xticks=[], yticks=[])
    written: dict[str, Any] = {"rotation": 0, "ha": "right", "va": "center"} if across else {}
    axes.set_ylabel(name.replace(" · ", "\n"), fontsize="small", **written)
