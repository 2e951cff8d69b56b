"""Data sets: two splits of uint8 images, and the constants that normalise them."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Self, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stripe.data.normalization import LUMA, Normalization
from stripe.data.size import ImageSize
from stripe.errors import StripeError

__all__ = ["Batches", "Data", "Share", "Split", "strata"]

IntArray = npt.NDArray[np.int64]

Labels = npt.NDArray[np.int64] | npt.NDArray[np.float32]
"""Whole numbers, such as classes; or numbers of any size, such as the targets of a regression."""

Share = Callable[[int], IntArray]
"""Size of a batch → positions in it of the images that are wanted here, where several processes share the work."""


class Batches(ABC):
    """Some images of a split, batch by batch, in a fixed order; every pass over it gives the same.

    Iterating yields ``(images, labels)``: uint8 ``(B, 3, H, W)`` in 0..255 and the labels of the split, ``(B,)``; of
    images with annotations ``(images, targets)``, two lists, see ``stripe.data.annotated.AnnotatedSplit``.

    Attributes:
        indices: Which images of the split, in the order in which they come, int64 ``(num_images,)``.
        batch_size: The number of images in a batch; the last batch may hold fewer.
    """

    def __init__(self, indices: npt.ArrayLike, batch_size: int) -> None:
        if batch_size < 1:
            raise StripeError(f"The batch size is {batch_size}; it must be at least 1.")
        self.indices: IntArray = np.asarray(indices, dtype=np.int64)
        self.batch_size = batch_size

    @property
    def num_images(self) -> int:
        """The number of images in one pass."""
        return len(self.indices)

    def __len__(self) -> int:
        """The number of batches in one pass."""
        return math.ceil(self.num_images / self.batch_size)

    def shared(self, share: Share) -> Iterator[tuple[IntArray, slice]]:
        """For each batch, the positions in the pass of the images that are wanted here, and those of all its images."""
        for start in range(0, self.num_images, self.batch_size):
            stop = min(start + self.batch_size, self.num_images)
            yield start + share(stop - start), slice(start, stop)

    @abstractmethod
    def __iter__(self) -> Iterator[tuple[Any, Any]]: ...


class Split(ABC):
    """One half of a data set: labelled or annotated images, by index.

    Attributes:
        labels: The class of every image, int64 ``(N,)``; -1 where the data has no classes. Or the targets of another
            task, ``(N,)`` or ``(N, …)``: float32 if they are given as floating-point numbers, else int64.
        paths: A name for every image: its file relative to the data set's folder, or ``test/00017`` where
            the images are no files. As Python decodes file names: bytes that are not UTF-8 are surrogates.
        image_size: Height and width in pixels of every image that comes out, one number where they are square; None
            where each has its own.
        objects: How many objects of every image a detector is trained on, int64 ``(N,)``; None where it is not known.

    Raises:
        StripeError: The labels are no numbers, or not one entry for each image.
    """

    objects: IntArray | None = None

    def __init__(self, labels: npt.ArrayLike, paths: list[str], image_size: ImageSize | None) -> None:
        self.labels: Labels = _numbers(labels, len(paths))
        self.paths = paths
        self.image_size = image_size

    def __len__(self) -> int:
        """The number of images."""
        return len(self.labels)

    def loader(
        self,
        batch_size: int,
        *,
        indices: npt.ArrayLike | None = None,
        workers: int | None = None,
        share: Share = np.arange,
    ) -> Batches:
        """The images as they are, for evaluation and capture, on the CPU.

        Args:
            batch_size: The number of images in a batch.
            indices: Which images, in this order; all of them by default.
            workers: Processes that decode, for images that are streamed; by default one per core, 8 at most.
            share: Which images of a batch this process needs, as for ``train_batches``; the labels are those of all.
        """
        order = np.arange(len(self)) if indices is None else np.asarray(indices, dtype=np.int64)
        return self._plain(order, batch_size, workers, share)

    @abstractmethod
    def _plain(self, order: IntArray, batch_size: int, workers: int | None, share: Share) -> Batches:
        """The images of ``loader``, in this order."""

    @abstractmethod
    def augmented(
        self,
        batch_size: int,
        *,
        indices: IntArray,
        seed: int,
        device: torch.device,
        workers: int | None = None,
        share: Share = np.arange,
    ) -> Batches:
        """Randomly cropped and flipped images on ``device``; ``seed`` alone decides how. See ``train_batches``."""

    def with_annotations(self, kinds: Sequence[str]) -> "Split":
        """The same images with these kinds of annotations alone; itself where there are none."""
        return self


@dataclass(frozen=True, eq=False)
class Data:
    """A data set by name, made by ``stripe.data.load``.

    Attributes:
        spec: The name that loads it again.
        classes: Names of the classes; a label is a position in here. Empty where the images have none.
        image_size: Height and width in pixels of every image, one number where they are square; None where each has
            its own.
        mean: Mean that ``normalize`` subtracts, of images in 0..1: of R, G and B, or of the one grey channel.
        std: Standard deviation that ``normalize`` divides by, likewise.
        train: The images to train on.
        test: The images to measure on.
        everything: All images of a data set that does not come in two halves, such as a folder of photos; ``test`` is
            then a part of them that was held out. None if it comes in halves.
        attrs: Everything that determines the images, ready for JSON. Equal attributes mean equal images.
        annotations: What the images are annotated with, of ``"boxes"``, ``"masks"`` and ``"segmentation"``; the splits
            are then as ``stripe.data.annotated.AnnotatedSplit``.
    """

    spec: str
    classes: tuple[str, ...]
    image_size: ImageSize | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train: Split
    test: Split
    everything: Split | None = None
    attrs: dict[str, Any] = field(default_factory=dict)
    annotations: tuple[str, ...] = ()

    @property
    def normalization(self) -> Normalization:
        """``mean`` and ``std``."""
        return Normalization(self.mean, self.std)

    def normalized(self, normalization: Normalization) -> Self:
        """The same images for a network that was trained with another normalisation, of colour or of grey images."""
        return replace(self, mean=normalization.mean, std=normalization.std)

    def with_annotations(self, kinds: Sequence[str]) -> Self:
        """The same images with fewer of their annotations, or with none: outlines take time to decode.

        Raises:
            StripeError: The images have none of such a kind.
        """
        if missing := [kind for kind in kinds if kind not in self.annotations]:
            has = ", ".join(self.annotations) or "nothing of the kind"
            raise StripeError(f"The images of {self.spec} have no {' and no '.join(missing)}, but {has}.")
        train, test = self.train.with_annotations(kinds), self.test.with_annotations(kinds)
        everything = self.everything and self.everything.with_annotations(kinds)
        return replace(self, annotations=tuple(kinds), train=train, test=test, everything=everything)

    def require_classes(self) -> None:
        """See to it that each image has a class.

        Raises:
            StripeError: There are no classes, or the labels are no numbers of classes; says what to do.
        """
        if not self.classes:
            raise StripeError(
                f"The images of {self.spec} have no classes, and this needs their labels: put the images of each class "
                "into a folder of its own, two at least."
            )
        if self.annotations:
            raise StripeError(
                f"The images of {self.spec} have {' and '.join(self.annotations)} rather than one class each, which a "
                "classifier needs: train a detector or a segmenter with them, as maskrcnn:resnet20 or "
                "deeplabv3:resnet20, or put images of each class into a folder of its own."
            )
        if not all(_are_whole(split.labels) for split in (self.train, self.test)):
            raise StripeError(
                f"The labels of {self.spec} are not one whole number per image, so they are no classes: give the "
                "positions of the classes as labels, or train for another task with task=."
            )

    @overload
    def normalize(self, images: Tensor) -> Tensor: ...
    @overload
    def normalize(self, images: list[Tensor]) -> list[Tensor]: ...
    def normalize(self, images: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
        """What a network of this data set is fed: ``(images / 255 - mean) / std``, per channel.

        Where mean and std are one number, the network takes grey images: R, G and B are summed up by ``LUMA`` before.

        Args:
            images: uint8 ``(N, 3, H, W)`` in 0..255, on any device; or a list of images ``(3, H, W)``.

        Returns:
            float32 ``(N, 3, H, W)``, or ``(N, 1, H, W)``, on the same device; or a list of images.
        """
        if isinstance(images, list):
            return [self.normalize(image[None])[0] for image in images]
        mean, std = (_column(values, images.device) for values in (self.mean, self.std))
        values = images.to(torch.float32).div_(255)
        if len(self.mean) == 1:
            values = (values * _column(LUMA, images.device)).sum(1, keepdim=True)
        return values.sub_(mean).div_(std)


def strata(labels: npt.ArrayLike) -> Labels:
    """The groups over which a choice of images is balanced: classes, or one group of all where labels are no classes.

    Args:
        labels: ``(N,)`` or ``(N, …)``.

    Returns:
        ``(N,)``.

    Example:
        >>> strata([3, 1]), strata([0.5, 1.7])
        (array([3, 1]), array([0, 0]))
    """
    labels = np.asarray(labels)
    return labels if _are_whole(labels) else np.zeros(len(labels), dtype=np.int64)


def _are_whole(labels: npt.NDArray[Any]) -> bool:
    return labels.ndim == 1 and bool((labels == np.rint(labels)).all())


def _numbers(labels: npt.ArrayLike, count: int) -> Labels:
    """Labels as they are kept: whole numbers as int64, others as float32, which is what networks compute in."""
    try:
        given = np.asarray(labels)
    except ValueError:  # lists of different lengths
        given = np.asarray(None)
    if not given.size:
        given = given.astype(np.int64)
    if given.dtype.kind not in "biuf" or not given.ndim:
        raise StripeError(
            "The labels must be numbers, one entry of the same shape for each image: classes as whole numbers, or the "
            "targets of another task."
        )
    if len(given) != count:
        raise StripeError(f"There are {len(given)} labels for {count} images; each image needs one.")
    return given.astype(np.float32) if given.dtype.kind == "f" else given.astype(np.int64)


@lru_cache(maxsize=64)
def _column(values: tuple[float, ...], device: torch.device) -> Tensor:
    # Kept: a new tensor for every batch would make a GPU wait for a copy from the host.
    with torch.inference_mode(False):
        return torch.tensor(values, device=device).view(-1, 1, 1)
