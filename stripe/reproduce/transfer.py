"""Held-out images in another style, by several networks, and how much of content and style each has lost."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch
from torch import nn

from stripe import checkpoint, plots
from stripe.adapter import batch_of
from stripe.analysis import mean_interval
from stripe.data import Data
from stripe.devices import pick_device
from stripe.reproduce.cache import Cache, Planned
from stripe.reproduce.execution import Failures
from stripe.reproduce.job import located
from stripe.reproduce.plan import Plan
from stripe.reproduce.result import Result, add_note, only_run, require, scales_of
from stripe.tasks import Task, named
from stripe.training import Compute
from stripe.training.config import RunConfig

__all__ = ["draw_transfer"]

LOSSES = ("content", "style")

Losses = dict[str, list[float]]


def draw_transfer(
    plan: Plan, served: Mapping[RunConfig, Planned], failures: Failures, cache: Cache, device: str | None = None
) -> Result:
    """Draw what the networks of a plan make of images, and measure the losses over all held-out images.

    Args:
        plan: The plan of a recipe with a picture of kind ``transfer``.
        served: The run of each request.
        failures: Runs that could not be finished.
        cache: The folder of the runs.
        device: Device on which the losses are computed.

    Raises:
        StripeError: A run is not finished, or its checkpoint damaged.
    """
    assert plan.recipe.draw is not None
    compute = Compute.on(pick_device(device), "float32")
    rows: list[dict[str, Any]] = []
    runs = []
    about = ""
    for cell in plan.cells:
        planned = served[only_run(cell)]
        require(planned, failures)
        runs.append(planned.run)
        data = cache.sources.load(planned.request)
        model = compute.place(checkpoint.restore(checkpoint.read(planned.run.checkpoints[-1]))).eval()
        config = located(planned.request, cache.folder)
        task = named(config.task_name, data, config.task_args)
        task.prepare(model, data, compute)
        losses = _losses(model, task, data, compute)
        rows.append({"network": cell.row.name, "images": len(data.test), **_means(losses)})
        about = about or _about(task)
    figure = add_note(plots.draw("transfer", runs, **plan.recipe.draw.options), plan, served)
    said = "; ".join(f"{row['network']} {row['content']:.3g} and {row['style']:.3g}" for row in rows)
    findings = f"Mean content and style loss over the held-out images: {said}; with 95 % intervals over images below."
    return Result({plan.recipe.stem: figure}, pd.DataFrame(rows), findings, (about, *scales_of(plan, served, failures)))


def _losses(model: nn.Module, task: Task, data: Data, compute: Compute) -> Losses:
    """Return content and style loss of every test image."""
    found: Losses = {name: [] for name in LOSSES}
    with torch.no_grad():
        for batch in task.needed(data).test.loader(50):
            images, _ = task.collate(*batch)
            styled = task.forward(model, batch_of(compute.input(data, images.to(compute.device)), model), None)
            for name, values in found.items():
                values += styled.losses[name].tolist()
    return found


def _means(losses: Losses) -> dict[str, float]:
    """Return the mean of each loss over the images, with its 95 % interval by Student's t."""
    means: dict[str, float] = {}
    for name, values in losses.items():
        found = mean_interval(values)
        means |= {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}
    return means


def _about(task: Task) -> str:
    """Return which picture gave the style, and which network compares."""
    settings = task.settings() or {}
    perceptual = settings.get("perceptual", {})
    trained = f"trained on {perceptual['data']}" if "data" in perceptual else "published weights"
    return f"style: {settings['options']['style']}, features: {perceptual.get('model')} ({trained})"
