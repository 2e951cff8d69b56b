"""Runs on a dask cluster: one GPU a run where workers declare them, and dead workers replaced."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from stripe.errors import StripeError
from stripe.reproduce.executing import ATTEMPTS, Failures, Watch
from stripe.reproduce.work import Job, perform

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["on_cluster"]

TIMEOUT = 15
"""Seconds until a scheduler must have answered."""


def on_cluster(jobs: Sequence[Job], scheduler: str, watch: Watch, *, timeout: float = TIMEOUT) -> Failures:
    """Send the runs to a dask cluster and wait for them.

    Each takes one ``GPU`` of the workers' resources, where any declares them. A run whose worker dies is given to
    another one and goes on after its last finished epoch, so the folder of the runs must be the same for all.

    Args:
        jobs: What to compute; their paths and data are those of the workers.
        scheduler: Its address, as ``tcp://host:8786``.
        watch: Who is told.
        timeout: Seconds until the scheduler must have answered.

    Raises:
        StripeError: dask.distributed is not installed, no scheduler answers, or it has no workers.
    """
    with _connected(scheduler, timeout) as client:
        from distributed import as_completed

        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        if not workers:
            raise StripeError(
                f"The scheduler at {scheduler} has no workers; start some with `dask worker {scheduler}`."
            )
        resources = {"GPU": 1} if any("GPU" in worker["resources"] for worker in workers) else None
        futures = {
            client.submit(perform, job, key=f"stripe-{job.name}", pure=False, retries=1, resources=resources): job
            for job in jobs
        }
        failures = {}
        for future in as_completed(futures, loop=client.loop):
            job, error = futures[future], future.exception() if future.status != "finished" else None
            problem = "" if error is None else _problem(error)
            if problem:
                failures[job.name] = problem
            watch.end(job, problem)
        return failures


@contextmanager
def _connected(scheduler: str, timeout: float) -> Iterator["Client"]:
    try:
        from distributed import Client
    except ImportError:
        raise StripeError(
            "scheduler= needs dask.distributed, which is not installed: pip install 'stripe-observation[cluster]'."
        ) from None
    if "://" not in scheduler:
        raise StripeError(f"scheduler={scheduler!r} is no address; give one such as tcp://host:8786.")
    try:
        client = Client(scheduler, timeout=timeout, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        reason = str(error).partition("\n")[0]
        raise StripeError(
            f"No scheduler answers at {scheduler} ({reason}). Start one with `dask scheduler`, and workers, in the "
            f"same environment, with `dask worker {scheduler} --nthreads 1 --resources GPU=1`."
        ) from None
    try:
        yield client
    finally:
        client.close()


def _problem(error: Any) -> str:
    if isinstance(error, StripeError):
        return str(error)
    if type(error).__name__ == "KilledWorker":
        return f"its worker died {ATTEMPTS + 1} times; the workers' logs say why. The same command goes on."
    return f"{type(error).__name__}: {error}"
