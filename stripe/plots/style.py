"""Styles of the pictures: three of our own, and any that matplotlib knows."""

import difflib
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Literal, cast

import matplotlib as mpl
import matplotlib.style
from cycler import cycler
from matplotlib.axes import Axes

from stripe.errors import StripeError
from stripe.names import did_you_mean

__all__ = [
    "DIFFERENCE_MAP",
    "MISSING",
    "PRINT_SIZE",
    "STYLES",
    "VALUE_MAP",
    "Width",
    "applied",
    "inches",
    "is_narrow",
    "parameters",
    "printed_width",
    "styled",
]

Width = float | Literal["column", "page"]
"""Width of a figure: that of a column of a paper (3.3 inches), of its page (7 inches), or inches."""

_WIDTHS = {"column": 3.3, "page": 7.0}
_NARROW = 5.0  # inches at 8 pt text: below, panels stand above each other instead of side by side

# Perceptually uniform and readable without colour vision. Differences need one that starts at black (fig 1c).
VALUE_MAP = "viridis"
DIFFERENCE_MAP = "inferno"
MISSING = "0.6"  # the grey of a cell that has no value: in neither colour map

PRINT_SIZE = 8.0
"""Size of text in points that every measure in inches is made for."""

_BASE: dict[str, Any] = {
    "font.size": PRINT_SIZE,
    "axes.titlesize": "medium",
    "axes.labelsize": "medium",
    "xtick.labelsize": "small",
    "ytick.labelsize": "small",
    "legend.fontsize": "small",
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.titlelocation": "left",
    "axes.prop_cycle": cycler(color=["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9"]),
    "legend.frameon": False,
    "figure.dpi": 150,
    "savefig.dpi": 300,
    "image.cmap": VALUE_MAP,
    "pdf.fonttype": 42,  # fonts that keep text searchable and that publishers accept
}

STYLES: dict[str, dict[str, Any]] = {
    "paper": {},
    "notebook": {"font.size": 10.0, "figure.dpi": 100, "savefig.dpi": 150},
    "dark": {
        **cast(Any, mpl.style.library["dark_background"]),
        "figure.facecolor": "#121212",
        "axes.facecolor": "#121212",
        "savefig.facecolor": "#121212",
        "axes.prop_cycle": cycler(color=["#56B4E9", "#E69F00", "#2DC79A", "#E5A3C8", "#F0803C", "#9AD0F5"]),
    },
}


def parameters(style: str) -> dict[str, Any]:
    """Return the matplotlib settings of a style.

    Args:
        style: ``"paper"`` (8 pt, 300 dpi), ``"notebook"`` (10 pt), ``"dark"``, the name of a matplotlib style, or
            the path of an ``.mplstyle`` file. The last two only override settings of ``"paper"``; so do those that the
            user has made by ``matplotlibrc`` or ``plt.style.use``, unless the style says otherwise.

    Raises:
        StripeError: There is no such style, or it cannot be read.
    """
    base = {**_BASE, **_own()}
    if style in STYLES:
        return {**base, **STYLES[style]}
    if style in mpl.style.library:
        return {**base, **cast(Any, mpl.style.library[style])}
    if Path(style).suffix == ".mplstyle" and Path(style).is_file():
        try:
            return {**base, **cast(Any, mpl.rc_params_from_file(style, use_default_template=False))}
        except (OSError, UnicodeError) as error:
            raise StripeError(f"{style} cannot be read as a matplotlib style: {error}.") from error
    names = [*STYLES, *mpl.style.available]
    close = difflib.get_close_matches(style, names, n=3) or list(STYLES)
    raise StripeError(f"There is no style {style!r}. Did you mean {', '.join(close)}?")


def _own() -> dict[str, Any]:
    """Settings of the look of figures that are not matplotlib's own, because the user has changed them."""
    look = re.compile(
        r"(axes|axes3d|boxplot|contour|errorbar|figure|font|grid|hatch|image|legend|lines|markers|mathtext|patch|pdf|ps"
        r"|path|polaraxes|savefig|scatter|svg|text|xaxis|xtick|yaxis|ytick)\."
    )
    defaults = mpl.rcParamsDefault
    return {key: value for key, value in mpl.rcParams.items() if look.match(key) and value != defaults[key]}


def printed_width(width: Width | None) -> float | None:
    """Return a width in inches, None for the width that a kind of plot has by itself.

    Raises:
        StripeError: The width is neither a known name nor a number of inches from 1 to 100.
    """
    if width is None:
        return None
    inch = _WIDTHS.get(width) if isinstance(width, str) else width
    if not isinstance(inch, int | float) or not 1 <= inch <= 100:
        raise StripeError(f"width= is 'column', 'page' or a number of inches from 1 to 100, not {width!r}.")
    return float(inch)


def is_narrow(width: Width | None) -> bool:
    """Whether two panels with their labels have no room side by side, in the text size of the current style."""
    inch = printed_width(width)
    return inch is not None and inch < _NARROW * mpl.rcParams["font.size"] / PRINT_SIZE


def applied(settings: dict[str, Any]) -> AbstractContextManager[None]:
    """A context in which matplotlib draws with the given settings; its own are restored afterwards."""
    return mpl.rc_context(cast(Any, settings))  # its stub lists every key as a literal


@contextmanager
def styled(
    style: str, cmap: str | None = None, *, ax: Axes | None = None, width: Width | None = None
) -> Iterator[dict[str, Any]]:
    """A context in which matplotlib draws in a style.

    Args:
        style: Name of a style, as in ``parameters``.
        cmap: Name of a colour map of matplotlib; by default that of the style.
        ax: Axes that are drawn into, if the user gave some. They have the style and the size of their own figure.
        width: Width that the user wants of the figure.

    Yields:
        The settings of the style, which ``stripe.plots.figure.StripeFigure`` keeps.

    Raises:
        StripeError: There is no such style or colour map, ``ax`` is no axes, or comes with a style or a width.
    """
    if ax is not None:
        _check_axes(ax, style, width)
    settings = parameters(style) if ax is None else {}
    if cmap is not None:
        if cmap not in mpl.colormaps:
            raise StripeError(f"matplotlib has no colour map {cmap!r}{did_you_mean(cmap, mpl.colormaps)}")
        settings["image.cmap"] = cmap
    with applied(settings):
        yield settings


def _check_axes(ax: object, style: str, width: Width | None) -> None:
    """Refuse what is no axes, and a style or a width beside axes, which have those of their figure."""
    if not isinstance(ax, Axes):
        raise StripeError(
            f"ax= is one axes of matplotlib, not a {type(ax).__name__}; of the array that subplots() gives, take one: "
            "axes[0]."
        )
    if style != "paper" or width is not None:
        name = "width" if width is not None else "style"
        raise StripeError(f"Axes have the {name} of their figure: leave {name}= away, or ax=.")


def inches(width: float, height: float) -> tuple[float, float]:
    """Scale a size in inches from 8 pt text to the text size of the current style, so that a layout fits in any."""
    scale = mpl.rcParams["font.size"] / PRINT_SIZE
    return width * scale, height * scale
