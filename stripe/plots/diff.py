"""Change of attention from epoch to epoch, which shows how it settles during training."""

import math

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from stripe.analysis import epoch_diff
from stripe.capture import CaptureLike, as_capture
from stripe.names import renamed
from stripe.plots.common import (
    add_thumbnail_title,
    caption,
    column_name,
    columns,
    describe,
    ending_note,
    image_name,
    label_epochs,
    short_names,
)
from stripe.plots.figure import FigureOrAxes, StripeFigure, check_single, size_of
from stripe.plots.heatmap import colorbar, heatmap, robust_limits
from stripe.plots.kinds import kind
from stripe.plots.select import (
    CHANNEL_KINDS,
    Choice,
    NothingToDrawError,
    Patterns,
    choose,
    choose_sites,
)
from stripe.plots.style import DIFFERENCE_MAP, Width, is_narrow, styled

__all__ = ["diff", "learning_rate_drops"]

_TOP = 0.995  # quantile of the brightest colour: the first epochs change far more than all others


@kind("capture", "change from epoch to epoch, channels × epochs", paper="fig. 1c, 12–19", place=3)
@renamed(site="sites")
def diff(
    capture: CaptureLike,
    *,
    sites: Patterns = None,
    images: Choice | None = None,
    channels: Choice = 20,
    seed: int = 0,
    style: str = "paper",
    width: Width | None = None,
    cmap: str | None = None,
    ax: Axes | None = None,
) -> FigureOrAxes:
    """Draw heatmaps, channels × epochs, of |v[t+1] − v[t]|: one panel per image, black where attention has settled.

    Triangles and dotted lines mark drops of the learning rate. The colours of all panels reach from 0 (black) to the
    99.5 % quantile of the drawn values. Paper: fig. 1c, 12–19.

    Args:
        capture: A capture, its tree or its path.
        sites: Names of sites or globs; by default the site in the middle of the network.
        images: Number of images (a sample, balanced over the classes), or a list of images; by default 4, and 1 for
            ``ax``.
        channels: Number of channels (a sample), or a list of channels.
        seed: Seed of the samples.
        style: Name of a style, as in ``stripe.plots.style.parameters``.
        width: Width of the figure in inches, ``"column"`` (3.3) or ``"page"`` (7); by default what the panels need.
        cmap: Name of a colour map of matplotlib.
        ax: Axes of your own to draw one image at one site into.

    Returns:
        A figure; or ``ax``.

    Raises:
        NothingToDrawError: The capture holds one epoch only, or no attention of a kind that this plot shows.
        StripeError: The capture has no such site, image or channel, or there is one ``ax`` for several panels.

    Example:
        >>> from stripe import plots
        >>> plots.diff("run/capture.h5", sites="layer2.4.*", images=[0, 7, 12])  # doctest: +SKIP
    """
    opened = as_capture(capture)
    epochs = opened.epochs
    if len(epochs) < 2:
        raise NothingToDrawError(
            f"A difference needs two epochs, and the capture holds {len(epochs)}. Capture several checkpoints of a "
            "training (`stripe capture --ckpt 'run/checkpoints/*'`) or record while training "
            "(`stripe train --capture 200`)."
        )
    chosen_sites = choose_sites(opened, sites, CHANNEL_KINDS, 1)
    ids, default = opened.images, 4 if ax is None else 1
    rows = choose(default if images is None else images, ids, what="image", seed=seed, classes=opened.labels)
    chosen, matrices = {}, {}
    for name, data in chosen_sites.items():
        values = columns(data["attention"].isel(image=rows))
        chosen[name] = choose(channels, np.arange(values.sizes["channel"]), what="channel", seed=seed)
        change = epoch_diff(values.isel(channel=chosen[name]))
        matrices[name] = change.transpose("image", "channel", "epoch").values
    top = robust_limits(np.concatenate([m.ravel() for m in matrices.values()]), high=_TOP)[1]
    drawn = describe(
        opened,
        "diff",
        seed=seed,
        epochs=epochs.tolist(),
        images=ids[rows].tolist(),
        sites={name: {"channels": part.tolist()} for name, part in chosen.items()},
        range=[0.0, top],
    )

    with styled(style, cmap, ax=ax, width=width) as settings:
        drops = learning_rate_drops(opened.learning_rate)
        if ax is not None:
            check_single(len(chosen_sites) * len(rows), "choose one site and one image, as images=[3]")
            ((name, (matrix,)),) = matrices.items()
            image = _panel(ax, matrix, top, cmap, drops)
            ax.set_title(f"{name}\n{image_name(opened, int(rows[0]))}")
            _label_channels(ax, chosen[name], column_name(chosen_sites[name]))
            label_epochs(ax, epochs[1:], room=max(2, int(3 * size_of(ax)[0])))
            ax.set_xlabel("epoch t+1")
            colorbar(image, ax, "|v[t+1] − v[t]|", pad=0.02)
            return ax
        across, down = _layout(len(chosen_sites), len(rows), most=2 if is_narrow(width) else None)
        figure = StripeFigure(settings, max(6.9, 1.7 * across), 2.15 * down + 0.6, drawn, printed=width)
        grid = figure.subplots(down, across, squeeze=False)
        panels = [(name, row) for name in chosen_sites for row in range(len(rows))]
        for axes in grid.flat[len(panels) :]:
            axes.remove()
        names, ending = _row_names(figure, list(chosen_sites))
        for number, (axes, (name, row)) in enumerate(zip(grid.flat, panels, strict=False)):
            image = _panel(axes, matrices[name][row], top, cmap, drops)
            position = int(rows[row])
            add_thumbnail_title(axes, image_name(opened, position).replace(" · ", "\n"), opened.thumbnail(position))
            # Panels of a row share their channels, and all panels their epochs, so that only outer panels have labels.
            if number % across == 0:
                _label_channels(axes, chosen[name], names[name] + column_name(chosen_sites[name]))
            if number + across >= len(panels):
                label_epochs(axes, epochs[1:], room=(12 if is_narrow(width) else 32) // across)
                axes.set_xlabel("epoch t+1")
        beyond = any((matrix > top).any() for matrix in matrices.values())
        colorbar(
            image,
            figure.axes,
            "|v[t+1] − v[t]|  (0 to 99.5 % quantile)",
            aspect=35,
            pad=0.015,
            extend="max" if beyond else "neither",
        )
        notes = [f"epochs {epochs[0]} to {epochs[-1]}", f"sampled with seed {seed}", ending_note(ending)]
        if len(drops):
            notes.append("dotted lines: the learning rate drops")
        figure.caption(caption(opened, *notes))
        return figure


def _panel(
    axes: Axes, matrix: npt.NDArray[np.floating], top: float, cmap: str | None, drops: npt.NDArray[np.int64]
) -> AxesImage:
    """Draw the differences of one image, channels × epochs."""
    image = heatmap(axes, matrix, limits=(0.0, top), colormap=cmap or DIFFERENCE_MAP)
    _mark(axes, drops)
    axes.set(xticks=[], yticks=[])
    return image


def learning_rate_drops(learning_rate: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Find the epochs at which a stepwise schedule lowers the learning rate.

    Args:
        learning_rate: Learning rate of each epoch, NaN if it is unknown, as an array (epochs,).

    Returns:
        Positions of the epochs whose rate is at least a quarter lower than that of the epoch before. Empty for a
        schedule that falls at most epochs (cosine), which has no steps.

    Example:
        >>> learning_rate_drops([0.1, 0.1, 0.01, 0.01]).tolist()
        [2]
    """
    rate = np.asarray(learning_rate, dtype=np.float64)
    before, after = rate[:-1], rate[1:]
    if np.mean(after < before) > 0.5:
        return np.empty(0, dtype=np.int64)
    return np.flatnonzero(after <= 0.75 * before) + 1


def _layout(sites: int, images: int, most: int | None = None) -> tuple[int, int]:
    """Number of columns and rows of panels: one row per site, or for one site about a square, at most ``most`` wide."""
    across = images if sites > 1 or images <= 3 else math.ceil(math.sqrt(images))
    across = across if most is None or sites > 1 else min(across, most)
    return across, math.ceil(sites * images / across)


def _row_names(figure: StripeFigure, sites: list[str]) -> tuple[dict[str, str], str]:
    """Prefix of each row's label, and the common ending of the sites' names; a single name becomes the heading."""
    if len(sites) == 1:
        figure.suptitle(sites[0], x=0.01, ha="left", fontsize="medium")
        return {sites[0]: ""}, ""
    short, ending = short_names(sites)
    return {site: f"{name}\n" for site, name in zip(sites, short, strict=True)}, ending


def _label_channels(axes: Axes, channels: npt.NDArray[np.int64], label: str) -> None:
    """Write the numbers of the channels at the left, if there is room."""
    axes.set_ylabel(label)
    if len(channels) <= 24:
        axes.set_yticks(range(len(channels)), [str(c) for c in channels], fontsize="x-small")


def _mark(axes: Axes, drops: npt.NDArray[np.int64]) -> None:
    """Draw a line before the first difference at a lower learning rate, and a triangle above the line."""
    for drop in drops:
        axes.axvline(drop - 1.5, color="white", linewidth=0.9, linestyle=":")
        axes.plot(
            drop - 1.5,
            1.03,
            marker="v",
            markersize=3.5,
            color="0.5",
            transform=axes.get_xaxis_transform(),
            clip_on=False,
        )
