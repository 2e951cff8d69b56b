"""What ``stripe reproduce --dry-run`` prints."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from stripe.reproduce.cache import Planned, Sources
    from stripe.reproduce.plan import Plan
    from stripe.training.config import RunConfig

__all__ = ["print_plan"]


def print_plan(
    plans: "Sequence[Plan]", served: "dict[RunConfig, Planned]", jobs: int, device: str | None, sources: "Sources"
) -> None:
    """Print the runs of some recipes, what there is of them, and how long the rest would take here.

    Args:
        plans: Of the recipes.
        served: The run of each of their requests.
        jobs: Runs side by side.
        device: Where they would be computed.
        sources: Where their data comes from.
    """
    import math

    from stripe.cli.tables import print_records
    from stripe.reproduce.estimate import estimate, makespan

    runs = list({planned.path: planned for planned in served.values()}.values())
    before = {
        served[request].path: cell.before
        for plan in plans
        for cell in plan.cells
        if cell.before and cell.column.is_trained
        for request in cell.requests
    }
    seconds = estimate(runs, device=device, sources=sources, before=before)
    users = {
        planned.path: ", ".join(
            plan.recipe.name
            for plan in plans
            if any(served[r].path == planned.path for r in (*plan.before, *plan.requests))
        )
        for planned in runs
    }
    rows = [
        {
            "run": planned.path.name,
            "for": users[planned.path],
            "state": _state(planned),
            "epochs": planned.request.epochs - (planned.done if planned.state != "cached" else planned.request.epochs),
            "minutes": round(seconds[planned.path] / 60, 1),
        }
        for planned in runs
    ]
    if rows:
        print_records(rows, "table", title="Runs")
    known = [value for value in seconds.values() if not math.isnan(value)]
    unknown = f" and {len(seconds) - len(known)} that could not be tried" if len(known) < len(seconds) else ""
    side = f", {jobs} side by side" if jobs > 1 else ""
    click.echo(
        f"{sum(planned.state != 'cached' for planned in runs)} of {len(runs)} runs to train: about "
        f"{_duration(makespan(known, jobs))}{side}{unknown}, by a few steps of each network on this machine."
    )
    for problem in dict.fromkeys(planned.found.problem for planned in runs if planned.found.problem):
        click.secho(problem, fg="yellow", err=True)


def _state(planned: "Planned") -> str:
    if planned.state == "unfinished":
        return f"{planned.done} of {planned.request.epochs} epochs"
    return "no data" if planned.found.problem and planned.state == "missing" else planned.state


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 90:
        return f"{minutes:.0f} minutes" if minutes >= 1 else f"{seconds:.0f} seconds"
    return f"{minutes / 60:.0f} hours" if minutes < 72 * 60 else f"{minutes / 60 / 24:.0f} days"
