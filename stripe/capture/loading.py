"""What images come from: any loader, and what its batches hold."""

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from stripe.errors import StripeError

__all__ = ["Loader", "count_images", "images_and_labels"]


class Loader(Protocol):
    """What images come from: iterated once an epoch, always in the same order.

    A ``torch.utils.data.DataLoader`` (not shuffled) is one. Each item is a batch of images or a tuple of images and
    labels. An attribute ``num_images`` says how many images there are where a ``DataLoader`` would say it by itself.
    """

    def __iter__(self) -> Iterator[Any]: ...


def images_and_labels(batch: Any) -> tuple[Tensor, Tensor]:
    """Take a loader's batch apart; label −1 where there is none."""
    if isinstance(batch, Tensor):
        batch = (batch,)
    if not isinstance(batch, tuple | list) or not batch or not isinstance(batch[0], Tensor):
        if batch is None:
            raise StripeError("The loader gives no images.")
        raise StripeError(f"The loader gives {type(batch).__name__}; it must give images or (images, labels).")
    images = batch[0]
    unlabelled = len(batch) < 2 or not isinstance(batch[1], Tensor) or batch[1].shape != (len(images),)
    return images, torch.full((len(images),), -1) if unlabelled else batch[1].long()


def count_images(loader: Any) -> int:
    """How many images a loader gives."""
    for count in (lambda: loader.num_images, lambda: len(loader.sampler), lambda: len(loader.dataset)):
        try:
            return int(count())
        except (AttributeError, TypeError):
            continue
    raise StripeError(
        "The loader does not say how many images it gives: use a DataLoader over a data set with a length, or give it "
        "an attribute num_images."
    )
