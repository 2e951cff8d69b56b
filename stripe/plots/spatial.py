"""Maps of spatial attention, image by image and block by block: they are not constant."""

import math

import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.axes import Axes

from stripe.capture import CaptureLike, as_capture
from stripe.names import renamed
from stripe.plots.common import caption, describe, ending_note, image_name, short_names
from stripe.plots.figure import FigureOrAxes, StripeFigure, check_single
from stripe.plots.heatmap import bar_below, colorbar, heatmap, readable_limits
from stripe.plots.kinds import kind
from stripe.plots.select import (
    Choice,
    NothingToDrawError,
    Patterns,
    choose,
    choose_epoch,
    choose_sites,
)
from stripe.plots.style import Width, printed_width, styled

__all__ = ["as_maps", "spatial"]

_SITES = 5  # number of blocks that the paper shows


@kind("capture", "maps of spatial attention, images × blocks", paper="fig. 30", place=4)
@renamed(site="sites")
def spatial(
    capture: CaptureLike,
    *,
    sites: Patterns = None,
    images: Choice | None = None,
    epoch: int | None = None,
    seed: int = 0,
    style: str = "paper",
    width: Width | None = None,
    cmap: str | None = None,
    ax: Axes | None = None,
) -> FigureOrAxes:
    """Draw maps of spatial attention: one row per image, one column per site, and the image itself at the left.

    If spatial attention were a constant, all maps of a column would be equal. The colours of a column span the 1–99 %
    quantiles of its maps, which are written below it, as sites have different ranges. Of several heads the mean is
    drawn. Paper: fig. 30.

    Args:
        capture: A capture, its tree or its path.
        sites: Names of sites or globs; by default five sites, evenly spread over the network, and the middle one for
            ``ax``.
        images: Number of images (a sample, balanced over the classes), or a list of images; by default 6, and 1 for
            ``ax``.
        epoch: Epoch to draw; by default the last.
        seed: Seed of the sample.
        style: Name of a style, as in ``stripe.plots.style.parameters``.
        width: Width of the figure in inches, ``"column"`` (3.3) or ``"page"`` (7); by default what the panels need.
        cmap: Name of a colour map of matplotlib.
        ax: Axes of your own to draw the map of one image at one site into.

    Returns:
        A figure; or ``ax``.

    Raises:
        NothingToDrawError: The capture has no spatial attention.
        StripeError: The capture has no such site, image or epoch, or there is one ``ax`` for several panels.

    Example:
        >>> from stripe import plots
        >>> plots.spatial("cbam.h5", images=[3, 14, 15])  # doctest: +SKIP
    """
    opened = as_capture(capture)
    with styled(style, cmap, ax=ax, width=width) as settings:
        epoch = choose_epoch(opened, epoch)
        chosen_sites = choose_sites(opened, sites, ["spatial"], _SITES if ax is None else 1)
        names, ending = short_names(list(chosen_sites))
        ids, default = opened.images, 6 if ax is None else 1
        rows = choose(default if images is None else images, ids, what="image", seed=seed, classes=opened.labels)
        if ax is not None:
            check_single(len(chosen_sites) * len(rows), "choose one site and one image, as images=[3]")
            ((name, data),) = chosen_sites.items()
            (values,) = as_maps(data["attention"].sel(epoch=epoch).isel(image=rows), name)
            image = heatmap(ax, values, limits=readable_limits(values)[0], aspect="equal")
            ax.set(xticks=[], yticks=[], title=f"{name}\n{image_name(opened, int(rows[0]))}")
            colorbar(image, ax, "", pad=0.02)
            return ax
        drawn = describe(opened, "spatial", epoch=epoch, seed=seed, images=ids[rows].tolist(), sites={})

        first, data = next(iter(chosen_sites.items()))
        rise, run = as_maps(data["attention"].sel(epoch=epoch).isel(image=rows[:1]), first).shape[1:]
        across, down = max(len(chosen_sites) + 1.6, 3.6), 0.95 * min(max(rise / run, 0.5), 2) * len(rows) + 0.85
        if printed := printed_width(width):
            down = (down - 0.85) * min(1.0, printed / across) + 0.85
        figure = StripeFigure(settings, across, down, drawn, printed=width)
        figure.set_layout_engine("compressed")  # panels with the proportions of the maps, close together
        grid = figure.subplots(
            len(rows) + 1, len(chosen_sites) + 1, squeeze=False, height_ratios=[*[1.0] * len(rows), 0.07]
        )
        for axes, position in zip(grid[:, 0], rows, strict=False):
            _picture(axes, opened.thumbnail(int(position)), image_name(opened, int(position)))
        grid[0, 0].set_title("input", loc="center", fontsize="small")
        grid[-1, 0].remove()
        flat: list[float] = []
        for (*panels, bar), short, (name, data) in zip(grid[:, 1:].T, names, chosen_sites.items(), strict=True):
            maps = as_maps(data["attention"].sel(epoch=epoch).isel(image=rows), name)
            limits, span = readable_limits(maps)
            flat += [span] if span else []
            for axes, values in zip(panels, maps, strict=True):
                image = heatmap(axes, values, limits=limits, aspect="equal")
                axes.set(xticks=[], yticks=[])
            panels[0].set_title(f"{short}\n{maps.shape[1]} × {maps.shape[2]}", loc="center", fontsize="small")
            beyond = "both" if maps.min() < limits[0] and maps.max() > limits[1] else "neither"
            bar_below(image, None, "", cax=bar, orientation="horizontal", extend=beyond)
            drawn["sites"][name] = {"range": limits}
        notes = ["colours of a column: 1–99 % quantiles of its maps", f"sampled with seed {seed}"]
        if flat:
            notes.append(f"nearly one value (a range of {max(flat):.0e} or less), drawn with wider colours")
        figure.caption(caption(opened, f"epoch {epoch}", *notes, ending_note(ending)))
        return figure


def as_maps(values: xr.DataArray, name: str) -> npt.NDArray[np.floating]:
    """Arrange spatial attention as maps.

    Args:
        values: Attention values (image, height, width), or (image, token) with a square number of tokens. Of maps for
            each group of channels, as those of attention with several heads, the mean is taken.
        name: Name of the site, for the error.

    Returns:
        Maps (image, height, width).

    Raises:
        NothingToDrawError: The values cannot be arranged as maps.
    """
    if "group" in values.dims:
        values = values.mean("group", dtype=np.float64).astype(values.dtype)
    array = values.values
    if array.ndim == 3:
        return array
    side = math.isqrt(array.shape[-1])
    if array.ndim != 2 or side * side != array.shape[1]:
        shape = " × ".join(f"{size} {dim}" for dim, size in zip(values.dims[1:], values.shape[1:], strict=True))
        raise NothingToDrawError(f"The attention at {name} ({shape}) makes no map. Choose other sites by name.")
    return array.reshape(-1, side, side)


def _picture(axes: Axes, picture: npt.NDArray[np.uint8] | None, name: str) -> None:
    """Draw the image itself, if the capture has it, with its name at the left."""
    if picture is None:
        axes.set_frame_on(False)
    else:
        axes.imshow(picture)
    axes.grid(False)
    axes.set(xticks=[], yticks=[])
    axes.set_ylabel(name.replace(" · ", "\n"), fontsize="small")
    if picture is not None and picture.shape[0] < 0.6 * picture.shape[1]:  # the panel is too low for a vertical name
        axes.yaxis.label.set(rotation=0, ha="right", va="center")
