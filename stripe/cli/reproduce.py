"""``stripe reproduce``: the papers' figures and tables, trained as far as they are not there, and drawn."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from stripe.cli.interrupts import interruptible
from stripe.cli.options import device_option, precision_option, workers_option
from stripe.cli.planned import print_plan

if TYPE_CHECKING:
    from stripe.reproduce.cache import Cache, Planned
    from stripe.reproduce.execution import Watch
    from stripe.reproduce.plan import Plan
    from stripe.training.config import RunConfig

__all__ = ["command"]


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option(
    "--scale",
    type=click.Choice(["quick", "paper"]),
    default="quick",
    show_default=True,
    help="quick: small networks and short trainings, for a CPU; paper: as the paper did it.",
)
@click.option("--data", metavar="SPEC", help="Instead of every data set of the recipes: shapes, folder:PATH, cifar10 …")
@click.option("--data-root", type=click.Path(file_okay=False), help="Where torchvision's data sets lie.")
@click.option("--download", is_flag=True, help="Fetch data sets that are not there.")
@click.option("--model", metavar="SPEC", help="Instead of the network of a recipe that has one only.")
@click.option("--epochs", type=click.IntRange(1), help="Default: the scale's.")
@click.option("--images-per-epoch", type=click.IntRange(1), metavar="N", help="Default: the scale's.")
@click.option(
    "--seeds", type=click.IntRange(1), metavar="N", help="Runs of each network in a table. Default: the scale's."
)
@precision_option
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default="reproduction",
    show_default=True,
    help="Folder for the results; the runs lie in OUT/runs.",
)
@click.option(
    "--jobs", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="Runs side by side here."
)
@click.option("--scheduler", metavar="ADDRESS", help="Train on a dask cluster instead, as tcp://host:8786.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done, and how long it would take here.")
@device_option
@workers_option
def command(
    names: tuple[str, ...],
    scale: Literal["quick", "paper"],
    out: Path,
    data: str | None,
    data_root: str | None,
    download: bool,
    jobs: int,
    scheduler: str | None,
    dry_run: bool,
    device: str | None,
    workers: int | None,
    **changes: Any,
) -> None:
    """Draw the figures and tables of three papers, and train what they need.

    \b
    stripe reproduce list                           # which there are
    stripe reproduce fig12 --dry-run                # what it would train, and for how long
    stripe reproduce fig1 fig12 fig23 table7        # drawn into reproduction/
    stripe reproduce spsa/table1 search             # a table of another paper, and all of a third
    stripe reproduce all --scale paper --data-root /data --scheduler tcp://host:8786
    stripe reproduce mine.toml                      # a recipe of your own

    Runs are shared between figures and kept in OUT/runs; what is there is not trained again, and an interrupted
    command goes on. Each result has its numbers beside the paper's, and says its scale.
    """
    if names == ("list",):
        _list()
        return
    from stripe import reproduce
    from stripe.reproduce.cache import Sources
    from stripe.reproduce.dependencies import resolve
    from stripe.reproduce.execution import Machine, compute

    if data and data.startswith("folder:"):
        data = f"folder:{Path(data.removeprefix('folder:')).expanduser().absolute()}"
    wanted = reproduce.Changes(data=data, **changes)
    plans = [reproduce.Plan.make(recipe, scale, wanted) for recipe in reproduce.find(names)]
    ready = [plan for plan in plans if not plan.recipe.missing]
    for plan in plans:
        if plan.recipe.missing:
            click.secho(f"{plan.recipe.name}: not yet. {plan.recipe.missing}", fg="yellow", err=True)
    sources = Sources(str(Path(data_root).absolute()) if data_root else None, download)
    cache = reproduce.Cache(out.absolute() / "runs", sources, device)
    captures = {plan.scale.capture for plan in ready}
    first = cache.plan([request for plan in ready for request in plan.before])
    if dry_run:
        ready = [resolve(plan, first) for plan in ready]
        served = cache.plan([request for plan in ready for request in plan.requests], captures)
        print_plan(ready, {**first, **served}, jobs, device, sources)
        return
    machine = Machine(jobs, scheduler, device, workers)
    with interruptible():
        first, failures = compute(first, cache, machine, _watch(first))
        ready = [resolve(plan, first, failures) for plan in ready]
        served = cache.plan([request for plan in ready for request in plan.requests], captures)
        served, more = compute(served, cache, machine, _watch(served))
        failed = _draw(ready, {**first, **served}, cache, failures | more, out, device)
    if failed:
        sys.exit(1)


def _list() -> None:
    from stripe import reproduce
    from stripe.cli.tables import print_records

    found = {name: reproduce.read(path) for name, path in reproduce.recipes().items()}
    for paper, title in reproduce.PAPERS.items():
        rows = [
            {
                "name": name,
                "in the paper": recipe.source,
                "shows": recipe.title + (" (not yet)" if recipe.missing else ""),
            }
            for name, recipe in found.items()
            if recipe.paper == paper
        ]
        if rows:
            print_records(rows, "table", title=f"{paper}: {title}")


def _watch(served: "dict[RunConfig, Planned]") -> "Watch":
    """Says on standard error what is finished, and how far the others are."""
    from stripe.reproduce.execution import Watch
    from stripe.reproduce.job import Job
    from stripe.training import EpochMetrics, Run

    todo = {p.path: p for p in served.values() if p.state != "cached" and not p.found.problem}
    ended: list[str] = []
    if todo:
        click.echo(f"{len(todo)} of {len({p.path for p in served.values()})} runs are to be trained.", err=True)

    def epoch(job: Job, metrics: EpochMetrics) -> None:
        of, scoring = f"epoch {metrics.epoch} of {job.request.epochs}", Run(job.path).scoring
        score = scoring.text(getattr(metrics, f"test_{scoring.best}"))
        click.echo(f"{job.name}: {of}, test {scoring.label(scoring.best)} {score}, {metrics.seconds:.0f} s", err=True)

    def end(job: Job, problem: str) -> None:
        ended.append(job.name)
        count = f"[{len(ended)}/{len(todo)}]"
        if problem:
            click.secho(f"{count} {job.name}: {problem}", fg="red", err=True)
        else:
            click.echo(f"{count} {job.name} is finished", err=True)

    def again(job: Job) -> None:
        click.secho(f"{job.name}: its process died; going on with it in another one", fg="yellow", err=True)

    return Watch(epoch, end, again)


def _draw(
    plans: "Sequence[Plan]",
    served: "dict[RunConfig, Planned]",
    cache: "Cache",
    failures: "dict[str, str]",
    out: Path,
    device: str | None,
) -> bool:
    """Draw what can be drawn; whether anything could not."""
    from stripe.errors import StripeError
    from stripe.reproduce.output import picture

    failed = bool(failures)
    for plan in plans:
        try:
            for path in picture(plan, served, cache, failures, out, device=device):
                click.echo(path)
        except StripeError as error:
            failed = True
            click.secho(f"{plan.recipe.name}: {error}", fg="red", err=True)
    return failed
