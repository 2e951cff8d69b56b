"""A structure search beside the paper's: the weights of each block after the last epoch, and what they choose."""

import math
from collections.abc import Mapping

import pandas as pd

from stripe import plots
from stripe.reproduce.cache import Planned
from stripe.reproduce.execution import Failures
from stripe.reproduce.plan import Plan
from stripe.reproduce.result import Result, add_note, only_run, require, scales_of
from stripe.tasks import structure
from stripe.training.config import RunConfig

__all__ = ["draw_search"]


def draw_search(plan: Plan, served: Mapping[RunConfig, Planned], failures: Failures) -> Result:
    """Draw the search of a plan, whose rows are the blocks of the network, and whose columns are the operations.

    Args:
        plan: The plan of a recipe with a picture of kind ``search``.
        served: The run of each request.
        failures: Runs that could not be finished.

    Raises:
        StripeError: The search is not finished, or damaged.
    """
    planned = served[only_run(plan.cells[0])]
    require(planned, failures)
    found = structure.read(planned.path)
    last = found["weight"].isel(epoch=-1)
    blocks = {row.name: number for number, row in enumerate(plan.recipe.rows)}
    rows = []
    for cell in plan.cells:
        number = blocks[cell.row.name]
        there = number < last.sizes["block"] and cell.column.name in last["operation"]
        weight = float(last.isel(block=number).sel(operation=cell.column.name)) if there else math.nan
        rows.append(
            {
                "group": "",
                "row": cell.row.name,
                "column": cell.column.name,
                "metric": "weight",
                "paper": cell.paper,
                "best": weight,
            }
        )
    chosen = structure.choices(found)
    words = ", ".join(f"{number}: {choice}" for number, choice in enumerate(chosen.values()))
    figure = add_note(plots.draw("search", [planned.run]), plan, served)
    findings = f"The choices for the {len(chosen)} blocks are {words}."
    return Result({plan.recipe.stem: figure}, pd.DataFrame(rows), findings, scales_of(plan, served, failures))
