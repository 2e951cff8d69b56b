"""The job of computing one run, which each process of a machine or of a cluster does in the same way."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from stripe import models
from stripe.capture import capture
from stripe.data import choose_images, in_pixels
from stripe.devices import pick_device
from stripe.reproduce.cache import Sources
from stripe.training import EpochMetrics, train
from stripe.training.compute import default_precision
from stripe.training.config import RunConfig

__all__ = ["Job", "located", "perform"]

_ALONE = threading.Lock()
"""Torch has one random generator per process, so that two trainings in threads of one process would mix their draws."""


@dataclass(frozen=True)
class Job:
    """A run to compute; can be sent to other processes.

    Attributes:
        request: The configuration that determines the run.
        path: The run's directory.
        sources: Where the run's data comes from.
        device: Device to compute on; None: a GPU where there is one.
        workers: Number of processes that decode images, see ``stripe.training.train``.
    """

    request: RunConfig
    path: Path
    sources: Sources
    device: str | None = None
    workers: int | None = None

    @property
    def name(self) -> str:
        """The name of the directory."""
        return self.path.name


def perform(job: Job, on_epoch: Callable[[EpochMetrics], None] | None = None) -> None:
    """Train a run, or go on with it where it was interrupted; a finished run takes no time.

    Args:
        job: The run to compute.
        on_epoch: Called after each epoch.

    Raises:
        StripeError: See ``stripe.training.train`` and ``stripe.capture.capture``.
    """
    with _ALONE:
        if job.request.recipe is None:
            _capture_published(job)
            return
        data = job.sources.load(job.request)
        config = located(job.request, job.path.parent)
        config = replace(config, capture=min(config.capture, len(data.test)))
        if config.precision is None and default_precision(job.device) != "float32":
            config = replace(config, precision="float32")  # a run's address without a precision is that of float32
        train(
            job.path,
            data,
            config,
            save_every=0,
            device=job.device,
            workers=job.workers,
            on_epoch=on_epoch,
        )


def located(request: RunConfig, folder: Path) -> RunConfig:
    """Return the configuration with the places of checkpoints of other runs, which lie in the same folder as it.

    Args:
        request: The configuration of a run.
        folder: The folder of all runs.
    """
    places = {"backbone_ckpt": request.backbone_ckpt}
    places |= {key: value for key, value in request.task_args.items() if key == "perceptual_ckpt"}
    found = {key: str(folder / name) for key, name in places.items() if name and (folder / name).is_file()}
    task_args = {key: found.get(key, value) for key, value in request.task_args.items()}
    return replace(request, task_args=task_args, backbone_ckpt=found.get("backbone_ckpt", request.backbone_ckpt))


def _capture_published(job: Job) -> None:
    """Record the attention of published weights, which are not trained here."""
    request = job.request
    torch.manual_seed(request.seed)
    model = models.build(request.model, attention=request.attention, pretrained=True).to(pick_device(job.device))
    mean, std = models.native_normalization(request.model)
    data = replace(job.sources.load(request), mean=mean, std=std)
    chosen = choose_images(data.test.labels, min(request.capture, len(data.test)), request.seed)
    job.path.mkdir(parents=True, exist_ok=True)
    capture(
        model,
        data.test.loader(64, indices=chosen, workers=job.workers),
        job.path / "capture.h5",
        preprocess=data.normalize,
        paths=[data.test.paths[index] for index in chosen],
        attrs={
            "model": request.model,
            "attention": request.attention,
            "data": data.spec,
            "classes": list(data.classes),
            "weights": "published",
            "split": "test",
            "seed": request.seed,
            "scale": f"published weights, {len(chosen)} test images at {in_pixels(data.image_size)}",
        },
    )
