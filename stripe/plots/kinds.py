"""What a kind of plot says of itself, in its own file: that is all it takes to be drawn by name everywhere.

``stripe plot``, its help, recipes and `draw_all` list the kinds that are known here. A new one is a new file in this
folder with one function in it that `kind` decorates.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from stripe.plots.figure import StripeFigure

__all__ = ["Data", "Kind", "kind", "kinds"]

Data = Literal["capture", "captures", "runs", "speeds", "frontier"]
"""What is drawn: a capture, several of them, runs, a table of `stripe.bench`, or what folding costs, site by site."""

Draw = TypeVar("Draw", bound=Callable[..., StripeFigure])


@dataclass(frozen=True)
class Kind:
    """A kind of plot.

    Attributes:
        draw: Makes the figure; data first, everything else by keyword.
        data: What its data are.
        shows: What is to be seen, in a few words.
        paper: Where the paper has it, ``""`` for nowhere.
        place: In lists, from the lowest to the highest.
    """

    draw: Callable[..., StripeFigure]
    data: Data
    shows: str
    paper: str
    place: int

    @property
    def options(self) -> tuple[str, ...]:
        """What else it takes."""
        _, *names = inspect.signature(self.draw).parameters
        return tuple(names)


_known: dict[str, Kind] = {}


def kind(data: Data, shows: str, *, paper: str = "", place: int = 100) -> Callable[[Draw], Draw]:
    """Make a function a kind of plot of the same name.

    Args:
        data: What it is given first.
        shows: What is to be seen, in a few words, for the help.
        paper: Where the paper has it, as ``fig. 1b``.
        place: In lists; those of one place go by name.
    """

    def register(draw: Draw) -> Draw:
        _known[draw.__name__] = Kind(draw, data, shows, paper, place)
        return draw

    return register


def kinds(*data: Data) -> dict[str, Kind]:
    """Name → kind of plot, in the order of lists.

    Args:
        *data: Of these data; by default all.
    """
    found = {name: known for name, known in _known.items() if not data or known.data in data}
    return dict(sorted(found.items(), key=lambda item: (item[1].place, item[0])))
