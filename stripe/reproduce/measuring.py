"""Speeds and sizes of the networks of a recipe, measured once a machine and kept with the runs."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from stripe import bench
from stripe.analysis import save_table
from stripe.bench import Variant, describe_machine
from stripe.data import ImageSize, sides, write_size
from stripe.devices import pick_device
from stripe.errors import StripeError
from stripe.names import data_name, run_name
from stripe.reproduce.cache import Planned
from stripe.reproduce.plan import Plan
from stripe.reproduce.sources import Sources
from stripe.training.config import RunConfig

__all__ = ["of_networks", "speeds", "with_accuracies"]

METRICS = {"parameters": ("parameters", 1e-6), "speed": ("images_per_second", 1.0)}
"""Metric of a column → column of the table of speeds, and the factor to the paper's unit."""


def _variant(request: RunConfig) -> Variant:
    """The network as it is at inference: ASR is in the weights."""
    variant = Variant.parse(run_name(request.description()))
    return replace(variant, fused=variant.asr != "none")


def speeds(plan: Plan, folder: Path, sources: Sources, device: str | None = None) -> dict[ImageSize, pd.DataFrame]:
    """Measure the networks of a recipe side by side, those for each size of images by themselves, or read the tables.

    Args:
        plan: Which networks.
        folder: Where the tables are kept, by what was measured and on which machine.
        sources: Where the data comes from; only its sizes are asked for.
        device: Where to measure.

    Returns:
        Size of the images in pixels → table, as `stripe.bench.measure` makes it.

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
    """A row a cell of the recipe that is measured on networks, trained or not; see `stripe.reproduce.numbers`."""
    rows = []
    for cell in (cell for cell in plan.cells if cell.column.metric in METRICS):
        request = cell.requests[0]
        size = sources.look(request).image_size
        key, factor = METRICS[cell.column.metric]
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
    """The table with the accuracies of trained runs, for figure 3."""
    finished = [planned.run for planned in runs if planned.state == "cached"]
    if not finished:
        raise StripeError("No run of this figure is finished, so it has no accuracies to draw.")
    return bench.add_accuracy(table, finished)
