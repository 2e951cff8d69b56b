"""Estimates of how long runs take on this machine, from a few steps of each network."""

import math
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stripe import checkpoint
from stripe.adapter import batch_of
from stripe.asr import cached
from stripe.data import sides
from stripe.devices import pick_device
from stripe.errors import StripeError
from stripe.models import input_channels
from stripe.progress import track
from stripe.reproduce.cache import Planned, Sources
from stripe.reproduce.job import located
from stripe.tasks import CLASSES, Task, named
from stripe.tasks.perceptual import DEFAULT
from stripe.training import Compute
from stripe.training.config import RunConfig
from stripe.training.epoch import total_of
from stripe.training.holdout import EVERY
from stripe.training.network import build
from stripe.training.optimizers import Optimizers

__all__ = ["estimate", "makespan"]

_MOST = 8
"""Images per step of the calibration; a step takes about as long in proportion, and large networks are slow."""

_STEPS = 2


@dataclass(frozen=True)
class _Rate:
    """Seconds per image."""

    training: float
    evaluation: float


def estimate(
    runs: Iterable[Planned],
    *,
    device: str | None = None,
    sources: Sources | None = None,
    before: Mapping[Path, RunConfig] | None = None,
) -> dict[Path, float]:
    """Estimate the seconds that each run still takes if it is computed alone, with all threads of this machine.

    Reading images and starting a process are not counted.

    Args:
        runs: The runs; finished ones take no time.
        device: Device on which the runs will be computed.
        sources: Where the data comes from, of which a few images are read for a run that is no classification.
        before: Directory of a run → the run that is trained before it. A network by whose features pictures are
            compared is tried with random weights while it is not trained yet.

    Returns:
        Seconds for the directory of each run; NaN where the network could not be tried, such as for lack of memory.
    """
    runs, firsts = list(runs), before or {}
    keys = {run.path: _key(run, firsts.get(run.path)) for run in runs}
    to_try = {keys[run.path]: run for run in runs if run.state != "cached"}
    rates = {
        key: _calibrate(run, device, sources or Sources(), firsts.get(run.path))
        for key, run in track(to_try.items(), "calibrating", len(to_try))
    }
    return {run.path: 0.0 if run.state == "cached" else _seconds(run, rates[keys[run.path]]) for run in runs}


def makespan(seconds: Sequence[float], jobs: int) -> float:
    """Return the seconds that runs take if ``jobs`` of them are computed at a time, in their order.

    Each run then has its share of the threads and takes longer in that proportion. Where there are fewer threads than
    jobs, every job is assumed to have a core of its own.

    Args:
        seconds: Seconds of each run computed alone, see ``estimate``.
        jobs: Number of runs side by side.
    """
    threads = torch.get_num_threads()
    slower = threads / max(1, threads // jobs)
    ends = [0.0] * jobs
    for duration in seconds:
        first = min(range(jobs), key=ends.__getitem__)
        ends[first] += duration * slower
    return max(ends)


def _key(run: Planned, before: RunConfig | None) -> tuple[Any, ...]:
    """Return what decides the speed of a run: noise, ψ and seeds do not."""
    request = run.request
    described = request.description()
    asr = (described["asr"] or {}).get("attention"), request.copies
    size = run.found.image_size
    task = request.task_name, str(request.task_args), str(request.args), before and before.model
    return task, request.model, described["attention"], asr, size, request.recipe is None, request.precision


def _calibrate(run: Planned, device: str | None, sources: Sources, before: RunConfig | None) -> _Rate:
    """Time steps of the task, after one that is not counted."""
    request = run.request
    compute = Compute.on(pick_device(device), request.precision)
    try:
        batch = min(request.recipe.batch_size if request.recipe else _MOST, _MOST)
        if request.task_name == "classification":
            network, task, images, targets = _classified(run, batch, compute)
        else:
            network, task, images, targets = _sampled(run, batch, sources, compute, before)
        evaluation = _time(lambda: _score(task, network.eval(), images, targets, compute), compute)
        training = math.nan
        if request.recipe:
            optimizer = Optimizers(task.optimizers(network, request.recipe), request.recipe)
            training = _time(lambda: _step(task, network.train(), images, targets, optimizer, compute), compute)
    except (torch.OutOfMemoryError, StripeError):
        return _Rate(math.nan, math.nan)
    return _Rate(training / batch, evaluation / batch)


def _classified(run: Planned, batch: int, compute: Compute) -> tuple[nn.Module, Task, Any, Any]:
    """Return a classifier with random images; so no data set need be there."""
    outputs = run.request.num_classes or run.found.classes
    spec = replace(run.request.spec, num_classes=outputs, image_size=run.found.image_size)
    network = compute.place(build(spec))
    shape = (batch, input_channels(network) or 3, *sides(run.found.image_size))
    images = torch.randn(shape, device=compute.device).contiguous(memory_format=torch.channels_last)
    return network, CLASSES, images, torch.zeros(batch, dtype=torch.long, device=compute.device)


def _sampled(
    run: Planned, batch: int, sources: Sources, compute: Compute, before: RunConfig | None
) -> tuple[nn.Module, Task, Any, Any]:
    """Return a network of another task, with images and targets of its data.

    Raises:
        StripeError: The data, or another network that the task needs, is not there.
    """
    config = located(run.request, run.path.parent)
    data = sources.load(config)
    with tempfile.TemporaryDirectory() as folder:
        if config.task_name == "style" and "perceptual_ckpt" not in config.task_args:
            untrained = _untrained(
                before or RunConfig(config.task_args.get("perceptual") or DEFAULT, config.data), folder
            )
            config = replace(config, task_args={**config.task_args, "perceptual_ckpt": untrained})
        task = named(config.task_name, data, config.task_args)
        outputs = config.num_classes or task.outputs(data) or len(data.classes)
        network = compute.place(build(replace(config.spec, num_classes=outputs, image_size=data.image_size)))
        task.prepare(network, data, compute)
    images, labels = next(iter(data.train.loader(batch, indices=range(min(batch, len(data.train))), workers=0)))
    images, targets = task.collate(images, labels)
    return network, task, compute.input(data, images), targets


def _untrained(request: RunConfig, folder: str) -> str:
    """Write a checkpoint of a network with random weights, which takes as long as a trained one."""
    path, description = Path(folder) / "untrained.safetensors", request.description()
    checkpoint.save(path, build(description), description)
    return str(path)


def _time(step: Any, compute: Compute) -> float:
    """Return the seconds of a step, the least of a few: other programs can only make a step slower."""
    times = []
    for _ in range(1 + _STEPS):
        started = time.perf_counter()
        step()
        if compute.device.type != "cpu":
            torch.accelerator.synchronize()
        times.append(time.perf_counter() - started)
    return min(times[1:])


@torch.no_grad()
def _score(task: Task, network: nn.Module, images: Any, labels: Any, compute: Compute) -> None:
    with cached(), compute.autocast():
        output = task.forward(network, batch_of(images, network), labels)
    task.sums(output, labels, training=False)


def _step(task: Task, network: nn.Module, images: Any, labels: Any, optimizer: Optimizers, compute: Compute) -> None:
    optimizer.zero_grad(set_to_none=True)
    with cached(), compute.autocast():
        output = task.forward(network, batch_of(images, network), labels)
    total_of(task.losses(output, labels)).backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _seconds(run: Planned, rate: _Rate) -> float:
    request, found = run.request, run.found
    if request.recipe is None:
        return rate.evaluation * request.capture
    held = found.train // EVERY if request.select == "val" else 0
    trained = min(request.images_per_epoch or found.train, found.train - held)
    epoch = rate.training * trained + rate.evaluation * (found.test + held + request.capture)
    return epoch * (request.epochs - run.done)
