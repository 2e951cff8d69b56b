"""What is there already: the runs, one directory each, named by what determines its result; and the data they need."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from stripe.capture import as_capture
from stripe.data import Data, ImageSize, Split, choose_images, load, write_size
from stripe.data.memory import MemorySplit
from stripe.errors import StripeError
from stripe.models import native_image_size
from stripe.training import Run
from stripe.training.compute import default_precision
from stripe.training.config import RunConfig
from stripe.training.holdout import Part

__all__ = ["Cache", "Found", "Planned", "Sources", "State"]

State = Literal["cached", "unfinished", "missing"]
"""Whether all of a run is there, some epochs of it, or none."""

_SEED = 0
"""Seed of the choice of a part of a data set, the same for all runs."""


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
    "mini-imagenet": _Published(100, 84, 48_000, 12_000),  # no split is agreed upon
    "coco": _Published(80, (800, 1280), 118_287, 5_000),  # a common size, at which operations are counted
}


_TYPICAL = 480
"""Pixels for the estimate of the time, where each image has its own size."""


class Found(NamedTuple):
    """What is known of the data of a run.

    Attributes:
        attrs: Everything that determines the images, ready for JSON.
        classes: Number of classes.
        image_size: Height and width in pixels, one number where they are equal.
        train: Number of training images.
        test: Number of test images.
        problem: Why the data cannot be used; ``""`` where it can.
    """

    attrs: dict[str, Any]
    classes: int
    image_size: ImageSize
    train: int
    test: int
    problem: str = ""


@dataclass(frozen=True)
class Sources:
    """Where data sets come from; each is loaded once.

    Attributes:
        root: Folder of torchvision's data sets, see ``stripe.data.load``.
        download: Whether to download data sets that are not there.
    """

    root: str | None = None
    download: bool = False

    def look(self, request: RunConfig) -> Found:
        """Return what is known of a run's data, without decoding an image or downloading anything.

        Raises:
            StripeError: The data is not there, and nothing is known of it.
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
        return _found(request, whole.attrs, len(whole.classes), whole.image_size or _TYPICAL, *splits)

    def published(self, request: RunConfig) -> Found:
        """Return what is known of the data of a run as it was published, whatever of it is here.

        Raises:
            StripeError: The data is not there, and nothing is known of it.
        """
        if (known := _PUBLISHED.get(request.data)) is None:
            return self.look(request)
        side = request.image_size or known.image_size
        return Found({"spec": request.data}, known.classes, side, known.train, known.test)

    def load(self, request: RunConfig) -> Data:
        """Load the data set of a run, or the part of it that the run asks for.

        Raises:
            StripeError: The data set is not there.
        """
        whole = _load(request.data, _image_size(request), self.root, self.download)
        return _part(whole, request.train_images, request.test_images)


@dataclass(frozen=True)
class Planned:
    """A run, and the directory where it lies or will lie.

    Attributes:
        request: The configuration that determines the run.
        found: What is known of the run's data.
        path: The directory.
        state: ``cached``: the whole run is there; ``unfinished``: some epochs are; ``missing``: none are.
        done: Number of epochs that are there.
    """

    request: RunConfig
    found: Found
    path: Path
    state: State
    done: int

    @property
    def run(self) -> Run:
        """The run in the directory."""
        return Run(self.path)


@dataclass(frozen=True)
class Cache:
    """A folder of runs.

    Attributes:
        folder: The folder.
        sources: Where the data of the runs comes from.
        device: Device on which the runs are computed, as for ``stripe.training.train``. It decides the precision where
            none is asked for, and the precision is part of a run's address.
    """

    folder: Path
    sources: Sources
    device: str | None = None

    def plan(self, requests: Iterable[RunConfig], captures: Iterable[int] = ()) -> dict[RunConfig, Planned]:
        """Decide which run serves each request.

        A run whose attention is recorded also serves requests for the same run without a capture.

        Args:
            requests: Configurations of runs; equal ones are one run.
            captures: Numbers of images for which the attention of runs may have been recorded before.

        Returns:
            The run of each request.

        Raises:
            StripeError: A data set is not there, and nothing is known of it.
        """
        precise = {request: self._precise(request) for request in requests}
        wanted = list(dict.fromkeys(precise.values()))
        counts = sorted({request.capture for request in wanted}.union(captures) - {0})
        served: dict[RunConfig, Planned] = {}
        for request in wanted:
            twins = [replace(request, capture=count) for count in counts] if request.capture == 0 else []
            found = [twin for twin in map(self._planned, twins) if twin.request in wanted or twin.state != "missing"]
            served[request] = found[0] if found else self._planned(request)
        return {request: served[exact] for request, exact in precise.items()}

    def look_again(self, served: Mapping[RunConfig, Planned]) -> dict[RunConfig, Planned]:
        """Return the same runs, with their states as they are now."""
        now = {planned.path: _state(planned.path, planned.request) for planned in served.values()}
        return {
            request: replace(planned, state=now[planned.path][0], done=now[planned.path][1])
            for request, planned in served.items()
        }

    def _precise(self, request: RunConfig) -> RunConfig:
        """Return the request with the precision in which it is computed; float32 is left out of addresses."""
        if request.precision is None and default_precision(self.device) != "float32":
            return replace(request, precision=default_precision(self.device))
        return request

    def _planned(self, request: RunConfig) -> Planned:
        found = self.sources.look(request)
        path = self.folder / request.address(found.attrs)
        return Planned(request, found, path, *_state(path, request))


def _state(path: Path, request: RunConfig) -> tuple[State, int]:
    if request.recipe is None:
        return ("cached", 0) if _is_captured(path / "capture.h5") else ("missing", 0)
    if not (path / "run.json").exists():
        return "missing", 0
    done = len(Run(path).metrics)
    return ("cached" if done == request.epochs else "unfinished" if done else "missing"), done


def _is_captured(path: Path) -> bool:
    try:
        return len(as_capture(path).epochs) > 0
    except StripeError:  # the file is not there, or its writing was interrupted
        return False


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
    """Return the sizes of the parts that are smaller than the whole."""
    asked = {"train_images": (train_images, train), "test_images": (test_images, test)}
    return {key: part for key, (part, whole) in asked.items() if part is not None and part < whole}


def _image_size(request: RunConfig) -> ImageSize | None:
    """Return the size that was asked for, or that a third-party network expects; our own take any."""
    if request.image_size is None and ":" in request.model:
        return native_image_size(request.model, pretrained=request.pretrained)
    return request.image_size
