"""Heatmaps: matrices as images, which are drawn fast and average values instead of colours."""

from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.image import AxesImage
from matplotlib.ticker import FuncFormatter

from stripe.plots.style import MISSING

__all__ = ["bar_below", "colorbar", "heatmap", "readable_limits", "robust_limits"]


_LONG = 4  # sides of a cell, the long one relative to the short one, up to which it is drawn as one
_BETWEEN = 9  # letters of a colour bar's name and two ends, of which more do not fit beside each other
_FINE = 64  # cells, of which more may be smaller than some pixels


def heatmap(
    axes: Axes, values: npt.ArrayLike, *, limits: tuple[float, float], colormap: str | None = None, **kwargs: Any
) -> AxesImage:
    """Draw a matrix as one image (``imshow``), not as a mesh of patches, which takes ten times as long.

    A cell without a value (NaN) is grey. If there are more cells than pixels, the values of neighbours are averaged.

    Args:
        axes: Axes to draw into.
        values: Matrix (rows, columns) of any real type; row 0 is at the top.
        limits: Values of the first and of the last colour.
        colormap: Name of a matplotlib colour map; by default that of the style.
        **kwargs: Further arguments of ``imshow``.

    Example:
        >>> from matplotlib.figure import Figure
        >>> image = heatmap(Figure().subplots(), [[0.0, 1.0]], limits=(0, 1))
        >>> image.get_array().shape
        (1, 2)
    """
    array = np.asarray(values)
    if array.dtype == np.float16:  # imshow scales in the array's own type, and 16 bits are too few for that
        array = array.astype(np.float32)
    rows, columns = array.shape
    # Matplotlib blurs by a cell in both directions where cells are smaller than some pixels in one of them. So cells
    # that are far longer than wide are drawn as several.
    down, across = (max(1, a // b // _LONG) if a > _FINE else 1 for a, b in ((columns, rows), (rows, columns)))
    image = axes.imshow(
        np.ma.masked_invalid(array.repeat(down, axis=0).repeat(across, axis=1)),
        # Stage "data": where cells are smaller than pixels their values are averaged, not their colours.
        **{
            "aspect": "auto",
            "cmap": colormap or mpl.rcParams["image.cmap"],
            "vmin": limits[0],
            "vmax": limits[1],
            "extent": (-0.5, columns - 0.5, rows - 0.5, -0.5),
            **kwargs,
        },
        interpolation_stage="data",
    )
    image.set_cmap(image.get_cmap().with_extremes(bad=MISSING))
    axes.grid(False)
    return image


def robust_limits(values: npt.ArrayLike, low: float = 0.01, high: float = 0.99) -> tuple[float, float]:
    """Colour limits that a few outliers do not move: two quantiles of the finite values.

    Args:
        values: Array of any shape.
        low: Lower quantile, 0–1.
        high: Upper quantile, 0–1.

    Returns:
        Two numbers, which differ even if all values are equal; (0, 1) if no value is finite.
    """
    array = np.asarray(values, dtype=np.float64)
    finite = array[np.isfinite(array)]
    if not finite.size:
        return 0.0, 1.0
    bottom, top = (float(edge) for edge in np.quantile(finite, [low, high]))
    if top <= bottom:
        margin = max(abs(bottom), 1.0) * 1e-3
        return bottom - margin, top + margin
    return bottom, top


def readable_limits(values: npt.ArrayLike) -> tuple[tuple[float, float], float]:
    """Colour limits as ``robust_limits``, but wide enough that a range of 10⁻⁴ is not stretched over all colours.

    Args:
        values: Array of any shape.

    Returns:
        The limits, and the range of the values where it is less than a thousandth of their size, else 0: then the
        limits are a hundredth of their size apart, which is to be said.
    """
    low, high = robust_limits(values)
    array = np.asarray(values, dtype=np.float64)
    finite = array[np.isfinite(array)]
    size, span = max(abs(low), abs(high)), high - low
    if not finite.size or span >= 1e-3 * size or not np.ptp(finite):
        return (low, high), 0.0
    middle = (low + high) / 2
    return (middle - 0.005 * size, middle + 0.005 * size), float(np.ptp(finite))


def colorbar(image: AxesImage, axes: Any, label: str, **kwargs: Any) -> Colorbar:
    """Draw a slim colour bar beside one or several axes; an end is pointed if values lie outside the limits.

    Args:
        image: Image whose colours the bar explains.
        axes: One axes, or a list of axes that share the bar.
        label: Name of the quantity and meaning of the limits.
        **kwargs: Further arguments of ``Figure.colorbar``.
    """
    array: np.ma.MaskedArray[Any, Any] = np.ma.asarray(image.get_array())
    bottom, top = image.get_clim()
    below, above = bool((array < bottom).any()), bool((array > top).any())
    extend = {(True, True): "both", (True, False): "min", (False, True): "max"}.get((below, above), "neither")
    figure = image.get_figure(root=True)
    assert figure is not None
    # A pointed end is as long as the bar is wide, whatever the length of the bar.
    ends = {"extend": extend, "extendfrac": 1 / kwargs.get("aspect", 20)}
    bar = figure.colorbar(image, ax=axes, label=label, **{**ends, **kwargs})
    bar.outline.set_linewidth(0.4)
    bar.ax.tick_params(labelsize="x-small")
    return bar


def bar_below(image: AxesImage, axes: Axes | None, label: str, **kwargs: Any) -> Colorbar:
    """Draw a colour bar below a panel, with nothing but its two ends as numbers, for which a narrow one has room.

    Args:
        image: Image whose colours the bar explains.
        axes: Axes of the panel; None with ``cax=``.
        label: Name of the quantity.
        **kwargs: Further arguments of ``colorbar``.
    """
    low, high = image.get_clim()
    digits = next((n for n in range(2, 6) if _end(high - low, n, low) != _end(high - low, n, high)), 6)
    ends = FuncFormatter(lambda value, _position: _end(high - low, digits, value))
    bar = colorbar(image, axes, "", ticks=(low, high), format=ends, **kwargs)
    first, last = bar.ax.get_xticklabels()
    first.set_horizontalalignment("left")  # not into the next panel
    last.set_horizontalalignment("right")
    # Between the two, unless they are long.
    between = len(label) + sum(len(_end(high - low, digits, value)) for value in (low, high)) <= _BETWEEN
    bar.ax.set_xlabel(label, fontsize="x-small", labelpad=-0.9 * float(first.get_fontsize()) if between else 1)
    return bar


def _end(span: float, digits: int, value: float) -> str:
    """Format the end of a colour bar; 7e-08 beside 1 becomes 0."""
    return f"{value if abs(value) > span / 1000 else 0:.{digits}g}"
