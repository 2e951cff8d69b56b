"""The figure that every kind of plot returns."""

import io
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath

from stripe.errors import StripeError
from stripe.plots.style import PRINT_SIZE, Width, applied, inches, printed_width

__all__ = ["FigureOrAxes", "StripeFigure", "check_single", "size_of", "wrapped"]

_LONGEST = 2**16  # pixels


def wrapped(text: str, room: float, size: float) -> str:
    """Break a text into lines that fit, at blanks and, in a word wider than a line, behind a dot or anywhere.

    Args:
        text: Text without formulas.
        room: Width of a line in points.
        size: Size of the text in points, in the font of the current style.
    """
    font, measure = FontProperties(size=size), TextToPath()
    measured = {letter: _letter(measure, letter, font) for letter in set(text) | {" "}}
    lines, line, used = [], "", 0.0
    for word in text.split(" "):
        width = sum(measured[letter] for letter in word)
        if line and used + measured[" "] + width > room:
            lines.append(line)
            line, used = "", 0.0
        elif line:
            line, used = line + " ", used + measured[" "]
        for letter in word:
            if line and used + measured[letter] > room:
                start = line.rfind(" ") + 1  # of the word
                end = max(line.rfind(mark, start) for mark in "._-/+") + 1 or len(line)
                lines.append(line[:end])
                line = line[end:]
                used = sum(measured[each] for each in line)
            line, used = line + letter, used + measured[letter]
    return "\n".join([*lines, line])


def _letter(measure: TextToPath, letter: str, font: FontProperties) -> float:
    """Width of a letter in points."""
    return float(measure.get_text_width_height_descent(letter, font, ismath=False)[0])


class StripeFigure(Figure):
    """A matplotlib figure that keeps its style and a description of its content.

    It does not belong to pyplot, so that it need not be closed, and yet Jupyter displays it. As matplotlib makes ticks
    only when a figure is drawn, the figure is drawn with its own settings and not with those of that moment.

    Attributes:
        drawn: Content of the picture (capture, kind, sites, images, channels, epoch, seed …) in JSON types;
            ``stripe.plots.save`` writes it into the file.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        width: float,
        height: float,
        drawn: dict[str, Any],
        *,
        printed: Width | None = None,
    ) -> None:
        """Make an empty figure.

        Args:
            settings: Settings of matplotlib from ``stripe.plots.style.styled``.
            width: Width in inches at 8 pt text.
            height: Height in inches at 8 pt text.
            drawn: Content of the picture, in JSON types.
            printed: Width that the figure shall have instead, whatever its text size.

        Raises:
            StripeError: The picture would be longer than matplotlib can draw.
        """
        size = inches(width, height)
        size = (printed_width(printed) or size[0], size[1])
        dpi = settings["savefig.dpi"]
        if max(size) * (settings["figure.dpi"] if dpi == "figure" else dpi) >= _LONGEST:
            raise StripeError(
                f"A picture of {size[0]:.0f} × {size[1]:.0f} inches is too large to draw. Choose fewer sites or images."
            )
        super().__init__(figsize=size, layout="constrained")
        self._settings = dict(settings)
        self.drawn = drawn

    def caption(self, text: str) -> None:
        """Add a grey line at the foot of the figure, wrapped to its width."""
        size = 0.75 * mpl.rcParams["font.size"]
        # The layout reserves space for a supxlabel, and for no other text of a figure. Letters are drawn at whole
        # pixels, which makes lines a few per cent wider.
        self.supxlabel(
            wrapped(text, 0.93 * 72 * self.get_figwidth(), size), x=0.01, ha="left", fontsize=size, color="0.5"
        )

    def fit_height(self) -> None:
        """Make the figure as high as its panels need, which keep their shape, if they are as wide as their columns.

        It is called last, as the caption takes part of the height. The panels form one grid.
        """
        self.set_figheight(2 * self.get_figheight())  # so that the width alone decides how large the panels are
        self.draw_without_rendering()
        wanted = self._heights()
        self.set_figheight(self.get_figheight() - self._heights(original=True) + wanted)
        self.draw_without_rendering()  # now without the room that titles and labels had beside panels of this shape
        self.set_figheight(self.get_figheight() - self._heights() + wanted)

    def _heights(self, *, original: bool = False) -> float:
        """The sum of the heights of the rows of panels, or (original) of the room for them, in inches."""
        rows: dict[int, float] = {}
        for axes in self.axes:
            spec = axes.get_subplotspec()
            assert spec is not None
            height = axes.get_position(original=original).height
            rows[spec.rowspan.start] = max(height, rows.get(spec.rowspan.start, 0.0))
        return sum(rows.values()) * self.get_figheight()

    def draw(self, renderer: RendererBase) -> None:
        """Draw the figure as matplotlib does, in its own style."""
        with applied(self._settings):
            super().draw(renderer)

    def savefig(self, fname: Any, **kwargs: Any) -> None:
        """Save the figure as matplotlib does, in its own style."""
        with applied(self._settings):
            super().savefig(fname, **kwargs)

    def _repr_png_(self) -> bytes:
        """The figure as a PNG, which Jupyter shows."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=self.dpi)
        return buffer.getvalue()


FigureOrAxes = StripeFigure | Any
"""What a kind of plot returns: a figure, or the axes that it was given as ``ax=``. (``Any`` stands for the latter, so
that a caller who gives none need not tell the two apart.)"""


def size_of(axes: Axes) -> tuple[float, float]:
    """Width and height of axes in inches at 8 pt text, before any layout."""
    box, dpi = axes.bbox, axes.get_figure(root=True).dpi  # type: ignore[union-attr]
    scale = mpl.rcParams["font.size"] / PRINT_SIZE
    return box.width / dpi / scale, box.height / dpi / scale


def check_single(panels: int, what: str) -> None:
    """Refuse to draw several panels into one axes.

    Args:
        panels: Number of panels.
        what: How one of them is chosen, for the message.

    Raises:
        StripeError: There are several panels.
    """
    if panels > 1:
        raise StripeError(f"ax= takes one panel, and these are {panels}: {what}.")
