"""Figures of plans whose runs are finished, with the numbers that they show and captions that say their scale."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from stripe import checkpoint, models, plots
from stripe.analysis import center_bias
from stripe.capture import Epoch, as_capture
from stripe.data import choose_images, write_size
from stripe.devices import pick_device
from stripe.errors import StripeError
from stripe.gradcam import gradcam, save
from stripe.plots.comparison import comparison
from stripe.plots.figure import StripeFigure
from stripe.plots.style import styled
from stripe.reproduce import tables
from stripe.reproduce.cache import Cache, Found, Planned, Sources
from stripe.reproduce.execution import Failures
from stripe.reproduce.findings import findings_of
from stripe.reproduce.plan import Plan
from stripe.training.config import RunConfig

__all__ = ["Drawn", "draw", "scale_note"]


@dataclass(frozen=True)
class Drawn:
    """The pictures and numbers of a recipe.

    Attributes:
        figures: The pictures, by the names of their files without an ending.
        table: The numbers, beside the paper's where the paper has some.
        findings: A sentence about what the numbers say; ``""`` for a table that speaks for itself.
        scales: The scales at which the runs were made, in words.
    """

    figures: Mapping[str, StripeFigure]
    table: pd.DataFrame
    findings: str = ""
    scales: tuple[str, ...] = field(default=())


def draw(
    plan: Plan, served: Mapping[RunConfig, Planned], cache: Cache, failures: Failures, *, device: str | None = None
) -> Drawn:
    """Draw the figures of a plan.

    Args:
        plan: The plan of a recipe.
        served: The run of each request.
        cache: The folder of the runs; tables of speeds are kept there, too.
        failures: Runs that could not be finished. They leave gaps in a table; a figure of such a run cannot be drawn.
        device: Device on which speeds, top-5 accuracies and Grad-CAM are computed.

    Raises:
        StripeError: A run that a figure shows is not finished, or its file is damaged.
    """
    kind = plan.recipe.draw.kind if plan.recipe.draw else ""
    if kind == "gradcam":
        return _gradcam(plan, served, cache, failures, device)
    if not plan.recipe.is_table:
        return _capture(plan, served, failures)
    if kind == "table":
        return _table(plan, served, cache, failures, device)
    return _speed(plan, served, cache, failures, device)


def _capture(plan: Plan, served: Mapping[RunConfig, Planned], failures: Failures) -> Drawn:
    """Draw what one run recorded."""
    assert plan.recipe.draw is not None
    planned = served[plan.requests[0]]
    _require(planned, failures)
    capture = as_capture(planned.path / "capture.h5")
    capture.tree.encoding["source"] = f"{planned.path.name}/capture.h5"
    figure = plots.draw(plan.recipe.draw.kind, capture, **plan.recipe.draw.options)
    table, findings = findings_of(plan.recipe.draw.kind, capture)
    return Drawn({plan.recipe.stem: _add_note(figure, plan, served)}, table, findings, (capture.scale,))


def _gradcam(
    plan: Plan, served: Mapping[RunConfig, Planned], cache: Cache, failures: Failures, device: str | None
) -> Drawn:
    """Draw where the networks of several runs look; the numbers are their centre biases."""
    captures, rows = [], []
    for cell in plan.cells:
        planned = served[cell.requests[0]]
        _require(planned, failures)
        capture = as_capture(_averages(planned, cache.sources, plan.scale.gradcam, device=device))
        captures.append(capture)
        (layer,) = capture.gradcam.values()
        bias = center_bias(layer)
        rows.append({"network": cell.row.name, "center_bias": bias.value, "low": bias.low, "high": bias.high})
    figure = _add_note(plots.gradcam(captures), plan, served)
    values = ", ".join(f"{row['center_bias']:.2f}" for row in rows)
    findings = f"The centre bias is {values} (1: looks everywhere alike; below 1: towards the centre)."
    return Drawn({plan.recipe.stem: figure}, pd.DataFrame(rows), findings, _scales(plan, served, failures))


def _table(
    plan: Plan, served: Mapping[RunConfig, Planned], cache: Cache, failures: Failures, device: str | None
) -> Drawn:
    """Draw accuracies beside the paper's: one picture of top-1 accuracies, and one of top-5."""
    assert plan.recipe.draw is not None
    table = tables.of_runs(plan, served, failures, cache.sources, device=device)
    scales = _scales(plan, served, failures)
    options: dict[str, Any] = {**plan.recipe.draw.options, "caption": " · ".join([scale_note(plan, served), *scales])}
    options["here"] = f"here, {plan.scale.name} scale"
    figures = {
        plan.recipe.stem if metric == "accuracy" else f"{plan.recipe.stem}-{metric}": comparison(
            table[table["metric"] == metric], **options
        )
        for metric in dict.fromkeys(map(str, table["metric"]))
    }
    return Drawn(figures, table, "", scales)


def _speed(
    plan: Plan, served: Mapping[RunConfig, Planned], cache: Cache, failures: Failures, device: str | None
) -> Drawn:
    """Draw speeds and sizes beside the paper's, with accuracies where the picture shows both."""
    assert plan.recipe.draw is not None
    measured = tables.speeds(plan, cache.folder, cache.sources, device)
    table = tables.of_networks(plan, measured, cache.sources)
    figures = {}
    runs = list({served[request].path: served[request] for request in plan.requests}.values())
    for size, speeds in measured.items():
        name = plan.recipe.stem if len(measured) == 1 else f"{plan.recipe.stem}-{write_size(size)}px"
        shown = tables.with_accuracies(speeds, runs) if plan.recipe.draw.kind == "tradeoff" else speeds
        figures[name] = _add_note(plots.draw(plan.recipe.draw.kind, shown), plan, served)
    if runs:
        trained = tables.of_runs(plan, served, failures, cache.sources, device=device)
        table = pd.concat([table, trained], ignore_index=True)
    first = next(iter(measured.values())).attrs
    where = f"speeds: {first['processor']}, {first['precision']}, {first['batch_size']} images a pass"
    return Drawn(figures, table, "", (*_scales(plan, served, failures), where))


def _scales(plan: Plan, served: Mapping[RunConfig, Planned], failures: Failures) -> tuple[str, ...]:
    """Return the scales at which the finished runs were made, and the number of seeds."""
    finished = [served[request] for request in plan.requests if served[request].path.name not in failures]
    seeds = {request.seed for request in plan.requests}
    scales = dict.fromkeys(planned.run.scale for planned in finished)
    return (*scales, f"{len(seeds)} {'seed' if len(seeds) == 1 else 'seeds'}") if seeds else ()


def _require(planned: Planned, failures: Failures) -> None:
    name = planned.path.name
    if name in failures:
        raise StripeError(f"its run {name} could not be finished: {failures[name]}")
    if planned.state != "cached":
        raise StripeError(f"its run {name} is not finished ({planned.done} of {planned.request.epochs} epochs).")


def _averages(planned: Planned, sources: Sources, count: int, *, device: str | None = None) -> Path:
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


def scale_note(plan: Plan, served: Mapping[RunConfig, Planned]) -> str:
    """Return the scale and all that differs from the paper, as ``quick scale: resnet20 instead of resnet83``."""
    instead: dict[str, list[str]] = {}
    for used, asked in plan.instead:
        instead.setdefault(used, []).append(asked)
    parts = [f"{used} instead of {', '.join(asked)}" for used, asked in instead.items()]
    parts += dict.fromkeys(_part(served[request].found) for request in plan.requests)
    parts += [f"without {', '.join(plan.left_out)} (the same runs)"] if plan.left_out else []
    parts = [part for part in parts if part]
    return f"{plan.scale.name} scale" + (f": {', '.join(parts)}" if parts else "")


def _add_note(figure: StripeFigure, plan: Plan, served: Mapping[RunConfig, Planned]) -> StripeFigure:
    """Put the scale before the caption of a picture."""
    text = figure.get_supxlabel().replace("\n", " ")  # as the caption was wrapped
    with styled("paper"):
        figure.caption(" · ".join(part for part in (scale_note(plan, served), text) if part))
    return figure


def _part(found: Found) -> str:
    """Return which part of a data set was used, in words; ``""`` for the whole."""
    counts = {"training": found.attrs.get("train_images"), "test": found.attrs.get("test_images")}
    words = [f"{count:,} {split}" for split, count in counts.items() if count is not None]
    return f"with {' and '.join(words)} images of the data set" if words else ""
