"""All of it: plan, compute what is missing, draw, write."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stripe.errors import StripeError
from stripe.reproduce.cache import Cache, Planned
from stripe.reproduce.drawing import draw
from stripe.reproduce.executing import Failures, Watch, in_processes, in_turn
from stripe.reproduce.plan import Plan
from stripe.reproduce.work import Job
from stripe.reproduce.writing import write
from stripe.training.config import RunConfig

__all__ = ["Machine", "compute", "picture"]


@dataclass(frozen=True)
class Machine:
    """What computes.

    Attributes:
        jobs: Runs side by side on this machine.
        scheduler: Address of a dask scheduler instead of this machine.
        device: As for `stripe.training.train`.
        workers: Processes that decode images.
    """

    jobs: int = 1
    scheduler: str | None = None
    device: str | None = None
    workers: int | None = None


def compute(
    served: Mapping[RunConfig, Planned], cache: Cache, machine: Machine, watch: Watch | None = None
) -> tuple[dict[RunConfig, Planned], Failures]:
    """Compute the runs that are not there.

    Args:
        served: From `Cache.plan`.
        cache: Where they are to lie.
        machine: What computes.
        watch: Who is told.

    Returns:
        The same requests with the runs as they are now, and those that could not be finished. Where data is missing,
        the runs on it are among those.

    Raises:
        StripeError: The folder cannot be written, or the scheduler does not answer.
    """
    watch = watch or Watch()
    todo = {planned.path: planned for planned in served.values() if planned.state != "cached"}
    failures = {planned.path.name: planned.found.problem for planned in todo.values() if planned.found.problem}
    jobs = [
        Job(planned.request, planned.path, cache.sources, machine.device, machine.workers)
        for planned in todo.values()
        if not planned.found.problem
    ]
    if jobs:
        _make(cache.folder)
        if cache.sources.download:  # once, before several processes try
            for job in jobs:
                cache.sources.load(job.request)
        if machine.scheduler:
            from stripe.reproduce.cluster import on_cluster

            failures |= on_cluster(jobs, machine.scheduler, watch)
        elif machine.jobs > 1:
            failures |= in_processes(jobs, machine.jobs, watch)
        else:
            failures |= in_turn(jobs, watch)
    return cache.look_again(served), failures


def picture(
    plan: Plan,
    served: Mapping[RunConfig, Planned],
    cache: Cache,
    failures: Failures,
    out: Path,
    *,
    device: str | None = None,
) -> list[Path]:
    """Draw a recipe and write it to ``OUT/<name>``.

    Raises:
        StripeError: A run that it shows is not there, or the folder cannot be written.
    """
    drawn = draw(plan, served, cache, failures, device=device)
    return write(drawn, plan, served, out / plan.recipe.name)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StripeError(f"{folder} cannot be used as a folder: {error.strerror or error}.") from error
