"""Runs, one after the other or several side by side, on this machine."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait
from typing import Any

import torch

from stripe.errors import StripeError
from stripe.reproduce.work import Job, perform
from stripe.training import EpochMetrics

__all__ = ["ATTEMPTS", "Failures", "Watch", "in_processes", "in_turn"]

ATTEMPTS = 3
"""How often a run is begun whose process dies; each time it goes on where the last one stopped."""

Failures = dict[str, str]
"""Name of a job → why it could not be finished."""


@dataclass(frozen=True)
class Watch:
    """Who is told how far the runs are.

    Attributes:
        epoch: Called with a job and how an epoch of it went.
        end: Called with a job that is finished, and ``""`` or what went wrong.
        again: Called with a job whose process died and that is taken up again.
    """

    epoch: Callable[[Job, EpochMetrics], None] = field(default=lambda job, metrics: None)
    end: Callable[[Job, str], None] = field(default=lambda job, problem: None)
    again: Callable[[Job], None] = field(default=lambda job: None)


def in_turn(jobs: Sequence[Job], watch: Watch) -> Failures:
    """One after the other, in this process. A run that fails does not keep the others from being made."""
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
    """``count`` at a time, in as many processes, which share the cores and take turns with the GPUs.

    A process that dies, for want of memory or because somebody killed it, is replaced, and its run taken up again,
    `ATTEMPTS` times at most; the others go on meanwhile.
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
    """A process that computes one run after the other, as it is told."""

    def __init__(self, threads: int) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would share torch's threads
        self.connection, there = context.Pipe()
        self._process = context.Process(target=_work, args=(there, threads))
        self._process.start()
        there.close()  # or nobody would notice that the process is gone

    def begin(self, job: Job) -> None:
        """Tell it what to compute."""
        with contextlib.suppress(OSError):  # it died while it had nothing to do: `hear` will say so
            self.connection.send(job)

    def hear(self) -> tuple[str, Any]:
        """What it says: ``epoch`` and its metrics, ``end`` and what went wrong, or ``died`` and how."""
        try:
            said: tuple[str, Any] = self.connection.recv()
        except (EOFError, OSError):
            self._process.join()
            return "died", _death(self._process.exitcode)
        return said

    def end(self) -> None:
        """Stop it, whatever it does; a run that it was at goes on after its last finished epoch another time."""
        self._process.terminate()
        self._process.join()
        self.connection.close()


def _work(connection: Any, threads: int) -> None:
    """What the process does."""
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
    """Die with the first process, even if that was killed: who gives its command again must find the runs free."""
    first = multiprocessing.parent_process()
    assert first is not None
    wait([first.sentinel])
    os._exit(1)


def _placed(job: Job, slot: int) -> Job:
    """On one of several GPUs, where none is named."""
    gpus = torch.cuda.device_count()
    return replace(job, device=f"cuda:{slot % gpus}") if gpus > 1 and job.device is None else job


def _death(exit_code: int | None) -> str:
    how = f"signal {-exit_code}" if exit_code is not None and exit_code < 0 else f"exit code {exit_code}"
    return (
        f"its process died {ATTEMPTS} times ({how}). Fewer --jobs help where memory is short; the same command goes on."
    )
