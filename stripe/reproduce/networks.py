"""Numbers of networks, trained or not, beside the paper's: speeds, and counts of parameters and operations."""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.detection.roi_heads import RoIHeads

from stripe import asr, bench
from stripe.adapter import batch_of, run
from stripe.analysis import save_table
from stripe.bench import Variant, describe_machine
from stripe.data import ImageSize, sides, write_size
from stripe.devices import pick_device
from stripe.errors import StripeError
from stripe.files import write_whole
from stripe.models import input_channels
from stripe.names import data_name
from stripe.reproduce.cache import Planned, Sources
from stripe.reproduce.plan import Plan
from stripe.training.config import RunConfig
from stripe.training.network import build

__all__ = ["counts", "of_networks", "speeds", "with_accuracies"]

_FACTORS = {"parameters": 1e-6, "added_parameters": 1e-3, "flops": 0.5e-9, "speed": 1.0}
"""Factor from what is counted or measured to the unit of a column, see ``OF_NETWORKS``."""


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
    shown = [
        cell for cell in plan.cells if cell.requests and (cell.column.metric == "speed" or not _counts_apart(plan))
    ]
    found = {request: sources.look(request) for request in {cell.requests[0]: None for cell in shown}}
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


def counts(request: RunConfig, folder: Path, sources: Sources) -> dict[str, int]:
    """Count what a network consists of, and what an image takes, once; nothing of it is trained.

    Args:
        request: A run of the network; its ASR is fused.
        folder: The folder where the numbers are kept, by what was counted.
        sources: Where the data comes from; it is not loaded.

    Returns:
        ``parameters``; ``added_parameters``, those more than without attention; and ``flops``, see
        ``stripe.bench.measure``, of a detector with as many objects as it may find.

    Raises:
        StripeError: The network cannot be built.
    """
    found = sources.published(request)
    classes = found.classes + (request.task_name in ("detection", "segmentation"))  # there is the background, too
    described, size = request.description(classes), sides(found.image_size)
    of_objects = ["all objects"] if request.task_name == "detection" else []
    text = json.dumps([described, size, torch.__version__.partition("+")[0], *of_objects], sort_keys=True)
    path = folder / f"counts-{hashlib.sha256(text.encode()).hexdigest()[:8]}.json"
    if not path.exists():
        network = build(described).eval().requires_grad_(False)  # torch's counter fails on ASR's ψ with gradients
        if request.spec.asr:
            asr.fuse(network, inplace=True)
        for head in network.modules():
            if isinstance(head, RoIHeads):  # untrained, it would find nothing, and then no mask is computed
                head.score_thresh = 0.0
        plain = build(RunConfig(request.model, request.data, args=request.args).description(classes))
        parameters, without = (sum(each.numel() for each in model.parameters()) for model in (network, plain))
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            run(network, batch_of(torch.rand(1, input_channels(network) or 3, *size), network))
        numbers = {"parameters": parameters, "added_parameters": parameters - without}
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps({**numbers, "flops": int(counter.get_total_flops())}).encode())
    return {key: int(value) for key, value in json.loads(path.read_bytes()).items()}


def of_networks(plan: Plan, tables: Mapping[ImageSize, pd.DataFrame], sources: Sources, folder: Path) -> pd.DataFrame:
    """Make the table of a recipe's cells that are measured on networks, trained or not, one row per cell.

    In a ``table`` parameters and operations are counted on the network of the paper, at any scale; speeds, and all
    numbers of other pictures, are those of the networks that are trained.

    Args:
        plan: The plan of the recipe.
        tables: What ``speeds`` returned.
        sources: Where the data comes from; it is not loaded.
        folder: The folder where counts are kept.

    Returns:
        ``group``, ``row``, ``column``, ``metric``, ``paper``, ``best``, ``network`` and ``data``, as in ``of_runs``.

    Raises:
        StripeError: A network cannot be built.
    """
    rows = []
    for cell in (cell for cell in plan.cells if not cell.column.is_trained):
        counted = cell.original if _counts_apart(plan) and cell.column.metric != "speed" else None
        request = counted or next(iter(cell.requests), None)
        value, size = math.nan, ""  # of a row that has no networks
        if counted and not cell.problem:
            value = counts(counted, folder, sources)[cell.column.metric]
            size = str(write_size(sources.published(counted).image_size))
        elif request:
            found = sources.look(request).image_size
            key = {"speed": "images_per_second"}.get(cell.column.metric, cell.column.metric)
            value, size = tables[found].set_index("model")[key][str(_variant(request))], str(write_size(found))
        rows.append(
            {
                "group": cell.row.group,
                "row": cell.row.name,
                "column": cell.column.name,
                "metric": cell.column.metric,
                "paper": cell.paper,
                "best": _FACTORS[cell.column.metric] * float(value),
                "network": str(_variant(request)) if request else "",
                "data": f"{data_name(request.data)}, {size} px" if request else "",
                "problem": cell.problem,
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


def _counts_apart(plan: Plan) -> bool:
    """Whether parameters and operations are those of the paper's networks."""
    return plan.recipe.draw is not None and plan.recipe.draw.kind == "table"


def _variant(request: RunConfig) -> Variant:
    """Return the network as it is at inference, with ASR fused into the weights."""
    spec = request.spec
    return Variant(request.model, spec.attention, spec.asr.attention if spec.asr else "none", spec.asr is not None)
