"""Mean Grad-CAM maps side by side, which show where networks look on average."""

import os
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from stripe.analysis import CenterBias, center_bias
from stripe.capture import Capture, CaptureLike, LayerFacts, as_capture
from stripe.names import counted, data_name, without_folders
from stripe.plots.common import describe
from stripe.plots.figure import FigureOrAxes, StripeFigure, check_single, size_of
from stripe.plots.heatmap import colorbar, heatmap
from stripe.plots.kinds import kind
from stripe.plots.select import NothingToDrawError
from stripe.plots.style import Width, is_narrow, printed_width, styled

__all__ = ["gradcam"]

_ACROSS = 4  # panels per row, as in the paper
_GREY = (0.299, 0.587, 0.114)  # perceived brightness of red, green and blue


@kind("captures", "mean Grad-CAM; of several captures side by side", paper="fig. 6", place=6)
def gradcam(
    captures: CaptureLike | Sequence[CaptureLike],
    *,
    over_image: bool = False,
    style: str = "paper",
    width: Width | None = None,
    cmap: str | None = None,
    ax: Axes | None = None,
) -> FigureOrAxes:
    """Draw mean Grad-CAM maps, one panel per network and layer, all with the same colours.

    Below each panel stands its centre bias: the mean distance of the evidence from the centre (the small cross),
    relative to that of a uniform map, which is 1; with its 95 % bootstrap interval over images. Paper: fig. 6.

    Args:
        captures: One or several captures, their trees or paths, as ``stripe gradcam`` writes them.
        over_image: Whether the map is drawn over the mean of the images.
        style: Name of a style, as in ``stripe.plots.style.parameters``.
        width: Width of the figure in inches, ``"column"`` (3.3) or ``"page"`` (7); by default what the panels need.
        cmap: Name of a colour map of matplotlib.
        ax: Axes of your own to draw the map of one layer of one capture into.

    Returns:
        A figure; or ``ax``.

    Raises:
        NothingToDrawError: A capture holds no Grad-CAM maps.
        StripeError: There is one ``ax`` for several panels.

    Example:
        >>> from stripe import plots
        >>> plots.gradcam(["se.h5", "srm.h5"])  # doctest: +SKIP
    """
    several = [captures] if isinstance(captures, Capture | xr.DataTree | str | os.PathLike) else list(captures)
    panels = [(opened, *layer) for opened in map(as_capture, several) for layer in _layers(opened)]
    low = min(float(maps["mean"].min()) for _, _, maps in panels)
    high = max(float(maps["mean"].max()) for _, _, maps in panels)
    with styled(style, cmap, ax=ax, width=width) as settings:
        if ax is not None:
            check_single(len(panels), "give one capture of one layer")
            image, _ = _panel(ax, *panels[0], (low, high), over_image, size_of(ax)[0])
            _bar(ax, image)
            return ax
        across = min(len(panels), 2 if is_narrow(width) else _ACROSS)
        down = -(-len(panels) // across)
        drawn: dict[str, Any] = {"kind": "gradcam", "range": [low, high], "over_image": over_image, "panels": []}
        wide = printed_width(width)
        side = (wide - 0.9) / across if wide else 1.9
        height = (side + 0.75) * down + 0.6
        figure = StripeFigure(settings, max(1.9 * across + 0.7, 3.2), height, drawn, printed=width)
        figure.set_layout_engine("compressed")  # square panels, close together
        grid = figure.subplots(down, across, squeeze=False)
        for axes in grid.flat[len(panels) :]:
            axes.remove()
        for axes, (opened, facts, maps) in zip(grid.flat, panels, strict=False):
            image, bias = _panel(axes, opened, facts, maps, (low, high), over_image, side)
            interval = [bias.low, bias.high]
            about = {name: value for name, value in asdict(facts).items() if value not in (None, "")}
            drawn["panels"].append(describe(opened, "gradcam", **about, center_bias=bias.value, interval=interval))
        for last in range(across - 1, len(panels), across):  # of full rows
            _bar(grid.flat[last], image)
        figure.caption(_notes(drawn["panels"]))
        return figure


def _panel(
    axes: Axes,
    capture: Capture,
    facts: LayerFacts,
    maps: xr.Dataset,
    limits: tuple[float, float],
    over_image: bool,
    side: float,
) -> tuple[Any, CenterBias]:
    """Draw the map of a layer, with its title and its centre bias, into a panel that is ``side`` inches wide."""
    image = _draw(axes, maps, limits, over_image)
    bias = center_bias(maps)
    letters = 30 if side >= 1.9 else max(12, int(16 * side))
    axes.set_title(_name(capture, facts, letters), loc="center", fontsize="small")
    text = f"centre bias {bias.value:.2f} [{bias.low:.2f}, {bias.high:.2f}]" if bias.images else "all zeros"
    below = f"{_shown(facts)}\n{text}"
    axes.set_xlabel(below if side > 1.5 else below.replace(" [", "\n["), fontsize="x-small")
    return image, bias


def _bar(axes: Axes, image: Any) -> None:
    """Draw the colour bar at the right of a panel."""
    # Inside the panel's own frame of reference a bar is as tall as the panel, whatever the layout makes of it.
    colorbar(image, None, "mean Grad-CAM", cax=axes.inset_axes((1.05, 0, 0.05, 1)))


def _layers(capture: Capture) -> list[tuple[LayerFacts, xr.Dataset]]:
    """Description and maps of each layer of a capture."""
    if not capture.layers:
        name = capture.path or "The capture"
        raise NothingToDrawError(f"{name} holds no Grad-CAM maps; `stripe gradcam -o` adds them to it.")
    return list(zip(capture.layers.values(), capture.gradcam.values(), strict=True))


def _draw(axes: Axes, layer: xr.Dataset, limits: tuple[float, float], over_image: bool) -> Any:
    mean = layer["mean"].values
    height, width = mean.shape
    if over_image:
        if "mean_image" not in layer:
            raise NothingToDrawError("The Grad-CAM maps are of no pictures, so that there is none to lay them over.")
        grey = layer["mean_image"].values @ np.array(_GREY)
        extent = (-0.5, width - 0.5, height - 0.5, -0.5)
        axes.imshow(grey, cmap="gray", extent=extent, interpolation="bilinear")
    alpha = 0.6 if over_image else None
    image = heatmap(axes, mean, limits=limits, aspect="equal", alpha=alpha)
    axes.plot((width - 1) / 2, (height - 1) / 2, "+", color="white", markersize=5, markeredgewidth=0.6)
    axes.set(xticks=[], yticks=[])
    return image


def _name(capture: Capture, facts: LayerFacts, width: int) -> str:
    """Network and data set as two lines; the weights are those of the maps, not those of the attention."""
    model = " + ".join(map(without_folders, capture.network)) + (", random weights" if facts.has_random_weights else "")
    # A panel has little room, so that a long description of data is broken at its commas.
    data = ", ".join(part.strip() for part in data_name(capture.data).split(","))
    return "\n".join([*textwrap.wrap(model, width), *textwrap.wrap(data, width)])


def _shown(facts: LayerFacts) -> str:
    """Layer and epoch of a map, the number of images, and the class whose evidence it shows."""
    target = {"predicted": "predicted class", "label": "labelled class"}.get(facts.target, facts.target)
    when = f", epoch {facts.epoch}" if facts.epoch else ""
    images = "" if facts.count is None else f"{counted(facts.count, 'image')}, "
    return f"{facts.layer}{when}\n{images}{target}"


def _notes(panels: Sequence[dict[str, Any]]) -> str:
    """The notes that hold for all panels."""
    empty = sum(panel["empty"] for panel in panels)
    notes = [f"{counted(empty, 'map')} {'is' if empty == 1 else 'are'} zero everywhere"] if empty else []
    random = [panel.get("weights", "").startswith("random") for panel in panels]
    scales = {"" if untrained else panel.get("scale", "") for untrained, panel in zip(random, panels, strict=True)}
    notes += scales if len(scales) == 1 and "" not in scales else []
    return " · ".join(["each map from 0 to 1", *notes, "+ centre; brackets: 95 % bootstrap interval"])
