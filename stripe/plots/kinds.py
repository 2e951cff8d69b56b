"""The decorator ``kind``, by which a function becomes a kind of plot that is drawn by its name everywhere.

``stripe plot``, its help, recipes and ``draw_all`` list the kinds that are known here. To add a kind, add a file with
one decorated function to this folder.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from stripe.plots.figure import StripeFigure

__all__ = ["Data", "Kind", "kind", "kinds"]

Data = Literal["capture", "captures", "runs", "speeds", "frontier"]
"""Data of a plot: a capture, several captures, runs, a table of ``stripe.bench``, or the costs of folding each site."""

Draw = TypeVar("Draw", bound=Callable[..., StripeFigure])


@dataclass(frozen=True)
class Kind:
    """A kind of plot.

    Attributes:
        draw: Function that makes the figure; the data are its first argument, all others are keywords.
        data: Type of the data.
        shows: Content of the plot in a few words.
        paper: Figure or table of the paper, ``""`` if the paper has none.
        place: Position in lists, from the lowest to the highest.
    """

    draw: Callable[..., StripeFigure]
    data: Data
    shows: str
    paper: str
    place: int

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the keyword arguments of ``draw``."""
        _, *names = inspect.signature(self.draw).parameters
        return tuple(names)


_known: dict[str, Kind] = {}


def kind(data: Data, shows: str, *, paper: str = "", place: int = 100) -> Callable[[Draw], Draw]:
    """Register a function as a kind of plot of the same name.

    Args:
        data: Type of the data, which are the first argument of the function.
        shows: Content of the plot in a few words, for the help.
        paper: Figure or table of the paper, such as ``fig. 1b``.
        place: Position in lists; kinds of equal position are ordered by name.
    """

    def register(draw: Draw) -> Draw:
        _known[draw.__name__] = Kind(draw, data, shows, paper, place)
        return draw

    return register


def kinds(*data: Data) -> dict[str, Kind]:
    """Return the known kinds of plot by name, in the order of lists.

    Args:
        *data: Types of data whose kinds are returned; by default all.
    """
    found = {name: known for name, known in _known.items() if not data or known.data in data}
    return dict(sorted(found.items(), key=lambda item: (item[1].place, item[0])))
