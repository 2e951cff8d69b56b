"""Execution of runs: in turn, in several processes of this machine, or on a dask cluster."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from stripe.errors import StripeError
from stripe.reproduce.cache import Cache, Planned
from stripe.reproduce.job import Job, perform
from stripe.training import EpochMetrics
from stripe.training.config import RunConfig

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Failures", "Machine", "Watch", "compute", "on_cluster"]

ATTEMPTS = 3
"""How often a run whose process dies is begun; each time it goes on where it stopped."""

TIMEOUT = 15
"""Seconds within which a scheduler must have answered."""

Failures = dict[str, str]
"""Names of jobs that could not be finished, and the reason of each."""


@dataclass(frozen=True)
class Watch:
    """Functions that are told how far the runs are.

    Attributes:
        epoch: Called with a job and the metrics of an epoch, after each epoch.
        end: Called with a job that has ended, and ``""`` or what went wrong.
        again: Called with a job whose process died and that is taken up again.
    """

    epoch: Callable[[Job, EpochMetrics], None] = field(default=lambda job, metrics: None)
    end: Callable[[Job, str], None] = field(default=lambda job, problem: None)
    again: Callable[[Job], None] = field(default=lambda job: None)


@dataclass(frozen=True)
class Machine:
    """The machine, or the cluster, that computes.

    Attributes:
        jobs: Number of runs side by side on this machine.
        scheduler: Address of a dask scheduler, whose workers compute instead of this machine.
        device: Device to compute on, see ``stripe.training.train``.
        workers: Number of processes that decode images, for each run.
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
        served: The run of each request, as ``Cache.plan`` gives them.
        cache: Where the runs are to lie.
        machine: The machine that computes.
        watch: Functions that are told how far the runs are.

    Returns:
        The same requests with the runs as they are now, and the runs that could not be finished. Runs whose data is
        missing are among the latter.

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
            failures |= on_cluster(jobs, machine.scheduler, watch)
        elif machine.jobs > 1:
            failures |= in_processes(jobs, machine.jobs, watch)
        else:
            failures |= in_turn(jobs, watch)
    return cache.look_again(served), failures


def in_turn(jobs: Sequence[Job], watch: Watch) -> Failures:
    """Compute runs one after the other, in this process. A run that fails does not stop the others."""
    failures = {}
    for job in jobs:
        problem = ""
        try:
            perform(job, lambda metrics, job=job: watch.epoch(job, metrics))  # type: ignore[misc]
        except StripeError as error:
            problem = failures[job.name] = str(error)
        watch.end(job, problem)
    return failures


def in_processes(jobs: Sequence[Job], count: int, watch: Watch) -> Failures:
    """Compute runs in ``count`` processes, which share the cores and take turns with the GPUs.

    A process that dies, because memory was short or somebody killed it, is replaced, and its run is taken up again. A
    run is begun ``ATTEMPTS`` times at most; the others go on meanwhile.
    """
    threads = max(1, torch.get_num_threads() // count)
    waiting = [(job, 1) for job in reversed(jobs)]
    workers = {slot: _Worker(threads) for slot in range(min(count, len(jobs)))}
    busy: dict[int, tuple[Job, int]] = {}
    failures: Failures = {}
    try:
        while waiting or busy:
            for slot in workers.keys() - busy.keys():
                if waiting:
                    busy[slot] = waiting.pop()
                    workers[slot].begin(_placed(busy[slot][0], slot))
            heard = wait([workers[slot].connection for slot in busy])
            for slot in [slot for slot in busy if workers[slot].connection in heard]:
                job, attempt = busy[slot]
                what, value = workers[slot].hear()
                if what == "epoch":
                    watch.epoch(job, value)
                    continue
                del busy[slot]
                if what == "died":
                    workers[slot] = _Worker(threads)
                    if attempt < ATTEMPTS:
                        watch.again(job)
                        waiting.append((job, attempt + 1))
                        continue
                if value:
                    failures[job.name] = value
                watch.end(job, value)
    finally:
        for worker in workers.values():
            worker.end()
    return failures


class _Worker:
    """A process that computes the runs that it is given, one after the other."""

    def __init__(self, threads: int) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would share torch's threads
        self.connection, there = context.Pipe()
        self._process = context.Process(target=_work, args=(there, threads))
        self._process.start()
        there.close()  # or nobody would notice that the process is gone

    def begin(self, job: Job) -> None:
        """Give the process a run to compute."""
        with contextlib.suppress(OSError):  # it died while it had nothing to do: `hear` will say so
            self.connection.send(job)

    def hear(self) -> tuple[str, Any]:
        """Return what the process says: ``epoch`` and metrics, ``end`` and what went wrong, or ``died`` and how."""
        try:
            said: tuple[str, Any] = self.connection.recv()
        except (EOFError, OSError):
            self._process.join()
            return "died", _death(self._process.exitcode)
        return said

    def end(self) -> None:
        """Stop the process. The run that it was computing can be taken up later, after the last finished epoch."""
        self._process.terminate()
        self._process.join()
        self.connection.close()


def _work(connection: Any, threads: int) -> None:
    """Compute runs as the connection gives them; this is the main function of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first process ends the others
    threading.Thread(target=_follow, daemon=True).start()
    torch.set_num_threads(threads)
    while True:
        job = connection.recv()
        problem = ""
        try:
            perform(job, lambda metrics: connection.send(("epoch", metrics)))
        except StripeError as error:
            problem = str(error)
        connection.send(("end", problem))


def _follow() -> None:
    """End this process with the first one, even if that was killed, so that its runs can be taken up."""
    first = multiprocessing.parent_process()
    assert first is not None
    wait([first.sentinel])
    os._exit(1)


def _placed(job: Job, slot: int) -> Job:
    """Return the job with one of several GPUs, where the job names no device."""
    gpus = torch.cuda.device_count()
    return replace(job, device=f"cuda:{slot % gpus}") if gpus > 1 and job.device is None else job


def _death(exit_code: int | None) -> str:
    how = f"signal {-exit_code}" if exit_code is not None and exit_code < 0 else f"exit code {exit_code}"
    return (
        f"its process died {ATTEMPTS} times ({how}). Fewer runs side by side help where memory is short; the same "
        "command goes on."
    )


def on_cluster(jobs: Sequence[Job], scheduler: str, watch: Watch, *, timeout: float = TIMEOUT) -> Failures:
    """Send runs to a dask cluster and wait for them.

    Each run takes one ``GPU`` of the workers' resources, where any worker declares them. A run whose worker dies is
    given to another one and goes on after its last finished epoch, so all workers must see the same folder of runs.

    Args:
        jobs: The runs to compute; paths and data are as the workers see them.
        scheduler: Address of the scheduler, such as ``tcp://host:8786``.
        watch: Functions that are told how far the runs are.
        timeout: Seconds within which the scheduler must have answered.

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


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StripeError(f"{folder} cannot be used as a folder: {error.strerror or error}.") from error
