"""The result of a recipe: pictures and numbers, with the words that say at what scale."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from stripe.errors import StripeError
from stripe.plots.figure import StripeFigure
from stripe.plots.style import styled
from stripe.reproduce.cache import Found, Planned
from stripe.reproduce.execution import Failures
from stripe.reproduce.plan import Cell, Plan
from stripe.training.config import RunConfig

__all__ = ["Result", "add_note", "only_run", "require", "scale_note", "scales_of"]


@dataclass(frozen=True)
class Result:
    """The pictures and numbers of a recipe.

    Attributes:
        figures: The pictures, by the names of their files without an ending.
        table: The numbers, beside the paper's where the paper has some.
        findings: A sentence about what the numbers say; ``""`` for a table that speaks for itself.
        scales: The scales at which the runs were made, in words.
    """

    figures: Mapping[str, StripeFigure]
    table: pd.DataFrame
    findings: str = ""
    scales: tuple[str, ...] = field(default=())


def scale_note(plan: Plan, served: Mapping[RunConfig, Planned]) -> str:
    """Return the scale and all that differs from the paper, as ``quick scale: resnet20 instead of resnet83``."""
    instead: dict[str, list[str]] = {}
    for used, asked in plan.instead:
        instead.setdefault(used, []).append(asked)
    parts = [f"{used} instead of {', '.join(asked)}" for used, asked in instead.items()]
    parts += dict.fromkeys(_part(served[request].found) for request in plan.requests)
    parts += [f"without {', '.join(plan.left_out)} (the same runs)"] if plan.left_out else []
    parts = [part for part in parts if part]
    return f"{plan.scale.name} scale" + (f": {', '.join(parts)}" if parts else "")


def scales_of(plan: Plan, served: Mapping[RunConfig, Planned], failures: Failures) -> tuple[str, ...]:
    """Return the scales at which the finished runs were made, and the number of seeds."""
    finished = [served[request] for request in plan.requests if served[request].path.name not in failures]
    seeds = {request.seed for request in plan.requests}
    scales = dict.fromkeys(planned.run.scale for planned in finished)
    return (*scales, f"{len(seeds)} {'seed' if len(seeds) == 1 else 'seeds'}") if seeds else ()


def add_note(figure: StripeFigure, plan: Plan, served: Mapping[RunConfig, Planned]) -> StripeFigure:
    """Put the scale before the caption of a picture."""
    text = figure.get_supxlabel().replace("\n", " ")  # as the caption was wrapped
    with styled("paper"):
        figure.caption(" · ".join(part for part in (scale_note(plan, served), text) if part))
    return figure


def only_run(cell: Cell) -> RunConfig:
    """Return the one run of a cell of a figure.

    Raises:
        StripeError: There is none.
    """
    if not cell.requests:
        raise StripeError(f"{cell.row.name}: {cell.problem}")
    return cell.requests[0]


def require(planned: Planned, failures: Failures) -> None:
    """Refuse a run that is not finished.

    Raises:
        StripeError: It is not, and why.
    """
    name = planned.path.name
    if name in failures:
        raise StripeError(f"its run {name} could not be finished: {failures[name]}")
    if planned.state != "cached":
        raise StripeError(f"its run {name} is not finished ({planned.done} of {planned.request.epochs} epochs).")


def _part(found: Found) -> str:
    """Return which part of a data set was used, in words; ``""`` for the whole."""
    counts = {"training": found.attrs.get("train_images"), "test": found.attrs.get("test_images")}
    words = [f"{count:,} {split}" for split, count in counts.items() if count is not None]
    return f"with {' and '.join(words)} images of the data set" if words else ""
