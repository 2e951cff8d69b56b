"""Figures of plans whose runs are finished, with the numbers that they show and captions that say their scale."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from stripe import plots
from stripe.capture import as_capture
from stripe.data import ImageSize, write_size
from stripe.errors import StripeError
from stripe.plots.comparison import comparison
from stripe.plots.figure import StripeFigure
from stripe.reproduce import networks, tables
from stripe.reproduce.cache import Cache, Planned
from stripe.reproduce.execution import Failures
from stripe.reproduce.findings import differences, findings_of
from stripe.reproduce.gradcam import draw_gradcam
from stripe.reproduce.plan import Plan
from stripe.reproduce.result import Result, add_note, only_run, require, scale_note, scales_of
from stripe.reproduce.search import draw_search
from stripe.reproduce.transfer import draw_transfer
from stripe.training.config import RunConfig

__all__ = ["draw"]


def draw(
    plan: Plan, served: Mapping[RunConfig, Planned], cache: Cache, failures: Failures, *, device: str | None = None
) -> Result:
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
        return draw_gradcam(plan, served, failures, cache, device)
    if kind == "search":
        return draw_search(plan, served, failures)
    if kind == "transfer":
        return draw_transfer(plan, served, failures, cache, device)
    if not plan.recipe.is_table:
        return _capture(plan, served, failures)
    if kind == "table":
        return _table(plan, served, cache, failures, device)
    return _speed(plan, served, cache, failures, device)


def _capture(plan: Plan, served: Mapping[RunConfig, Planned], failures: Failures) -> Result:
    """Draw what a run recorded, or what several did side by side."""
    assert plan.recipe.draw is not None
    captures, found = [], []
    for cell in plan.cells:
        planned = served[only_run(cell)]
        require(planned, failures)
        capture = as_capture(planned.path / "capture.h5")
        capture.tree.encoding["source"] = f"{planned.path.name}/capture.h5"
        captures.append(capture)
        found.append(findings_of(plan.recipe.draw.kind, capture))
    kind, options = plan.recipe.draw.kind, plan.recipe.draw.options
    if len(captures) == 1:
        figure = plots.draw(kind, captures[0], **options)
        table, findings = found[0]
    else:
        together = plots.beside if kind in plots.BESIDE else plots.draw
        figure = together(kind, captures, **options)
        names = [f"{cell.row.group} {cell.row.name}".strip() for cell in plan.cells]
        parts = [table.assign(run=name) for name, (table, _) in zip(names, found, strict=True)]
        table = pd.concat(parts, ignore_index=True)
        table = table[["run", *(column for column in table if column != "run")]]
        findings = " ".join(f"{name}: {text}" for name, (_, text) in zip(names, found, strict=True))
    scales = tuple(dict.fromkeys(capture.scale for capture in captures))
    return Result({plan.recipe.stem: add_note(figure, plan, served)}, table, findings, scales)


def _table(
    plan: Plan, served: Mapping[RunConfig, Planned], cache: Cache, failures: Failures, device: str | None
) -> Result:
    """Draw numbers beside the paper's, one picture for each measure; counts are left to the page."""
    assert plan.recipe.draw is not None
    trained = tables.of_runs(plan, served, failures, cache.sources, device=device)
    timed = networks.speeds(plan, cache.folder, cache.sources, device)
    table = pd.concat(
        [trained, networks.of_networks(plan, timed, cache.sources, cache.folder)], ignore_index=True
    ).reindex(columns=trained.columns)
    scales = scales_of(plan, served, failures)
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
    return Result(figures, table, differences(table) if "control" in table else "", scales)


def _axis(metric: str, plan: Plan, served: Mapping[RunConfig, Planned]) -> str:
    """Return what a measure is called, with its unit."""
    if metric in ("top5", "speed"):
        return {"top5": "top-5 accuracy (%)", "speed": "images per second"}[metric]
    finished = (served[request] for request in plan.requests if served[request].state == "cached")
    return next(planned.run.scoring.axis(metric) for planned in finished)


def _speed(
    plan: Plan, served: Mapping[RunConfig, Planned], cache: Cache, failures: Failures, device: str | None
) -> Result:
    """Draw speeds and sizes beside the paper's, with accuracies where the picture shows both."""
    assert plan.recipe.draw is not None
    measured = networks.speeds(plan, cache.folder, cache.sources, device)
    table = networks.of_networks(plan, measured, cache.sources, cache.folder)
    figures = {}
    runs = list({served[request].path: served[request] for request in plan.requests}.values())
    for size, speeds in measured.items():
        name = plan.recipe.stem if len(measured) == 1 else f"{plan.recipe.stem}-{write_size(size)}px"
        shown = networks.with_accuracies(speeds, runs) if plan.recipe.draw.kind == "tradeoff" else speeds
        figures[name] = add_note(plots.draw(plan.recipe.draw.kind, shown), plan, served)
    if runs:
        trained = tables.of_runs(plan, served, failures, cache.sources, device=device)
        table = pd.concat([table, trained], ignore_index=True)
    return Result(figures, table, "", (*scales_of(plan, served, failures), _where(measured)))


def _where(measured: Mapping[ImageSize, pd.DataFrame]) -> str:
    """Return on what speeds were measured."""
    first = next(iter(measured.values())).attrs
    return f"speeds: {first['processor']}, {first['precision']}, {first['batch_size']} images a pass"
