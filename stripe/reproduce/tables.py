"""Tables of what trained runs measure, beside the paper's numbers."""

import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from stripe import checkpoint
from stripe.analysis import mean_interval
from stripe.devices import pick_device
from stripe.errors import StripeError
from stripe.files import write_whole
from stripe.names import data_name, run_name
from stripe.reproduce.cache import Planned, Sources
from stripe.reproduce.plan import Cell, Plan
from stripe.training import Compute, evaluate
from stripe.training.config import RunConfig

__all__ = ["of_runs"]

Pair = tuple[float, float]
"""A measure at the best epoch of a run, and after its last one."""

Measure = Callable[[Planned, str], Pair]
"""A function that measures a run, by the name of the measure."""

Values = Mapping[int, Pair]
"""What the runs of a cell measure, by their seeds."""

COLUMNS = [
    *("group", "row", "column", "metric", "paper"),
    *("best", "best_std", "best_low", "best_high", "last", "last_std", "last_low", "last_high"),
    *("seeds", "network", "data", "problem"),
]
"""Columns of the table of any recipe; those of a recipe with a control come after them."""


def of_runs(
    plan: Plan,
    served: Mapping[RunConfig, Planned],
    failures: Mapping[str, str],
    sources: Sources,
    *,
    device: str | None = None,
) -> pd.DataFrame:
    """Make the table of a recipe's cells that are measured on trained runs, one row per cell.

    Args:
        plan: The plan of the recipe.
        served: The run of each request.
        failures: Names of directories of runs that could not be finished, and the reason of each.
        sources: Where the data of the runs comes from, for metrics that a run does not record.
        device: Device to compute those on.

    Returns:
        ``group``, ``row``, ``column``, ``metric``, ``paper``; ``best`` and ``last``, the mean over seeds on the test
        images at the best and after the last epoch, or both of the one run that the column is of; of each mean its
        95 % interval over seeds, as ``best_low`` and ``best_high``, and the standard deviation of the seeds (n − 1), as
        ``best_std``, all NaN of one seed; ``seeds``, the number of finished runs; ``network`` and ``data``;
        ``problem``, why runs are not finished.

        Where the recipe has a control, of every mean that follows it: ``control``, the name of that column or row;
        ``difference``, the mean over seeds of ``best`` less that of the control with the same seed, with its 95 %
        interval, ``difference_low`` and ``difference_high``; and ``pairs``, the number of those seeds.

    Raises:
        StripeError: A run has no such measure, or is damaged.
    """

    def measure(planned: Planned, metric: str) -> Pair:
        return _top5(planned, sources, device) if metric == "top5" else _measure(planned, metric)

    cells = [cell for cell in plan.cells if cell.column.is_trained]
    values = [_values(cell, served, failures, measure) for cell in cells]
    rows = [_cell(cell, own, served, failures) for cell, own in zip(cells, values, strict=True)]
    table = pd.DataFrame(rows, columns=COLUMNS)
    if plan.recipe.has_control:
        table = table.join(pd.DataFrame([_difference(number, cells, values) for number in range(len(cells))]))
    return table


def _values(cell: Cell, served: Mapping[RunConfig, Planned], failures: Mapping[str, str], measure: Measure) -> Values:
    """Measure the finished runs that the column of a cell is of."""
    finished = [served[request] for request in cell.requests if served[request].path.name not in failures]
    if isinstance(cell.column.runs, int):
        finished = [run for run in finished if run.request.seed == cell.column.runs - 1]
    return {run.request.seed: measure(run, cell.column.metric) for run in finished}


def _cell(
    cell: Cell, values: Values, served: Mapping[RunConfig, Planned], failures: Mapping[str, str]
) -> dict[str, object]:
    runs = [served[request] for request in cell.requests]
    shown = list(values.values())
    if cell.column.runs == "best" and shown:
        finished = next(run for run in runs if run.request.seed in values)
        higher = cell.column.metric == "top5" or finished.run.scoring.higher_is_better
        shown = [(max if higher else min)(shown)]
    problems = [cell.problem, *(failures[run.path.name] for run in runs if run.path.name in failures)]
    return {
        "group": cell.row.group,
        "row": cell.row.name,
        "column": cell.column.name,
        "metric": cell.column.metric,
        "paper": cell.paper,
        **_mean("best", [best for best, _ in shown]),
        **_mean("last", [last for _, last in shown]),
        "seeds": len(values),
        "network": run_name(cell.requests[0].description()) if cell.requests else "",
        "data": data_name(cell.requests[0].data) if cell.requests else "",
        "problem": "; ".join(filter(None, dict.fromkeys(problems))),
    }


def _measure(planned: Planned, metric: str) -> Pair:
    run = planned.run
    if metric not in run.scoring.measures:
        raise StripeError(f"{run.path} measures {', '.join(run.scoring.measures)}, but no {metric}.")
    best, last = (float(getattr(epoch, f"test_{metric}")) for epoch in (run.best, run.history[-1]))
    return best, last


def _mean(name: str, values: Sequence[float]) -> dict[str, float]:
    """Return the mean of some values, their standard deviation, and the interval of the mean."""
    found = mean_interval(values)
    std = statistics.stdev(values) if len(values) > 1 else math.nan
    return {name: found.mean, f"{name}_std": std, f"{name}_low": found.low, f"{name}_high": found.high}


def _difference(number: int, cells: Sequence[Cell], values: Sequence[Values]) -> dict[str, object]:
    """Return how the mean of a cell differs from that of its control at the best epochs, seed by seed."""
    control = _control(number, cells)
    ours, theirs = (values[number], values[control]) if control is not None else ({}, {})
    found = mean_interval(ours[seed][0] - theirs[seed][0] for seed in ours if seed in theirs)
    return {
        "control": _control_name(cells[control]) if control is not None else "",
        "difference": found.mean,
        "difference_low": found.low,
        "difference_high": found.high,
        "pairs": found.number,
    }


def _control(number: int, cells: Sequence[Cell]) -> int | None:
    """Return the place of the control of a cell: the last one before it in its row, or in its column and group."""
    cell = cells[number]
    if cell.column.runs != "mean" or cell.column.control or cell.row.control:
        return None
    for place in reversed(range(number)):
        row, column = cells[place].row, cells[place].column
        if column.control and row is cell.row and (column.metric, column.runs) == (cell.column.metric, "mean"):
            return place
        if row.control and column is cell.column and row.group == cell.row.group:
            return place
    return None


def _control_name(cell: Cell) -> str:
    return cell.column.name if cell.column.control else cell.row.name


def _top5(planned: Planned, sources: Sources, device: str | None) -> tuple[float, float]:
    """Score the best and the last weights of a finished run once more, as a run does not record its top-5 accuracy.

    The scores are kept in the run's directory as ``top5.json``.

    Returns:
        Top-5 accuracy on the test images in per cent, at the best epoch and after the last one.

    Raises:
        StripeError: The data is not there, or a checkpoint is damaged.
    """
    kept = planned.path / "top5.json"
    if not kept.exists():
        run = planned.run
        files = {"best": run.best_file, "last": run.checkpoints[-1]}
        scores = {name: _score(path, planned, sources, device) for name, path in files.items()}
        write_whole(kept, f"{json.dumps(scores, indent=2)}\n".encode())
    found = json.loads(kept.read_text())
    return float(found["best"]), float(found["last"])


def _score(path: Path, planned: Planned, sources: Sources, device: str | None) -> float:
    data = sources.load(planned.request)
    compute = Compute.on(pick_device(device), planned.request.precision)
    model = compute.place(checkpoint.restore(checkpoint.read(path)))
    return evaluate(model, data.test.loader(128), data, compute).top5
