"""Splits of our data sets as loaders of what a network takes: images that are normalised, and its classes."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from stripe.data import Batches, Data, Split, train_batches
from stripe.training import Compute

__all__ = ["AugmentedLoader", "NormalizedLoader"]


@dataclass(frozen=True)
class NormalizedLoader:
    """The images of a split as the network takes them, the same each time; images with annotations as lists.

    Attributes:
        batches: The batches of the split's loader.
        data: The data set, which says how its images are normalised.
        compute: The device and precision.
        positions: (labels,), the network's class for each label; None: they are the same.
    """

    batches: Batches
    data: Data
    compute: Compute
    positions: npt.NDArray[np.int64] | None = None

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """Images (N, 3, H, W), normalised, and labels (N,)."""
        for images, labels in self.batches:
            yield self.compute.input(self.data, images), _renumbered(labels, self.positions)

    def __len__(self) -> int:
        """The number of batches."""
        return len(self.batches)


@dataclass
class AugmentedLoader:
    """Training images, cropped and flipped anew, and in another order, each time.

    Attributes:
        split: The images.
        batch_size: Images per batch.
        seed: Decides order and augmentation.
        data: The data set, which says how its images are normalised.
        compute: The device and precision.
        workers: The number of processes that decode.
        images_per_epoch: How many images are taken each time, others each time; None: all.
        positions: (labels,), the network's class for each label; None: they are the same.
    """

    split: Split
    batch_size: int
    seed: int
    data: Data
    compute: Compute
    workers: int | None = None
    images_per_epoch: int | None = None
    positions: npt.NDArray[np.int64] | None = None
    epoch: int = field(default=0, init=False)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """Images (N, 3, H, W), normalised, and labels (N,)."""
        self.epoch += 1
        for images, labels in self._batches(self.epoch):
            yield self.compute.input(self.data, images), _renumbered(labels, self.positions)

    def __len__(self) -> int:
        """The number of batches."""
        return len(self._batches(1))

    def _batches(self, epoch: int) -> Batches:
        return train_batches(
            self.split,
            self.batch_size,
            seed=self.seed,
            epoch=epoch,
            images_per_epoch=self.images_per_epoch,
            device=self.compute.device,
            workers=self.workers,
        )


def _renumbered(labels: Any, positions: npt.NDArray[np.int64] | None) -> Any:
    return labels if positions is None else torch.from_numpy(positions).to(labels.device)[labels]
