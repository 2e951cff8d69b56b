"""Data sets for runs: loaded once, perhaps a part of them; and what can be said of one that is not here."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

from stripe.data import Data, ImageSize, Split, choose_images, load, write_size
from stripe.data.memory import MemorySplit
from stripe.errors import StripeError
from stripe.models import native_image_size
from stripe.training.config import RunConfig
from stripe.training.holdout import Part

__all__ = ["Found", "Sources"]

_SEED = 0
"""Of the parts of a data set, the same for all runs."""


class _Published(NamedTuple):
    classes: int
    image_size: ImageSize
    train: int
    test: int


# For plans where the data itself is not here.
_PUBLISHED = {
    "cifar10": _Published(10, 32, 50_000, 10_000),
    "cifar100": _Published(100, 32, 50_000, 10_000),
    "stl10": _Published(10, 96, 5_000, 8_000),
    "imagenet": _Published(1000, 224, 1_281_167, 50_000),
}


class Found(NamedTuple):
    """What is known of the data of a run.

    Attributes:
        attrs: What determines the images, ready for JSON.
        classes: How many.
        image_size: Height and width in pixels, one number where they are equal.
        train: Training images.
        test: Test images.
        problem: Why it cannot be used; ``""`` where it can.
    """

    attrs: dict[str, Any]
    classes: int
    image_size: ImageSize
    train: int
    test: int
    problem: str = ""


@dataclass(frozen=True)
class Sources:
    """Where data sets come from.

    Attributes:
        root: Where torchvision's data sets lie, see `stripe.data.load`.
        download: Whether to fetch what is not there.
    """

    root: str | None = None
    download: bool = False

    def look(self, request: RunConfig) -> Found:
        """What is known of a run's data, without decoding an image or downloading anything.

        Raises:
            StripeError: There is no such data, and nothing is known of it.
        """
        size = _image_size(request)
        try:
            whole = _load(request.data, size, self.root, False)
        except StripeError as error:
            known = _PUBLISHED.get(request.data)
            if known is None:
                raise
            side = size or known.image_size
            problem = "" if self.download and request.data != "imagenet" else str(error)
            attrs = {"spec": request.data, "image_size": write_size(side)}
            return _found(request, attrs, known.classes, side, known.train, known.test, problem)
        splits = len(whole.train), len(whole.test)
        return _found(request, whole.attrs, len(whole.classes), whole.image_size, *splits)

    def load(self, request: RunConfig) -> Data:
        """The data set of a run, or the part of it that the run asks for.

        Raises:
            StripeError: It is not there.
        """
        whole = _load(request.data, _image_size(request), self.root, self.download)
        return _part(whole, request.train_images, request.test_images)


# Several runs in one process share what they have decoded.
@lru_cache(maxsize=3)
def _load(spec: str, image_size: ImageSize | None, root: str | None, download: bool) -> Data:
    return load(spec, image_size=image_size, root=root, download=download)


@lru_cache(maxsize=3)
def _part(whole: Data, train: int | None, test: int | None) -> Data:
    attrs = {**whole.attrs, **_parts(train, test, len(whole.train), len(whole.test))}
    return replace(whole, train=_some(whole.train, train), test=_some(whole.test, test), attrs=attrs)


def _some(split: Split, count: int | None) -> Split:
    if count is None or count >= len(split):
        return split
    chosen = choose_images(split.labels, count, _SEED)
    if not isinstance(split, MemorySplit):
        return Part(split, chosen)
    images, rows = split.rows(chosen)  # the others are never decoded
    return MemorySplit(images[rows], split.labels[chosen], [split.paths[index] for index in chosen], split.image_size)


def _found(
    request: RunConfig,
    attrs: Mapping[str, Any],
    classes: int,
    size: ImageSize,
    train: int,
    test: int,
    problem: str = "",
) -> Found:
    parts = _parts(request.train_images, request.test_images, train, test)
    counts = parts.get("train_images", train), parts.get("test_images", test)
    return Found({**attrs, **parts}, classes, size, *counts, problem)


def _parts(train_images: int | None, test_images: int | None, train: int, test: int) -> dict[str, int]:
    """The parts that are smaller than the whole."""
    asked = {"train_images": (train_images, train), "test_images": (test_images, test)}
    return {key: part for key, (part, whole) in asked.items() if part is not None and part < whole}


def _image_size(request: RunConfig) -> ImageSize | None:
    """What was asked for, or what a third-party network expects; our own take any."""
    if request.image_size is None and ":" in request.model:
        return native_image_size(request.model, pretrained=request.pretrained)
    return request.image_size
