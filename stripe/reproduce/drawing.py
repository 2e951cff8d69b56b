"""A plan whose runs are finished, as pictures and numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from stripe import plots
from stripe.analysis import center_bias
from stripe.capture import open_capture
from stripe.errors import StripeError
from stripe.plots.comparison import comparison
from stripe.plots.figure import StripeFigure
from stripe.reproduce import measuring, numbers
from stripe.reproduce.cache import Cache, Planned
from stripe.reproduce.captions import add_note, scale_note
from stripe.reproduce.executing import Failures
from stripe.reproduce.looking import averages
from stripe.reproduce.plan import Plan
from stripe.reproduce.scoring import top5
from stripe.training.config import RunConfig

__all__ = ["Drawn", "draw"]


@dataclass(frozen=True)
class Drawn:
    """What a recipe gave.

    Attributes:
        figures: Name of the file, without ending → picture.
        table: The numbers, beside the paper's where it has some.
        findings: What they say, in a sentence; ``""`` for a table that speaks for itself.
        scales: At what scale the runs were made, in words.
    """

    figures: Mapping[str, StripeFigure]
    table: pd.DataFrame
    findings: str = ""
    scales: tuple[str, ...] = field(default=())


def draw(
    plan: Plan, served: Mapping[RunConfig, Planned], cache: Cache, failures: Failures, *, device: str | None = None
) -> Drawn:
    """Draw a recipe.

    Args:
        plan: Its plan.
        served: The run of each request.
        cache: Where the runs lie; tables of speeds are kept there as well.
        failures: Runs that could not be finished. A table has gaps then, a figure cannot be drawn.
        device: Where to measure what is measured now.

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
    """A picture of what one run recorded."""
    assert plan.recipe.draw is not None
    planned = served[plan.requests[0]]
    _require(planned, failures)
    tree = open_capture(planned.path / "capture.h5")
    tree.encoding["source"] = f"{planned.path.name}/capture.h5"
    figure = plots.draw(plan.recipe.draw.kind, tree, **plan.recipe.draw.options)
    table, findings = numbers.of_capture(plan.recipe.draw.kind, tree)
    return Drawn({plan.recipe.name: add_note(figure, plan, served)}, table, findings, (str(tree.attrs["scale"]),))


def _gradcam(
    plan: Plan, served: Mapping[RunConfig, Planned], cache: Cache, failures: Failures, device: str | None
) -> Drawn:
    """Where the networks of several runs look; the number is how far from the centre."""
    trees, rows = [], []
    for cell in plan.cells:
        planned = served[cell.requests[0]]
        _require(planned, failures)
        tree = open_capture(averages(planned, cache.sources, plan.scale.gradcam, device=device))
        trees.append(tree)
        (layer,) = tree["gradcam"].children.values()
        bias = center_bias(layer.to_dataset())
        rows.append({"network": cell.row.name, "center_bias": bias.value, "low": bias.low, "high": bias.high})
    figure = add_note(plots.gradcam(trees), plan, served)
    values = ", ".join(f"{row['center_bias']:.2f}" for row in rows)
    findings = f"The centre bias is {values} (1: looks everywhere alike; below 1: towards the centre)."
    return Drawn({plan.recipe.name: figure}, pd.DataFrame(rows), findings, _scales(plan, served, failures))


def _table(
    plan: Plan, served: Mapping[RunConfig, Planned], cache: Cache, failures: Failures, device: str | None
) -> Drawn:
    """Accuracies beside the paper's: a panel for top-1, and a picture of its own for top-5."""
    assert plan.recipe.draw is not None
    table = numbers.of_runs(plan, served, failures, {"top5": lambda run: top5(run, cache.sources, device=device)})
    scales = _scales(plan, served, failures)
    options: dict[str, Any] = {**plan.recipe.draw.options, "caption": " · ".join([scale_note(plan, served), *scales])}
    options["here"] = f"here, {plan.scale.name} scale"
    figures = {
        plan.recipe.name if metric == "accuracy" else f"{plan.recipe.name}-{metric}": comparison(
            table[table["metric"] == metric], **options
        )
        for metric in dict.fromkeys(map(str, table["metric"]))
    }
    return Drawn(figures, table, "", scales)


def _speed(
    plan: Plan, served: Mapping[RunConfig, Planned], cache: Cache, failures: Failures, device: str | None
) -> Drawn:
    """Speeds and sizes beside the paper's, with accuracies where the picture is of both."""
    assert plan.recipe.draw is not None
    measured = measuring.speeds(plan, cache.folder, cache.sources, device)
    table = measuring.of_networks(plan, measured, cache.sources)
    figures = {}
    runs = list({served[request].path: served[request] for request in plan.requests}.values())
    for size, speeds in measured.items():
        name = plan.recipe.name if len(measured) == 1 else f"{plan.recipe.name}-{size}px"
        shown = measuring.with_accuracies(speeds, runs) if plan.recipe.draw.kind == "tradeoff" else speeds
        figures[name] = add_note(plots.draw(plan.recipe.draw.kind, shown), plan, served)
    if runs:
        table = pd.concat([table, numbers.of_runs(plan, served, failures, {})], ignore_index=True)
    first = next(iter(measured.values())).attrs
    where = f"speeds: {first['processor']}, {first['precision']}, {first['batch_size']} images a pass"
    return Drawn(figures, table, "", (*_scales(plan, served, failures), where))


def _scales(plan: Plan, served: Mapping[RunConfig, Planned], failures: Failures) -> tuple[str, ...]:
    """At what scales the finished runs were made."""
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
