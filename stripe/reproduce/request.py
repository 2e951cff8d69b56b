"""One training that a figure needs, wholly said: equal requests are one run."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from stripe.plots.common import data_name
from stripe.plots.runs import run_name
from stripe.training.network import describe
from stripe.training.recipe import Recipe

__all__ = ["Request"]

VERSION = 1
"""Part of every address; to be raised when the same settings come to mean another result."""

_OF_DATA = ("data", "image_size", "train_images", "test_images")
"""Which decide the images, and nothing else."""


@dataclass(frozen=True)
class Request:
    """Everything that determines a run.

    Attributes:
        model: As for `stripe.training.train`, like all that is not explained here.
        data: As for `stripe.data.load`.
        recipe: How to train; None: not at all, and ``pretrained`` brings published weights.
        capture: Test images whose attention is recorded.
        train_images: The training images are so many of the data set's; None: all.
        test_images: The same of the test images.
        precision: None: float32 in the address, see `stripe.reproduce.cache.Cache`.
        image_size: Side in pixels; None: that of the data, or what a third-party network expects.
    """

    model: str
    data: str
    recipe: Recipe | None
    mode: Literal["none", "attention", "asr", "both"] | None = None
    attention: str = "none"
    copies: int = 1
    psi: float | str | None = None
    psi_fixed: bool = False
    noise: tuple[float, float] = (1.0, 0.0)
    noise_random: float = 0.0
    pretrained: bool = False
    select: Literal["val", "test"] = "val"
    seed: int = 0
    images_per_epoch: int | None = None
    capture: int = 0
    precision: Literal["float32", "bfloat16"] | None = None
    image_size: int | None = None
    train_images: int | None = None
    test_images: int | None = None

    @property
    def epochs(self) -> int:
        """Of the training; 0 where published weights are taken as they are."""
        return self.recipe.epochs if self.recipe else 0

    def description(self, num_classes: int = 1) -> dict[str, Any]:
        """The network, see `stripe.training.network.describe`.

        Raises:
            StripeError: The settings make no sense together.
        """
        keys = ("mode", "attention", "copies", "psi", "psi_fixed", "noise", "noise_random")
        return describe(self.model, **{key: getattr(self, key) for key in keys}, num_classes=num_classes)

    def training(self) -> dict[str, Any]:
        """What `stripe.training.train` takes, without the folder and the data."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name not in _OF_DATA}

    def address(self, data: Mapping[str, Any]) -> str:
        """A name for the run's directory, as ``resnet29-se-cifar10-1a2b3c4d``.

        The digits are the first of the SHA-256 of all settings and of what is known of the data, as JSON. Settings that
        mean the same network have the same address.

        Args:
            data: What determines the images, see `stripe.data.Data.attrs`.
        """
        described = self.description()
        own = {key: value for key, value in asdict(self).items() if key not in _OF_DATA}
        own["recipe"] = self.recipe and self.recipe.settings()
        settings = {**own, **described, "data": dict(data), "version": VERSION}
        text = json.dumps(settings, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        words = [run_name(described), "published" if self.recipe is None else "", _short(str(data["spec"]))]
        readable = "-".join(re.sub(r"[^\w.]+", "-", word).strip("-") for word in words if word)
        return f"{readable}-{digest[:8]}"


def _short(spec: str) -> str:
    """``shapes:seed=3`` → ``shapes``; ``folder:cifar`` → ``cifar``."""
    return data_name(spec).removeprefix("folder ").partition(":")[0]
