"""The kinds of plot by name, and every picture that a capture can give in one go."""

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stripe.capture import CaptureLike, as_capture
from stripe.errors import StripeError
from stripe.plots.diff import diff
from stripe.plots.figure import StripeFigure
from stripe.plots.frontier import frontier
from stripe.plots.gradcam import gradcam
from stripe.plots.index import index
from stripe.plots.save import check_format, save
from stripe.plots.select import NothingToDrawError
from stripe.plots.spatial import spatial
from stripe.plots.speed import speed
from stripe.plots.std import std
from stripe.plots.stripe import stripe
from stripe.plots.tradeoff import tradeoff
from stripe.plots.training import training

__all__ = ["KINDS", "RUN_KINDS", "TABLE_KINDS", "draw", "draw_all"]

KINDS: dict[str, Callable[..., StripeFigure]] = {
    "stripe": stripe,
    "std": std,
    "diff": diff,
    "spatial": spatial,
    "index": index,
    "gradcam": gradcam,
}
"""Of a capture or its path; ``gradcam`` of several, too."""

RUN_KINDS: dict[str, Callable[..., StripeFigure]] = {"training": training}
"""Of several runs."""

TABLE_KINDS: dict[str, Callable[..., StripeFigure]] = {"tradeoff": tradeoff, "speed": speed, "frontier": frontier}
"""Of a table: of speeds, or of what folding costs."""

_ALL = KINDS | RUN_KINDS | TABLE_KINDS


def draw(kind: str, data: Any, **options: Any) -> StripeFigure:
    """Draw a kind of plot by its name.

    Args:
        kind: A key of `KINDS`, `RUN_KINDS` or `TABLE_KINDS`.
        data: What that takes: a capture, runs or a table.
        **options: What the kind takes; None is its default.

    Raises:
        StripeError: No such kind, an option that it does not take, or whatever the kind itself refuses.
    """
    if kind not in _ALL:
        raise StripeError(f"There is no plot of kind {kind!r}. There are {', '.join(_ALL)}.")
    given = {name: value for name, value in options.items() if value is not None}
    if unknown := given.keys() - _options(kind):
        takes = ", ".join(sorted(_options(kind)))
        raise StripeError(f"A plot of kind {kind!r} has no {' or '.join(sorted(unknown))} to choose; it takes {takes}.")
    return _ALL[kind](data, **given)


def draw_all(
    capture: CaptureLike, folder: str | os.PathLike[str], *, extension: str = "png", **options: Any
) -> tuple[dict[str, Path], dict[str, str]]:
    """Draw every kind that a capture can show, as ``<capture's name>-<kind>.png``.

    Args:
        capture: A capture, its tree or its path.
        folder: Where to.
        extension: ``png``, ``pdf`` or ``svg``.
        **options: Handed to the kinds that take them; None is the default.

    Returns:
        Kind → file, and for the kinds that this capture cannot show, kind → why not.

    Raises:
        NothingToDrawError: The capture can show no kind at all.
        StripeError: A file cannot be written, or an option names what the capture does not hold.
    """
    drawn, left_out = {}, {}
    opened = as_capture(capture)
    stem = Path(opened.path).stem or "capture"
    for kind in KINDS:
        path = Path(folder) / f"{stem}-{kind}.{extension}"
        check_format(path)
        try:
            taken = {name: value for name, value in options.items() if name in _options(kind)}
            figure = draw(kind, opened, **taken)
        except NothingToDrawError as error:
            left_out[kind] = str(error)
        else:
            drawn[kind] = save(figure, path)
    if not drawn:
        raise NothingToDrawError(" ".join(f"{kind}: {reason}" for kind, reason in left_out.items()))
    return drawn, left_out


def _options(kind: str) -> set[str]:
    _, *names = inspect.signature(_ALL[kind]).parameters  # the first is what is drawn
    return set(names)
