"""Pictures in rows and columns, each with a text below it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stripe.plots.figure import StripeFigure
from stripe.plots.select import NothingToDrawError
from stripe.plots.style import styled

__all__ = ["Picture", "pictures"]


class Picture(NamedTuple):
    """A picture.

    Attributes:
        pixels: uint8 (H, W, 3).
        text: What stands below it.
    """

    pixels: npt.NDArray[np.uint8]
    text: str = ""


def pictures(columns: Mapping[str, Sequence[Picture]], *, caption: str = "", style: str = "paper") -> StripeFigure:
    """Draw pictures in a grid.

    Args:
        columns: Name of each column → its pictures from top to bottom, equally many in all.
        caption: Text at the foot of the figure.
        style: Name of a style, as in ``stripe.plots.style.parameters``.

    Raises:
        NothingToDrawError: There are no pictures.

    Example:
        >>> grey = Picture(np.full((8, 8, 3), 127, np.uint8), "grey")
        >>> pictures({"left": [grey], "right": [grey]}).drawn["columns"]
        ['left', 'right']
    """
    down = max(map(len, columns.values()), default=0)
    if not down:
        raise NothingToDrawError("There are no pictures to draw.")
    texts = {name: [picture.text for picture in column] for name, column in columns.items()}
    lines = max(text.count("\n") + 1 for column in texts.values() for text in column)
    drawn: dict[str, Any] = {"kind": "pictures", "columns": list(columns), "texts": texts}
    with styled(style) as settings:
        figure = StripeFigure(settings, max(1.7 * len(columns), 3.4), (1.6 + 0.14 * lines) * down + 0.7, drawn)
        grid = figure.subplots(down, len(columns), squeeze=False)
        for across, (name, column) in enumerate(columns.items()):
            grid[0][across].set_title(name, loc="center")
            for axes, picture in zip(grid[:, across], column, strict=True):
                axes.imshow(picture.pixels, interpolation="nearest")
                axes.set_xticks([], [])
                axes.set_yticks([], [])
                axes.set_xlabel(picture.text, fontsize="small")
                axes.spines[:].set_visible(False)
        figure.caption(caption)
        return figure
