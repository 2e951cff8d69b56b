"""Figures of plans whose runs are finished, with the numbers that they show and captions that say their scale."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from stripe import checkpoint, models, plots
from stripe.analysis import center_bias
from stripe.capture import Epoch, as_capture
from stripe.data import ImageSize, choose_images, write_size
from stripe.devices import pick_device
from stripe.errors import StripeError
from stripe.gradcam import gradcam, save
from stripe.plots.comparison import comparison
from stripe.plots.figure import StripeFigure
from stripe.plots.style import styled
from stripe.reproduce import networks, tables
from stripe.reproduce.cache import Cache, Found, Planned, Sources
from stripe.reproduce.execution import Failures
from stripe.reproduce.findings import findings_of
from stripe.reproduce.plan import Cell, Plan
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
    """Draw what a run recorded, or what several did side by side."""
    assert plan.recipe.draw is not None
    captures, found = [], []
    for cell in plan.cells:
        planned = served[_only(cell)]
        _require(planned, failures)
        capture = as_capture(planned.path / "capture.h5")
        capture.tree.encoding["source"] = f"{planned.path.name}/capture.h5"
        captures.append(capture)
        found.append(findings_of(plan.recipe.draw.kind, capture))
    options = plan.recipe.draw.options
    if len(captures) == 1:
        figure = plots.draw(plan.recipe.draw.kind, captures[0], **options)
        table, findings = found[0]
    else:
        figure = plots.beside(plan.recipe.draw.kind, captures, **options)
        names = [f"{cell.row.group} {cell.row.name}".strip() for cell in plan.cells]
        parts = [table.assign(run=name) for name, (table, _) in zip(names, found, strict=True)]
        table = pd.concat(parts, ignore_index=True)
        table = table[["run", *(column for column in table if column != "run")]]
        findings = " ".join(f"{name}: {text}" for name, (_, text) in zip(names, found, strict=True))
    scales = tuple(dict.fromkeys(capture.scale for capture in captures))
    return Drawn({plan.recipe.stem: _add_note(figure, plan, served)}, table, findings, scales)


def _gradcam(
    plan: Plan, served: Mapping[RunConfig, Planned], cache: Cache, failures: Failures, device: str | None
) -> Drawn:
    """Draw where the networks of several runs look; the numbers are their centre biases."""
    captures, rows = [], []
    for cell in plan.cells:
        planned = served[_only(cell)]
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
    """Draw numbers beside the paper's, one picture for each measure; counts are left to the page."""
    assert plan.recipe.draw is not None
    trained = tables.of_runs(plan, served, failures, cache.sources, device=device)
    timed = networks.speeds(plan, cache.folder, cache.sources, device)
    table = pd.concat(
        [trained, networks.of_networks(plan, timed, cache.sources, cache.folder)], ignore_index=True
    ).reindex(columns=trained.columns)
    scales = _scales(plan, served, failures)
    options: dict[str, Any] = {**plan.recipe.draw.options, "caption": " · ".join([scale_note(plan, served), *scales])}
    options["here"] = f"here, {plan.scale.name} scale"
    figures: dict[str, StripeFigure] = {}
    for metric in dict.fromkeys(map(str, table["metric"])):
        part = table[(table["metric"] == metric) & ((table["problem"] == "") | table["best"].notna())]
        if metric in ("parameters", "added_parameters", "flops") or part["best"].isna().all():
            continue
        name = plan.recipe.stem if not figures else f"{plan.recipe.stem}-{metric}"
        figures[name] = comparison(part, axis=_axis(metric, plan, served), **options)
    if not figures:
        raise StripeError("none of its runs is finished, so there is nothing to compare.")
    counted = table["metric"].isin(("parameters", "added_parameters", "flops")).any()
    scales += (_where(timed),) if timed else ()
    scales += ("parameters and FLOPs: of the paper's own networks",) if counted else ()
    return Drawn(figures, table, "", scales)


def _axis(metric: str, plan: Plan, served: Mapping[RunConfig, Planned]) -> str:
    """Return what a measure is called, with its unit."""
    if metric in ("top5", "speed"):
        return {"top5": "top-5 accuracy (%)", "speed": "images per second"}[metric]
    finished = (served[request] for request in plan.requests if served[request].state == "cached")
    return next(planned.run.scoring.axis(metric) for planned in finished)


def _speed(
    plan: Plan, served: Mapping[RunConfig, Planned], cache: Cache, failures: Failures, device: str | None
) -> Drawn:
    """Draw speeds and sizes beside the paper's, with accuracies where the picture shows both."""
    assert plan.recipe.draw is not None
    measured = networks.speeds(plan, cache.folder, cache.sources, device)
    table = networks.of_networks(plan, measured, cache.sources, cache.folder)
    figures = {}
    runs = list({served[request].path: served[request] for request in plan.requests}.values())
    for size, speeds in measured.items():
        name = plan.recipe.stem if len(measured) == 1 else f"{plan.recipe.stem}-{write_size(size)}px"
        shown = networks.with_accuracies(speeds, runs) if plan.recipe.draw.kind == "tradeoff" else speeds
        figures[name] = _add_note(plots.draw(plan.recipe.draw.kind, shown), plan, served)
    if runs:
        trained = tables.of_runs(plan, served, failures, cache.sources, device=device)
        table = pd.concat([table, trained], ignore_index=True)
    return Drawn(figures, table, "", (*_scales(plan, served, failures), _where(measured)))


def _where(measured: Mapping[ImageSize, pd.DataFrame]) -> str:
    """Return on what speeds were measured."""
    first = next(iter(measured.values())).attrs
    return f"speeds: {first['processor']}, {first['precision']}, {first['batch_size']} images a pass"


def _scales(plan: Plan, served: Mapping[RunConfig, Planned], failures: Failures) -> tuple[str, ...]:
    """Return the scales at which the finished runs were made, and the number of seeds."""
    finished = [served[request] for request in plan.requests if served[request].path.name not in failures]
    seeds = {request.seed for request in plan.requests}
    scales = dict.fromkeys(planned.run.scale for planned in finished)
    return (*scales, f"{len(seeds)} {'seed' if len(seeds) == 1 else 'seeds'}") if seeds else ()


def _only(cell: Cell) -> RunConfig:
    """Return the one run of a cell of a figure.

    Raises:
        StripeError: There is none.
    """
    if not cell.requests:
        raise StripeError(f"{cell.row.name}: {cell.problem}")
    return cell.requests[0]


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
