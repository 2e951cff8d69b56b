"""Tables of numbers beside the paper's: accuracies of trained runs, speeds and sizes of networks."""

import hashlib
import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from stripe import bench, checkpoint
from stripe.analysis import save_table
from stripe.bench import Variant, describe_machine
from stripe.data import ImageSize, sides, write_size
from stripe.devices import pick_device
from stripe.errors import StripeError
from stripe.files import write_whole
from stripe.names import data_name, run_name
from stripe.reproduce.cache import Planned, Sources
from stripe.reproduce.plan import Cell, Plan
from stripe.training import Compute, evaluate
from stripe.training.config import RunConfig

__all__ = ["of_networks", "of_runs", "speeds", "with_accuracies"]

_OF_NETWORKS = {"parameters": ("parameters", 1e-6), "speed": ("images_per_second", 1.0)}
"""Metrics of networks: the column of a table of speeds, and the factor to the paper's unit."""

Measure = Callable[[Planned], tuple[float, float]]
"""A function that measures a run at its best epoch and after its last one."""


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
        images at the best and after the last epoch, with ``best_std`` and ``last_std`` (n − 1; NaN of one seed);
        ``seeds``, the number of finished runs; ``network`` and ``data``; ``problem``, why runs are not finished.
    """
    measures: dict[str, Measure] = {"accuracy": _accuracy, "top5": lambda run: _top5(run, sources, device)}
    return pd.DataFrame([_cell(c, served, failures, measures) for c in plan.cells if c.column.metric in measures])


def _cell(
    cell: Cell, served: Mapping[RunConfig, Planned], failures: Mapping[str, str], measures: Mapping[str, Measure]
) -> dict[str, object]:
    runs = [served[request] for request in cell.requests]
    measure = measures[cell.column.metric]
    values = [measure(run) for run in runs if run.path.name not in failures]
    best, last = ([pair[position] for pair in values] for position in (0, 1))
    request = cell.requests[0]
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
        "seeds": len(values),
        "network": run_name(request.description()),
        "data": data_name(request.data),
        "problem": "; ".join(dict.fromkeys(failures[run.path.name] for run in runs if run.path.name in failures)),
    }


def _accuracy(planned: Planned) -> tuple[float, float]:
    run = planned.run
    return run.best.test_accuracy, run.history[-1].test_accuracy


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


def speeds(plan: Plan, folder: Path, sources: Sources, device: str | None = None) -> dict[ImageSize, pd.DataFrame]:
    """Measure the networks of a recipe side by side, once per machine, separately for each size of images.

    Args:
        plan: The plan of the recipe.
        folder: The folder where the tables are kept, by what was measured and on which machine.
        sources: Where the data comes from; it is not loaded.
        device: Device to measure on.

    Returns:
        For each size of images in pixels the table, as ``stripe.bench.measure`` makes it.

    Raises:
        StripeError: A network does not fit into the memory.
    """
    found = {request: sources.look(request) for request in {cell.requests[0]: None for cell in plan.cells}}
    return {
        size: _measured(
            list(dict.fromkeys(str(_variant(request)) for request in found if found[request].image_size == size)),
            folder,
            device,
            image_size=size,
            num_classes=next(look.classes for look in found.values() if look.image_size == size),
            batch_size=plan.scale.bench_batch,
            repeats=plan.scale.bench_repeats,
        )
        for size in sorted({look.image_size for look in found.values()}, key=sides)
    }


def _measured(networks: list[str], folder: Path, device: str | None, **settings: Any) -> pd.DataFrame:
    machine = describe_machine(pick_device(device))
    digest = hashlib.sha256(json.dumps([networks, settings, machine], sort_keys=True).encode()).hexdigest()
    path = folder / f"bench-{digest[:8]}.csv"
    if not path.exists():
        table = bench.measure(networks, device=device, **settings)
        folder.mkdir(parents=True, exist_ok=True)
        save_table(table, path)
    return bench.read_table(path)


def of_networks(plan: Plan, tables: Mapping[ImageSize, pd.DataFrame], sources: Sources) -> pd.DataFrame:
    """Make the table of a recipe's cells that are measured on networks, trained or not, one row per cell.

    Args:
        plan: The plan of the recipe.
        tables: What ``speeds`` returned.
        sources: Where the data comes from; it is not loaded.

    Returns:
        ``group``, ``row``, ``column``, ``metric``, ``paper``, ``best``, ``network`` and ``data``, as in ``of_runs``.
    """
    rows = []
    for cell in (cell for cell in plan.cells if cell.column.metric in _OF_NETWORKS):
        request = cell.requests[0]
        size = sources.look(request).image_size
        key, factor = _OF_NETWORKS[cell.column.metric]
        name = str(_variant(request))
        rows.append(
            {
                "group": cell.row.group,
                "row": cell.row.name,
                "column": cell.column.name,
                "metric": cell.column.metric,
                "paper": cell.paper,
                "best": factor * float(tables[size].set_index("model")[key][name]),
                "network": name,
                "data": f"{data_name(request.data)}, {write_size(size)} px",
            }
        )
    return pd.DataFrame(rows)


def with_accuracies(table: pd.DataFrame, runs: list[Planned]) -> pd.DataFrame:
    """Add the accuracies of trained runs to a table of speeds, for figure 3.

    Raises:
        StripeError: None of the runs is finished.
    """
    finished = [planned.run for planned in runs if planned.state == "cached"]
    if not finished:
        raise StripeError("No run of this figure is finished, so it has no accuracies to draw.")
    return bench.add_accuracy(table, finished)


def _variant(request: RunConfig) -> Variant:
    """Return the network as it is at inference, with ASR fused into the weights."""
    variant = Variant.parse(run_name(request.description()))
    return replace(variant, fused=variant.asr != "none")
