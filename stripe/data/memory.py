"""Small data sets: every image decoded once and held in one uint8 tensor."""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stripe.data.base import Batches, IntArray, Share, Split
from stripe.data.crops import crop_and_flip, draw_crops
from stripe.data.images import Images, read_all, resize
from stripe.data.size import ImageSize

__all__ = ["MemorySplit"]


class MemorySplit(Split):
    """A split in memory. Nothing is decoded before it is needed, and nothing twice.

    Images are held at the size in which they are stored; where ``image_size`` is another one, each batch is
    resized as it leaves, so that CIFAR for a network of 224 pixels takes no more memory than CIFAR.

    Args:
        images: What decodes the images, or all of them, uint8 ``(N, 3, height, width)``.
        labels: The class of every image, ``(N,)``.
        paths: A name for every image.
        image_size: Height and width in pixels of the images that come out.
    """

    image_size: ImageSize

    def __init__(self, images: Images | Tensor, labels: npt.ArrayLike, paths: list[str], image_size: ImageSize) -> None:
        super().__init__(labels, paths, image_size)
        self._source = images

    @cached_property
    def images(self) -> Tensor:
        """Every image as it is stored, uint8 ``(N, 3, height, width)``."""
        return self._source if isinstance(self._source, Tensor) else self._read(np.arange(len(self)))

    def rows(self, indices: IntArray) -> tuple[Tensor, IntArray]:
        """A tensor that holds these images, and the rows of it in which they are.

        A few images of a split that is not decoded yet are decoded alone.
        """
        if "images" in self.__dict__ or isinstance(self._source, Tensor) or 2 * len(indices) >= len(self):
            return self.images, indices
        return self._read(indices), np.arange(len(indices))

    def _read(self, indices: IntArray) -> Tensor:
        assert isinstance(self._source, Images)
        return read_all(self._source, indices, f"Reading {len(indices):,} images")

    def _plain(self, order: IntArray, batch_size: int, workers: int | None, share: Share) -> Batches:
        return _Plain(self, order, batch_size, share)  # all is in memory, so that no process has to decode

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
        """See ``Split.augmented``: ``crop_and_flip`` of each batch, on ``device``."""
        return _Augmented(self, indices, batch_size, seed, device, share)


class _Plain(Batches):
    def __init__(self, split: MemorySplit, indices: npt.ArrayLike, batch_size: int, share: Share) -> None:
        super().__init__(indices, batch_size)
        self._split, self._share = split, share
        self._labels = torch.from_numpy(split.labels[self.indices])

    @cached_property
    def _rows(self) -> tuple[Tensor, Tensor]:
        images, rows = self._split.rows(self.indices)
        return images, torch.from_numpy(rows)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        images, rows = self._rows
        for own, batch in self.shared(self._share):
            yield resize(images[rows[own]], self._split.image_size), self._labels[batch]


class _Augmented(Batches):
    def __init__(
        self,
        split: MemorySplit,
        indices: IntArray,
        batch_size: int,
        seed: int,
        device: torch.device,
        share: Share,
    ) -> None:
        super().__init__(indices, batch_size)
        self._split, self._seed, self._device, self._share = split, seed, device, share

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        images, rows = self._split.images, torch.from_numpy(self.indices)
        labels = torch.from_numpy(self._split.labels)[rows].to(self._device)
        offsets, flips = draw_crops(self.num_images, self._seed)
        for own, batch in self.shared(self._share):
            stored, where, flipped = (
                self._to_device(values) for values in (images[rows[own]], offsets[own], flips[own])
            )
            yield resize(crop_and_flip(stored, where, flipped), self._split.image_size), labels[batch]

    def _to_device(self, values: Tensor) -> Tensor:
        if self._device.type == "cuda":  # from pinned memory, or the copy would wait for the whole queue
            values = values.pin_memory()
        return values.to(self._device, non_blocking=True)
