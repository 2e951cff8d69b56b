"""What must be said beside a picture: at which scale, with what instead of the paper's, from where."""

from collections.abc import Mapping

from stripe.plots.figure import StripeFigure
from stripe.plots.style import styled
from stripe.reproduce.cache import Planned
from stripe.reproduce.plan import Plan
from stripe.reproduce.sources import Found
from stripe.training.config import RunConfig

__all__ = ["add_note", "scale_note"]


def scale_note(plan: Plan, served: Mapping[RunConfig, Planned]) -> str:
    """``quick scale: resnet20 instead of resnet83, shapes instead of cifar100``; all that differs from the paper."""
    instead: dict[str, list[str]] = {}
    for used, asked in plan.instead:
        instead.setdefault(used, []).append(asked)
    parts = [f"{used} instead of {', '.join(asked)}" for used, asked in instead.items()]
    parts += dict.fromkeys(_part(served[request].found) for request in plan.requests)
    parts += [f"without {', '.join(plan.left_out)} (the same runs)"] if plan.left_out else []
    parts = [part for part in parts if part]
    return f"{plan.scale.name} scale" + (f": {', '.join(parts)}" if parts else "")


def add_note(figure: StripeFigure, plan: Plan, served: Mapping[RunConfig, Planned]) -> StripeFigure:
    """Put the scale before what the foot of a picture says."""
    text = figure.get_supxlabel().replace("\n", " ")  # as the caption was wrapped
    with styled("paper"):
        figure.caption(" · ".join(part for part in (scale_note(plan, served), text) if part))
    return figure


def _part(found: Found) -> str:
    """Which part of a data set was used, where it was not all."""
    counts = {"training": found.attrs.get("train_images"), "test": found.attrs.get("test_images")}
    words = [f"{count:,} {split}" for split, count in counts.items() if count is not None]
    return f"with {' and '.join(words)} images of the data set" if words else ""
