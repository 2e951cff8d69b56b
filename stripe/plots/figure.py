"""The figure that every kind of plot returns."""

import io
import textwrap
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure

from stripe.errors import StripeError
from stripe.plots.style import applied, inches

__all__ = ["StripeFigure"]

_LONGEST = 2**16  # pixels


class StripeFigure(Figure):
    """A matplotlib figure that keeps its style and knows what it shows.

    It belongs to no pyplot state, so that nothing has to be closed, and yet Jupyter displays it. Ticks are only made
    when a figure is drawn: that is why it draws under its own settings and not under those of that moment.

    Attributes:
        drawn: What the picture shows (capture, kind, sites, images, channels, epoch, seed …), as JSON types;
            :func:`stripe.plots.save` writes it into the file.
    """

    def __init__(self, settings: Mapping[str, Any], width: float, height: float, drawn: dict[str, Any]) -> None:
        """Make an empty figure.

        Args:
            settings: What :func:`stripe.plots.style.styled` yields.
            width: Inches at 8 pt text.
            height: Inches at 8 pt text.
            drawn: What will be shown.

        Raises:
            StripeError: The picture would be longer than matplotlib can draw.
        """
        size = inches(width, height)
        dpi = settings["savefig.dpi"]
        if max(size) * (settings["figure.dpi"] if dpi == "figure" else dpi) >= _LONGEST:
            raise StripeError(
                f"A picture of {size[0]:.0f} × {size[1]:.0f} inches is too large to draw. Choose fewer sites or images."
            )
        super().__init__(figsize=size, layout="constrained")
        self._settings = dict(settings)
        self.drawn = drawn

    def caption(self, text: str) -> None:
        """A grey line at the foot of the figure, wrapped to its width."""
        size = 0.75 * mpl.rcParams["font.size"]
        columns = int(self.get_figwidth() * 72 / (0.52 * size))
        # The layout keeps room for a supxlabel, and for no other text of a figure.
        self.supxlabel(textwrap.fill(text, columns), x=0.01, ha="left", fontsize=size, color="0.5")

    def draw(self, renderer: RendererBase) -> None:
        """As matplotlib's, in the style of the figure."""
        with applied(self._settings):
            super().draw(renderer)

    def savefig(self, fname: Any, **kwargs: Any) -> None:
        """As matplotlib's, in the style of the figure."""
        with applied(self._settings):
            super().savefig(fname, **kwargs)

    def _repr_png_(self) -> bytes:
        """What Jupyter shows."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=self.dpi)
        return buffer.getvalue()
