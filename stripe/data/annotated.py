"""Images with annotations: the boxes and outlines of objects, and the class of every pixel."""

import hashlib
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from stripe.data.augmentation import Augmentation, Target, augment, fit
from stripe.data.base import Batches, Data, IntArray, Share, Split
from stripe.data.classfolders import HELD_OUT
from stripe.data.crops import mix
from stripe.data.files import digest_of
from stripe.data.normalization import IMAGENET
from stripe.data.size import ImageSize, write_size
from stripe.data.streamed import loader_of
from stripe.errors import StripeError

__all__ = ["KINDS", "AnnotatedImages", "AnnotatedSplit", "Chosen", "annotated_data", "halves"]

logger = logging.getLogger(__name__)

KINDS = ("boxes", "masks", "segmentation")
"""What images can be annotated with."""


class AnnotatedImages(ABC):
    """Images of different sizes with annotations, by index, decoded or drawn when they are asked for.

    Attributes:
        paths: A name for every image, as in ``Split.paths``.
        objects: How many objects of every image a detector is trained on, as in ``Split.objects``.
    """

    paths: list[str]
    objects: IntArray | None = None

    @abstractmethod
    def read(self, index: int, kinds: Sequence[str]) -> tuple[Tensor, Target]:
        """One image and its annotations.

        Args:
            index: Which image.
            kinds: The annotations that are wanted, of ``KINDS``.

        Returns:
            The image, uint8 ``(3, H, W)``, and tensors by name:

            - ``image_id``, int64 ``()``: a number that no other image of the split has;
            - with ``boxes`` or ``masks``, of K objects: ``boxes``, float32 ``(K, 4)``, left, top, right, bottom in
              pixels; ``labels``, int64 ``(K,)``, positions in ``Data.classes``; ``area``, float32 ``(K,)``, in pixels;
              ``iscrowd``, bool ``(K,)``, whether it is a region of many objects;
            - with ``masks``: ``masks``, bool ``(K, H, W)``, the pixels of each object;
            - with ``segmentation``: ``segmentation``, uint8 ``(H, W)``, 0 for background, k + 1 for class k, and 255
              where the class is unknown.
        """


class Chosen(AnnotatedImages):
    """Some of the images of a set.

    Args:
        whole: The set.
        indices: Which of its images.
    """

    def __init__(self, whole: AnnotatedImages, indices: npt.ArrayLike) -> None:
        self._whole, self._indices = whole, np.asarray(indices, dtype=np.int64)
        self.paths = [whole.paths[index] for index in self._indices]
        self.objects = None if whole.objects is None else whole.objects[self._indices]

    def read(self, index: int, kinds: Sequence[str]) -> tuple[Tensor, Target]:
        """See ``AnnotatedImages.read``."""
        return self._whole.read(int(self._indices[index]), kinds)


def halves(paths: Sequence[str], seed: int) -> tuple[IntArray, IntArray]:
    """The images to train on and to test on of a set that is not split: one in five is held out.

    Those are held out whose names have the smallest hashes, with the seed, so that the same are on every machine, and
    few change sides when images are added.

    Args:
        paths: Names of the images.
        seed: Decides which.

    Raises:
        StripeError: There is one image alone.
    """
    if len(paths) < 2:
        raise StripeError(
            f"{paths[0]} is a single image: none is left to test on. Give two at least; to look at what a network "
            "makes of one, name the folder that it is in, as folder:DIR."
        )
    hashes = [hashlib.sha256(os.fsencode(f"{seed}/{path}")).digest() for path in paths]
    order = sorted(range(len(paths)), key=hashes.__getitem__)
    count = max(1, round(len(paths) / HELD_OUT))
    return np.sort(np.array(order[count:])), np.sort(np.array(order[:count]))


class AnnotatedSplit(Split):
    """Images with annotations, decoded batch by batch in worker processes; memory never holds the set.

    Batches are ``(images, targets)``: a list of images, uint8 ``(3, H, W)``, and a list of dictionaries of tensors, see
    ``AnnotatedImages.read``. ``labels`` are −1, as an image has no one class.

    Args:
        images: The images.
        kinds: The annotations that are wanted, of ``KINDS``.
        image_size: Height and width in pixels of all images that come out, which are scaled to cover it and cut; None
            to leave every image at its own size.
    """

    def __init__(self, images: AnnotatedImages, kinds: Sequence[str], image_size: ImageSize | None = None) -> None:
        super().__init__(np.full(len(images.paths), -1), images.paths, image_size)
        self._images = images
        self.kinds = tuple(kinds)
        self.objects = images.objects

    def with_annotations(self, kinds: Sequence[str]) -> "AnnotatedSplit":
        """See ``Split.with_annotations``."""
        return AnnotatedSplit(self._images, kinds, self.image_size)

    def _plain(self, order: IntArray, batch_size: int, workers: int | None, share: Share) -> Batches:
        fetch = _Fetch(self._images, self.kinds, order, partial(fit, size=self.image_size), seed=0)
        return _Annotated(fetch, batch_size, workers, share=share)

    def augmented(
        self,
        batch_size: int,
        *,
        indices: IntArray,
        seed: int,
        device: torch.device,
        workers: int | None = None,
        share: Share = np.arange,
        augmentation: Augmentation | None = None,
    ) -> Batches:
        """See ``Split.augmented``; ``augmentation`` says how the images are varied, by default ``Augmentation()``.

        Where a ``share`` of each batch is wanted, ``targets`` are as many as the images of the whole batch, and those
        of images that are not wanted here are empty.
        """
        change = partial(augment, augmentation=augmentation or Augmentation(), size=self.image_size)
        fetch = _Fetch(self._images, self.kinds, indices, change, seed)
        return _Annotated(fetch, batch_size, workers, device, share)


def annotated_data(
    sets: Sequence[AnnotatedImages],
    *,
    spec: str,
    name: str,
    classes: Sequence[str],
    kinds: Sequence[str],
    files: Sequence[Sequence[str]],
    seed: int,
    image_size: ImageSize | None,
    attrs: Mapping[str, Any] | None = None,
) -> Data:
    """The data set of one's own images with annotations, normalised as photos are.

    Args:
        sets: The images to train on and those to test on; or one set, of which some are held out, see ``halves``.
        spec: What loads it again.
        name: The same without what depends on where the folder lies, as the images are the same wherever that is.
        classes: Names of the classes.
        kinds: The annotations that there are, of ``KINDS``.
        files: Names of the files and what else tells them apart, see ``stripe.data.files.digest_of``.
        seed: Decides which images are held out.
        image_size: As of ``AnnotatedSplit``.
        attrs: What determines the images beside ``name``, ``files`` and ``image_size``.

    Raises:
        StripeError: There is one set, of a single image.
    """
    everything = None
    if len(sets) == 1:
        everything = AnnotatedSplit(sets[0], kinds, image_size)
        sets = [Chosen(sets[0], half) for half in halves(sets[0].paths, seed)]
    if both := {*sets[0].paths} & {*sets[1].paths}:
        logger.warning(
            "%s: of the images to test on, %d of %d are also trained on (%s): what is found in them says little",
            *(spec, len(both), len(sets[1].paths), min(both)),
        )
    train, test = (AnnotatedSplit(each, kinds, image_size) for each in sets)
    return Data(
        spec=spec,
        classes=tuple(classes),
        image_size=image_size,
        mean=IMAGENET.mean,
        std=IMAGENET.std,
        train=train,
        test=test,
        everything=everything,
        attrs={"spec": name, "image_size": write_size(image_size), "files": digest_of(*files), **(attrs or {})},
        annotations=tuple(kinds),
    )


class _Annotated(Batches):
    def __init__(
        self,
        fetch: "_Fetch",
        batch_size: int,
        workers: int | None,
        device: torch.device | None = None,
        share: Share = np.arange,
    ) -> None:
        super().__init__(fetch.indices, batch_size)
        self._device, self._share = device or torch.device("cpu"), share
        batches = [own.tolist() for own, _ in self.shared(share)]
        self._loader = loader_of(fetch, batches, workers, pin=self._device.type == "cuda")

    def __iter__(self) -> Iterator[tuple[list[Tensor], list[Target]]]:
        for packed, (own, batch) in zip(self._loader, self.shared(self._share), strict=True):
            if isinstance(packed, StripeError):
                raise packed
            columns = {name: column.unpacked(self._device) for name, column in packed.items()}
            images = columns.pop("image", [])
            targets: list[Target] = [{} for _ in range(batch.stop - batch.start)]
            for row, position in enumerate(own - batch.start):
                targets[position] = {name: values[row] for name, values in columns.items()}
            yield images, targets


Change = Callable[[Tensor, Target], tuple[Tensor, Target]]


class _Fetch(Dataset["dict[str, _Column]"]):
    """Whole batches of images by their positions in the pass; lives in the worker processes."""

    def __init__(
        self, images: AnnotatedImages, kinds: tuple[str, ...], indices: IntArray, change: Change, seed: int
    ) -> None:
        self.indices = indices
        self._images, self._kinds, self._change, self._seed = images, kinds, change, seed

    def __len__(self) -> int:
        return len(self.indices)

    def __getitems__(self, positions: list[int]) -> "dict[str, _Column] | StripeError":
        try:
            with torch.random.fork_rng(devices=[]):
                read = [self._read(position) for position in positions]
        except StripeError as error:
            return error  # raised in a worker, it would reach the user with the worker's traceback as its text
        rows = [{"image": image} | target for image, target in read]
        return {name: _Column.of([row[name] for row in rows]) for name in (rows[0] if rows else ())}

    def _read(self, position: int) -> tuple[Tensor, Target]:
        # Seeded image by image: neither the number of workers nor the batch size changes what is drawn.
        torch.manual_seed(mix(self._seed, position))
        return self._change(*self._images.read(int(self.indices[position]), self._kinds))


class _Column(NamedTuple):
    """Tensors of different sizes as one: a worker process needs an open file for every tensor that it hands over.

    Attributes:
        values: All values; eight of them in a byte where they are true or false.
        shapes: The shape of each tensor.
        bits: Whether they are true or false.
    """

    values: Tensor
    shapes: list[tuple[int, ...]]
    bits: bool

    @classmethod
    def of(cls, tensors: list[Tensor]) -> "_Column":
        values, bits = torch.cat([tensor.flatten() for tensor in tensors]), tensors[0].dtype == torch.bool
        if bits:
            values = torch.from_numpy(np.packbits(values.numpy(), bitorder="little"))
        return cls(values, [tuple(tensor.shape) for tensor in tensors], bits)

    def unpacked(self, device: torch.device) -> list[Tensor]:
        """The tensors, on a device."""
        values = self.values.to(device, non_blocking=True)
        ends = np.cumsum([0, *(int(np.prod(shape)) for shape in self.shapes)])
        if self.bits:
            places = torch.arange(8, dtype=torch.uint8, device=device)
            values = (values[:, None] >> places & 1).bool().flatten()
        return [
            values[start:stop].view(shape) for start, stop, shape in zip(ends[:-1], ends[1:], self.shapes, strict=True)
        ]
