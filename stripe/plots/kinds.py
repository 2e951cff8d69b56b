"""The decorator ``kind``, by which a function becomes a kind of plot that is drawn by its name everywhere.

``stripe plot``, its help, recipes and ``draw_all`` list the kinds that are known here. To add a kind, add a file with
one decorated function to this folder.
"""

import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from stripe.capture import CaptureLike, as_capture
from stripe.errors import StripeError
from stripe.names import did_you_mean, renamed
from stripe.plots.figure import FigureOrAxes
from stripe.plots.runs import RunLike, folder_name
from stripe.plots.save import check_format, save
from stripe.plots.select import NothingToDrawError
from stripe.registry import LAST, Registry

__all__ = [
    "KINDS",
    "RUN_KINDS",
    "TABLE_KINDS",
    "DataType",
    "Kind",
    "draw",
    "draw_all",
    "draw_all_of_runs",
    "find",
    "kind",
    "kinds",
]

DataType = Literal["capture", "captures", "runs", "speeds", "frontier"]
"""Data of a plot: a capture, several captures, runs, a table of ``stripe.bench``, or the costs of folding each site."""

Draw = TypeVar("Draw", bound=Callable[..., FigureOrAxes])


@dataclass(frozen=True)
class Kind:
    """A kind of plot.

    Attributes:
        draw: Function that makes the figure; the data are its first argument, all others are keywords.
        data: Type of the data.
        shows: Content of the plot in a few words.
        paper: Figure or table of the paper, ``""`` if the paper has none.
    """

    draw: Callable[..., FigureOrAxes]
    data: DataType
    shows: str
    paper: str

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the keyword arguments of ``draw``."""
        _, *names = inspect.signature(self.draw).parameters
        return tuple(names)


KNOWN: Registry[Kind] = Registry("stripe.plots", "a kind of plot")
"""The kinds of plot by name, in the order of lists."""

KINDS: dict[str, Callable[..., FigureOrAxes]] = {}
"""Kinds that draw a capture or its path; ``gradcam`` draws several captures, too."""

RUN_KINDS: dict[str, Callable[..., FigureOrAxes]] = {}
"""Kinds that draw several runs."""

TABLE_KINDS: dict[str, Callable[..., FigureOrAxes]] = {}
"""Kinds that draw a table of speeds, or of the costs of folding."""


_OF_DATA: tuple[tuple[dict[str, Callable[..., FigureOrAxes]], tuple[DataType, ...]], ...] = (
    (KINDS, ("capture", "captures")),
    (RUN_KINDS, ("runs",)),
    (TABLE_KINDS, ("speeds", "frontier")),
)


def kind(data: DataType, shows: str, *, paper: str = "", place: int = LAST) -> Callable[[Draw], Draw]:
    """Register a function as a kind of plot of the same name.

    Args:
        data: Type of the data, which are the first argument of the function.
        shows: Content of the plot in a few words, for the help.
        paper: Figure or table of the paper, such as ``fig. 1b``.
        place: Position in lists, from the lowest to the highest; kinds of equal position are ordered by name.

    Raises:
        StripeError: Another function is a kind of that name.
    """

    def register(draw: Draw) -> Draw:
        KNOWN.add(draw.__name__, Kind(draw, data, shows, paper), place=place, source=draw)
        return draw

    return register


def find() -> None:
    """Import every file of this package, so that the kinds in them are registered."""
    KNOWN.find()
    for functions, data in _OF_DATA:
        functions.clear()
        functions.update({name: known.draw for name, known in kinds(*data).items()})


def kinds(*data: DataType) -> dict[str, Kind]:
    """Return the known kinds of plot by name, in the order of lists.

    Args:
        *data: Types of data whose kinds are returned; by default all.
    """
    return {name: known for name, known in KNOWN.items() if not data or known.data in data}


@renamed(site="sites")
def draw(kind: str, data: Any, **options: Any) -> FigureOrAxes:
    """Draw a kind of plot by its name.

    Args:
        kind: Name of the kind, a key of ``KINDS``, ``RUN_KINDS`` or ``TABLE_KINDS``.
        data: Data of that kind: a capture, runs or a table.
        **options: Keyword arguments of the kind; None stands for the default.

    Raises:
        StripeError: There is no such kind, it does not take an option, or it refuses the data.
    """
    known = kinds()
    if kind not in known:
        hint = did_you_mean(kind, known) or "."
        raise StripeError(f"There is no plot of kind {kind!r}. There are {', '.join(known)}{hint}")
    given = {name: value for name, value in options.items() if value is not None}
    if unknown := given.keys() - set(known[kind].options):
        takes = ", ".join(name for name in known[kind].options if name != "ax")
        raise StripeError(f"A plot of kind {kind!r} has no {' or '.join(sorted(unknown))} to choose; it takes {takes}.")
    return known[kind].draw(data, **given)


@renamed(site="sites")
def draw_all(
    capture: CaptureLike, folder: str | os.PathLike[str], *, extension: str = "png", **options: Any
) -> tuple[dict[str, Path], dict[str, str]]:
    """Draw every kind that a capture can show, as ``<capture's name>-<kind>.png``.

    Args:
        capture: A capture, its tree or its path.
        folder: Folder of the pictures.
        extension: Format of the pictures: ``png``, ``pdf`` or ``svg``.
        **options: Keyword arguments for the kinds that take them; None stands for the default.

    Returns:
        A dictionary from each kind that was drawn to its file, and one from each other kind to the reason.

    Raises:
        NothingToDrawError: No kind can be drawn from this capture.
        StripeError: A file cannot be written, or the capture has no such site, image, channel or epoch.
    """
    opened = as_capture(capture)
    return _draw_all(("capture", "captures"), opened, Path(opened.path).stem or "capture", folder, extension, options)


def draw_all_of_runs(
    runs: Sequence[RunLike], folder: str | os.PathLike[str], *, extension: str = "png", **options: Any
) -> tuple[dict[str, Path], dict[str, str]]:
    """Draw every kind that runs can show, as ``<first run's name>-<kind>.png``: their curves, and what they made.

    Args:
        runs: ``stripe.training.Run``, at least one.
        folder: As of ``draw_all``.
        extension: As of ``draw_all``.
        **options: As of ``draw_all``.

    Returns:
        As ``draw_all``.

    Raises:
        NothingToDrawError: No kind can be drawn from these runs.
        StripeError: A file is damaged or cannot be written.
    """
    if not runs:
        raise StripeError("draw_all_of_runs needs at least one run")
    return _draw_all(("runs",), runs, folder_name(runs[0].path), folder, extension, options)


def _draw_all(
    data_types: tuple[DataType, ...],
    data: Any,
    stem: str,
    folder: str | os.PathLike[str],
    extension: str,
    options: dict[str, Any],
) -> tuple[dict[str, Path], dict[str, str]]:
    drawn, left_out = {}, {}
    for kind, known in kinds(*data_types).items():
        path = Path(folder) / f"{stem}-{kind}.{extension}"
        check_format(path)
        try:
            taken = {name: value for name, value in options.items() if name in known.options}
            figure = draw(kind, data, **taken)
        except NothingToDrawError as error:
            left_out[kind] = str(error)
        else:
            drawn[kind] = save(figure, path)
    if not drawn:
        raise NothingToDrawError(" ".join(f"{kind}: {reason}" for kind, reason in left_out.items()))
    return drawn, left_out
