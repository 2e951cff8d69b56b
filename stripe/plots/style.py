"""Styles of the pictures: three of our own, and any that matplotlib knows."""

import difflib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, cast

import matplotlib as mpl
import matplotlib.style
from cycler import cycler

from stripe.errors import StripeError

__all__ = ["DIFFERENCE_MAP", "MISSING", "STYLES", "VALUE_MAP", "applied", "inches", "parameters", "styled"]

# Perceptually uniform and readable without colour vision. Differences need one that starts at black (fig 1c).
VALUE_MAP = "viridis"
DIFFERENCE_MAP = "inferno"
MISSING = "0.6"  # the grey of a cell that has no value: in neither colour map

_PRINT_SIZE = 8.0  # points: the text size that every measure in inches below is made for

_BASE: dict[str, Any] = {
    "font.size": _PRINT_SIZE,
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
            the path of an ``.mplstyle`` file. The last two only override settings of ``"paper"``.

    Raises:
        StripeError: There is no such style, or it cannot be read.
    """
    if style in STYLES:
        return {**_BASE, **STYLES[style]}
    if style in mpl.style.library:
        return {**_BASE, **cast(Any, mpl.style.library[style])}
    if Path(style).suffix == ".mplstyle" and Path(style).is_file():
        try:
            return {**_BASE, **cast(Any, mpl.rc_params_from_file(style, use_default_template=False))}
        except (OSError, UnicodeError) as error:
            raise StripeError(f"{style} cannot be read as a matplotlib style: {error}.") from error
    names = [*STYLES, *mpl.style.available]
    close = difflib.get_close_matches(style, names, n=3) or list(STYLES)
    raise StripeError(f"There is no style {style!r}. Did you mean {', '.join(close)}?")


def applied(settings: dict[str, Any]) -> AbstractContextManager[None]:
    """A context in which matplotlib draws with the given settings; its own are restored afterwards."""
    return mpl.rc_context(cast(Any, settings))  # its stub lists every key as a literal


@contextmanager
def styled(style: str) -> Iterator[dict[str, Any]]:
    """A context in which matplotlib draws in a style.

    Yields:
        The settings of the style, which ``stripe.plots.figure.StripeFigure`` keeps.
    """
    settings = parameters(style)
    with applied(settings):
        yield settings


def inches(width: float, height: float) -> tuple[float, float]:
    """Scale a size in inches from 8 pt text to the text size of the current style, so that a layout fits in any."""
    scale = mpl.rcParams["font.size"] / _PRINT_SIZE
    return width * scale, height * scale
