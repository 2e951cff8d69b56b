"""What spatial attention does to images: its input, its weights and its output, for several networks side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

from stripe import checkpoint
from stripe.adapter import batch_of
from stripe.adapter import run as run_network
from stripe.attention.base import Attention
from stripe.data import Data, choose_images
from stripe.devices import pick_device
from stripe.errors import StripeError
from stripe.names import matching
from stripe.plots.figure import StripeFigure
from stripe.plots.style import styled
from stripe.reproduce.cache import Cache, Planned
from stripe.reproduce.drawn import Drawn, only_run, require, scale_note, scales_of
from stripe.reproduce.execution import Failures
from stripe.reproduce.plan import Plan
from stripe.training import Compute
from stripe.training.config import RunConfig

__all__ = ["draw_maps"]

SHOWN = 3
"""Images that are drawn, if the recipe does not say how many."""

MEASURED = 200
"""Images over which weights are compared with the input."""

Array = npt.NDArray[np.float32]
Maps = dict[str, Array]
"""``input`` and ``output``, means over the channels, and ``weight``, each (image, height, width)."""


def draw_maps(
    plan: Plan, served: Mapping[RunConfig, Planned], failures: Failures, cache: Cache, device: str | None = None
) -> Drawn:
    """Draw a row for each image: the image and, for each network, what goes into a module, its weights, what comes out.

    The number of a network is the correlation over the positions between the weights and the size of the map, the root
    of its mean square over the channels; its mean over test images.

    Args:
        plan: The plan of a recipe with a picture of kind ``maps``, whose option ``site`` names the module.
        served: The run of each request.
        failures: Runs that could not be finished.
        cache: The folder of the runs.
        device: Device to compute on.

    Raises:
        StripeError: A run is not finished or has no such module, or its gate is not spatial.
    """
    assert plan.recipe.draw is not None
    site, count = plan.recipe.draw.options.get("site", "*"), int(plan.recipe.draw.options.get("images", SHOWN))
    compute = Compute.on(pick_device(device), "float32")
    found: dict[str, Maps] = {}
    rows: list[dict[str, Any]] = []
    for cell in plan.cells:
        planned = served[only_run(cell)]
        require(planned, failures)
        data = cache.sources.load(planned.request)
        model = compute.place(checkpoint.restore(checkpoint.read(planned.run.checkpoints[-1]))).eval()
        chosen = choose_images(data.test.labels, min(MEASURED, len(data.test)), seed=0)
        images = torch.cat([batch for batch, _ in data.test.loader(50, indices=chosen)])
        name, maps, size = _pass(model, site, images, data, compute)
        found[cell.row.name] = maps
        alike = _correlations(maps["weight"], size)
        rows.append(
            {
                "network": cell.row.name,
                "site": name,
                "images": len(images),
                "mean_weight": float(maps["weight"].mean()),
                "correlation_with_size": float(np.nanmean(alike)),
            }
        )
    step = max(1, len(images) // count)  # of all classes, by which they are sorted
    figure = _draw(images[::step][:count].numpy(), {n: {k: v[::step] for k, v in m.items()} for n, m in found.items()})
    scales = scales_of(plan, served, failures)
    notes = ["input and output: means over the channels", "each panel has its own scale, bright is high"]
    with styled("paper"):
        figure.caption(" · ".join([scale_note(plan, served), rows[0]["site"], *scales, *notes]))
    said = ", ".join(f"{row['correlation_with_size']:+.2f} {row['network']}" for row in rows)
    findings = f"Over the positions of an image, the weights correlate with the size of the map by {said}."
    return Drawn({plan.recipe.stem: figure}, pd.DataFrame(rows), findings, scales)


def _pass(model: nn.Module, site: str, images: Tensor, data: Data, compute: Compute) -> tuple[str, Maps, Array]:
    """Return the name of a module, its maps for the images, and the size of its input at each position."""
    modules = {name: module for name, module in model.named_modules() if isinstance(module, Attention)}
    if not modules:
        raise StripeError("the network has no attention whose maps could be drawn.")
    name = matching(modules, site, "the network")[-1]
    module, parts = modules[name], []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        (x,) = inputs
        gate = module.gate(x)
        if gate.shape[1] != 1:
            raise StripeError(f"the gate of {name} has a value for each channel; maps are drawn of spatial ones.")
        parts.append([x.mean(1), gate[:, 0], output.mean(1), x.square().mean(1).sqrt()])

    handle = module.register_forward_hook(keep)
    try:
        with torch.no_grad():
            for part in torch.split(images, 50):
                run_network(model, batch_of(compute.input(data, part.to(compute.device)), model))
    finally:
        handle.remove()
    before, weight, after, size = (torch.cat(each).cpu().numpy() for each in zip(*parts, strict=True))
    return name, {"input": before, "weight": weight, "output": after}, size


def _correlations(weights: Array, sizes: Array) -> npt.NDArray[np.float64]:
    """Return the correlation over the positions for each image, NaN where one of the two is flat."""
    flat = [each.reshape(len(each), -1).astype(np.float64) for each in (weights, sizes)]
    one, other = (each - each.mean(1, keepdims=True) for each in flat)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((one * other).sum(1) / np.sqrt((one**2).sum(1) * (other**2).sum(1)))


def _draw(images: npt.NDArray[np.uint8], found: Mapping[str, Maps]) -> StripeFigure:
    parts: Sequence[str] = ("input", "weight", "output")
    across = 1 + len(parts) * len(found)
    drawn: dict[str, Any] = {"kind": "maps", "networks": list(found), "images": len(images)}
    with styled("paper") as settings:
        figure = StripeFigure(settings, 1.05 * across, 1.1 * len(images) + 0.9, drawn)
        grid = figure.subplots(len(images), across, squeeze=False)
        for axes in grid.flat:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        for row, image in zip(grid, images, strict=True):
            row[0].imshow(image.transpose(1, 2, 0), interpolation="nearest")
        for number, (name, maps) in enumerate(found.items()):
            for place, part in enumerate(parts, 1 + len(parts) * number):
                for row, values in zip(grid, maps[part], strict=False):
                    row[place].imshow(values, interpolation="nearest")
                grid[0][place].set_title(f"{name}\n{part}" if part == parts[0] else part, loc="left", fontsize="small")
        return figure
