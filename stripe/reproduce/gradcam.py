"""Where the networks of several runs look: averages of Grad-CAM over test images, and their picture."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from stripe import checkpoint, models, plots
from stripe.analysis import center_bias
from stripe.capture import Epoch, as_capture
from stripe.data import choose_images
from stripe.devices import pick_device
from stripe.gradcam import gradcam, save
from stripe.reproduce.cache import Cache, Planned, Sources
from stripe.reproduce.execution import Failures
from stripe.reproduce.plan import Plan
from stripe.reproduce.result import Result, add_note, only_run, require, scales_of
from stripe.training.config import RunConfig

__all__ = ["draw_gradcam"]


def draw_gradcam(
    plan: Plan, served: Mapping[RunConfig, Planned], failures: Failures, cache: Cache, device: str | None = None
) -> Result:
    """Draw where the networks of a plan look; the numbers are their centre biases.

    Args:
        plan: The plan of a recipe with a picture of kind ``gradcam``.
        served: The run of each request.
        failures: Runs that could not be finished.
        cache: The folder of the runs.
        device: Device on which Grad-CAM is computed.

    Raises:
        StripeError: A run is not finished, or its checkpoint damaged.
    """
    captures, rows = [], []
    for cell in plan.cells:
        planned = served[only_run(cell)]
        require(planned, failures)
        capture = as_capture(_averages(planned, cache.sources, plan.scale.gradcam, device))
        captures.append(capture)
        (layer,) = capture.gradcam.values()
        bias = center_bias(layer)
        rows.append({"network": cell.row.name, "center_bias": bias.value, "low": bias.low, "high": bias.high})
    figure = add_note(plots.gradcam(captures), plan, served)
    values = ", ".join(f"{row['center_bias']:.2f}" for row in rows)
    findings = f"The centre bias is {values} (1: looks everywhere alike; below 1: towards the centre)."
    return Result({plan.recipe.stem: figure}, pd.DataFrame(rows), findings, scales_of(plan, served, failures))


def _averages(planned: Planned, sources: Sources, count: int, device: str | None) -> Path:
    """Average Grad-CAM over test images for the predicted class, once; the maps are kept in the run's directory.

    Args:
        planned: A finished run; the maps are those of its last weights, or of the published ones.
        sources: Where the run's data comes from.
        count: Number of images; all where there are fewer.
        device: Device to compute on.

    Returns:
        The file of the maps, ``gradcam-<images>.h5``.

    Raises:
        StripeError: The data is not there, a checkpoint is damaged, or the network has no last stage.
    """
    path = planned.path / f"gradcam-{count}.h5"
    if path.exists():
        return path
    request, data = planned.request, sources.load(planned.request)
    if request.recipe is None:
        model = models.build(request.model, attention=request.attention, pretrained=True)
        mean, std = models.native_normalization(request.model)
        data, epoch, weights = replace(data, mean=mean, std=std), Epoch(0), "published"
        scale = "published weights"
    else:
        last = planned.run.checkpoints[-1]
        model = checkpoint.restore(checkpoint.read(last))
        epoch, weights = Epoch.of_file(request.epochs, last), "checkpoints"
        scale = planned.run.scale
    chosen = choose_images(data.test.labels, min(count, len(data.test)), request.seed)
    averaged = gradcam(model.to(pick_device(device)), data.test.loader(64, indices=chosen), preprocess=data.normalize)
    about = {"model": request.model, "attention": request.attention, "data": data.spec, "classes": list(data.classes)}
    return save(
        averaged,
        path,
        attrs={**about, "weights": weights, "split": "test", "seed": request.seed, "scale": scale},
        epoch=epoch,
        paths=[data.test.paths[index] for index in chosen],
    )
