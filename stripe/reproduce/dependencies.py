"""Runs that depend on one that was trained before them, and take from it what it has found, or its weights."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from stripe.reproduce.cache import Planned
from stripe.reproduce.plan import Cell, Plan
from stripe.training.config import RunConfig

__all__ = ["resolve"]


def resolve(plan: Plan, served: Mapping[RunConfig, Planned], failures: Mapping[str, str] | None = None) -> Plan:
    """Give the runs of a plan what they take from those before them.

    Args:
        plan: The plan of a recipe.
        served: The run of each request of ``plan.before``, as it is now.
        failures: Names of directories of those that could not be finished, and the reason of each. None: one that is
            not finished will be, and what follows it stays as it is.

    Returns:
        The plan. Cells whose run before is not finished have no runs, and ``problem`` says why.

    Raises:
        StripeError: A run is damaged.
    """
    return replace(plan, cells=tuple(_resolve(cell, served, failures) for cell in plan.cells))


def _resolve(cell: Cell, served: Mapping[RunConfig, Planned], failures: Mapping[str, str] | None) -> Cell:
    if cell.before is None:
        return cell
    planned = served[cell.before]
    if planned.state != "cached":
        if failures is None:
            return cell
        why = failures.get(planned.path.name, "it is not finished")
        return replace(cell, requests=(), problem=f"the run before, {planned.path.name}: {why}")
    give = _GIVEN[cell.gives]
    original = give(cell.original, planned) if cell.original else None
    return replace(cell, requests=tuple(give(request, planned) for request in cell.requests), original=original)


def _attention(request: RunConfig, planned: Planned) -> RunConfig:
    """Return the run with the attention that a structure search has found."""
    from stripe.tasks import structure

    return replace(request, attention=structure.attention_of(structure.read(planned.path)))


def _backbone(request: RunConfig, planned: Planned) -> RunConfig:
    """Return the run with a backbone that begins with the weights of a classifier."""
    return replace(request, backbone_ckpt=_beside(planned))


def _perceptual(request: RunConfig, planned: Planned) -> RunConfig:
    """Return the run that compares pictures by the features of a network that was trained here."""
    return replace(request, task_args={**request.task_args, "perceptual_ckpt": _beside(planned)})


def _beside(planned: Planned) -> str:
    """Return the best checkpoint of a run from the folder of all runs on, so that addresses hold wherever that lies."""
    return f"{planned.path.name}/{planned.run.best_file.name}"


_GIVEN: Mapping[str, Callable[[RunConfig, Planned], RunConfig]] = {
    "attention": _attention,
    "backbone_ckpt": _backbone,
    "perceptual_ckpt": _perceptual,
}
