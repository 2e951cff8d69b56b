"""The kinds of plot by name, and a function that draws all of them from one capture."""

import importlib
import os
import pkgutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from stripe.capture import CaptureLike, as_capture
from stripe.errors import StripeError
from stripe.names import renamed
from stripe.plots.figure import StripeFigure
from stripe.plots.kinds import Data, kinds
from stripe.plots.save import check_format, save
from stripe.plots.select import NothingToDrawError

__all__ = ["KINDS", "RUN_KINDS", "TABLE_KINDS", "draw", "draw_all", "find"]

KINDS: dict[str, Callable[..., StripeFigure]] = {}
"""Kinds that draw a capture or its path; ``gradcam`` draws several captures, too."""

RUN_KINDS: dict[str, Callable[..., StripeFigure]] = {}
"""Kinds that draw several runs."""

TABLE_KINDS: dict[str, Callable[..., StripeFigure]] = {}
"""Kinds that draw a table of speeds, or of the costs of folding."""


_OF_DATA: tuple[tuple[dict[str, Callable[..., StripeFigure]], tuple[Data, ...]], ...] = (
    (KINDS, ("capture", "captures")),
    (RUN_KINDS, ("runs",)),
    (TABLE_KINDS, ("speeds", "frontier")),
)


def find(folders: Iterable[str]) -> None:
    """Import every file of this package, so that the kinds in them are registered.

    Args:
        folders: Folders of the package ``stripe.plots``.
    """
    for module in pkgutil.iter_modules(folders):
        importlib.import_module(f"stripe.plots.{module.name}")
    for functions, data in _OF_DATA:
        functions.clear()
        functions.update({name: known.draw for name, known in kinds(*data).items()})


@renamed(site="sites")
def draw(kind: str, data: Any, **options: Any) -> StripeFigure:
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
        raise StripeError(f"There is no plot of kind {kind!r}. There are {', '.join(known)}.")
    given = {name: value for name, value in options.items() if value is not None}
    if unknown := given.keys() - set(known[kind].options):
        takes = ", ".join(sorted(known[kind].options))
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
    drawn, left_out = {}, {}
    opened = as_capture(capture)
    stem = Path(opened.path).stem or "capture"
    for kind, known in kinds("capture", "captures").items():
        path = Path(folder) / f"{stem}-{kind}.{extension}"
        check_format(path)
        try:
            taken = {name: value for name, value in options.items() if name in known.options}
            figure = draw(kind, opened, **taken)
        except NothingToDrawError as error:
            left_out[kind] = str(error)
        else:
            drawn[kind] = save(figure, path)
    if not drawn:
        raise NothingToDrawError(" ".join(f"{kind}: {reason}" for kind, reason in left_out.items()))
    return drawn, left_out
