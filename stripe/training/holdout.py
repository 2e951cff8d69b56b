"""Images that are held out of the training set, to choose the best epoch by them and not by the test set."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from stripe.data import Split
from stripe.data.base import Batches, IntArray, Share, strata
from stripe.errors import StripeError

__all__ = ["EVERY", "SEED", "Part", "hold_out"]

EVERY = 10
"""One image in so many is held out."""

SEED = 0
"""Decides which. The same for every run, whatever its own seed, so that runs can be compared."""


class Part(Split):
    """Some of the images of a split.

    Args:
        whole: The split.
        chosen: Indices of the images in it, (n,).
    """

    def __init__(self, whole: Split, chosen: IntArray) -> None:
        super().__init__(whole.labels[chosen], [whole.paths[index] for index in chosen], whole.image_size)
        self.objects = None if whole.objects is None else whole.objects[chosen]
        self.chosen = chosen
        self._whole = whole

    def _plain(self, order: IntArray, batch_size: int, workers: int | None, share: Share) -> Batches:
        return self._whole.loader(batch_size, indices=self.chosen[order], workers=workers, share=share)

    def augmented(
        self,
        batch_size: int,
        *,
        indices: IntArray,
        seed: int,
        device: torch.device,
        workers: int | None = None,
        share: Share = np.arange,
        **settings: Any,
    ) -> Batches:
        """See ``Split.augmented``; further settings are those of the split."""
        chosen = self.chosen[indices]
        return self._whole.augmented(
            batch_size, indices=chosen, seed=seed, device=device, workers=workers, share=share, **settings
        )

    def with_annotations(self, kinds: Sequence[str]) -> Split:
        """See ``Split.with_annotations``."""
        return Part(self._whole.with_annotations(kinds), self.chosen)


def hold_out(split: Split) -> tuple[Part, Part]:
    """Hold a tenth of the images out; where there are classes, of each class a tenth of its images, give or take one.

    Args:
        split: The training images.

    Returns:
        What is left to train on, and what is held out; both in the order of the split.

    Raises:
        StripeError: There are too few images.
    """
    shuffled = np.random.default_rng(SEED).permutation(len(split))
    by_class = shuffled[np.argsort(strata(split.labels)[shuffled], kind="stable")]
    held = np.sort(by_class[EVERY // 2 :: EVERY])
    if not held.size:
        raise StripeError(
            f"{len(split)} training images are too few to hold some out; choose the best epoch by the test set "
            "with select='test', or give more images"
        )
    return Part(split, np.setdiff1d(np.arange(len(split)), held)), Part(split, held)
