"""The batches of one training epoch."""

from typing import Any

import numpy as np
import torch

from stripe.data.augmentation import Augmentation
from stripe.data.base import Batches, Share, Split
from stripe.data.crops import mix
from stripe.errors import StripeError

__all__ = ["train_batches"]


def train_batches(
    split: Split,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    images_per_epoch: int | None = None,
    device: torch.device | str = "cpu",
    workers: int | None = None,
    share: Share = np.arange,
    augmentation: Augmentation | None = None,
) -> Batches:
    """One epoch of shuffled, randomly cropped and flipped images.

    Order and augmentation follow from ``(seed, epoch)`` alone, not from what was drawn before, the device or
    the number of workers: a run that is resumed at an epoch sees what the uninterrupted run saw.

    Images that are all of one size are padded by 4 pixels and cropped (He et al. 2016, arXiv 1512.03385,
    section 4.2), photos of different sizes get a random resized crop; both are flipped half of the time.

    Args:
        split: What to train on, mostly ``data.train``.
        batch_size: Images a batch. The last batch holds what is left; a single image that is left over is
            dropped, since batch statistics of one image say nothing.
        seed: The run's seed, 0 or more.
        epoch: The epoch's number, 0 or more.
        images_per_epoch: Take only so many images, others in each epoch; all by default.
        device: Where the batches are wanted.
        workers: Processes that decode, for images that are streamed; by default one a core, 8 at most.
        share: Which images of a batch this process needs, where several train together; the others are not decoded.
        augmentation: How images with annotations are varied; others have no choice.

    Returns:
        An iterable with a length; yields uint8 ``(B, 3, H, W)`` and int64 ``(B,)`` on ``device``; with a ``share``
        the images of that alone, in its order, and the labels of the whole batch. Of images with annotations two lists,
        see ``stripe.data.annotated.AnnotatedSplit``.

    Raises:
        StripeError: ``images_per_epoch`` is below 1.

    Example:
        >>> from stripe.data import load, train_batches
        >>> data = load("shapes:train=40,test=10")
        >>> [len(labels) for images, labels in train_batches(data.train, 16, seed=0, epoch=0)]
        [16, 16, 8]
    """
    if images_per_epoch is not None and images_per_epoch < 1:
        raise StripeError(f"{images_per_epoch} images an epoch were asked for; it must be at least 1.")
    generator = torch.Generator().manual_seed(mix(seed, epoch, 0))
    order = torch.randperm(len(split), generator=generator).numpy()[:images_per_epoch]
    if len(order) > 1 and len(order) % batch_size == 1:
        order = order[:-1]
    settings: dict[str, Any] = {} if augmentation is None else {"augmentation": augmentation}
    return split.augmented(
        batch_size,
        indices=order,
        seed=mix(seed, epoch, 1),
        device=torch.device(device),
        workers=workers,
        share=share,
        **settings,
    )
