"""Tables of what trained runs measure, beside the paper's numbers."""

import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from stripe import checkpoint
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
        images at the best and after the last epoch, with ``best_std`` and ``last_std`` (n − 1; NaN of one seed), or
        both of the one run that the column is of; ``seeds``, the number of finished runs; ``network`` and ``data``;
        ``problem``, why runs are not finished.

    Raises:
        StripeError: A run has no such measure, or is damaged.
    """

    def measure(planned: Planned, metric: str) -> Pair:
        return _top5(planned, sources, device) if metric == "top5" else _measure(planned, metric)

    return pd.DataFrame([_cell(cell, served, failures, measure) for cell in plan.cells if cell.column.is_trained])


def _cell(
    cell: Cell, served: Mapping[RunConfig, Planned], failures: Mapping[str, str], measure: Measure
) -> dict[str, object]:
    runs = [served[request] for request in cell.requests]
    finished = [run for run in runs if run.path.name not in failures]
    if isinstance(cell.column.runs, int):
        finished = [run for run in finished if run.request.seed == cell.column.runs - 1]
    values = [measure(run, cell.column.metric) for run in finished]
    if cell.column.runs == "best" and values:
        higher = cell.column.metric == "top5" or finished[0].run.scoring.higher_is_better
        values = [(max if higher else min)(values)]
    best, last = ([pair[position] for pair in values] for position in (0, 1))
    problems = [cell.problem, *(failures[run.path.name] for run in runs if run.path.name in failures)]
    return {
        "group": cell.row.group,
        "row": cell.row.name,
        "column": cell.column.name,
        "metric": cell.column.metric,
        "paper": cell.paper,
        "best": _mean(best),
        "best_std": _std(best),
        "last": _mean(last),
        "last_std": _std(last),
        "seeds": len(finished),
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


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else math.nan


def _std(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else math.nan


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
