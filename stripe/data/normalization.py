"""Mean and std of images, by name or as numbers."""

import math
from typing import NamedTuple

from stripe.errors import StripeError

__all__ = [
    "CIFAR10",
    "IMAGENET",
    "LUMA",
    "NORMALIZATIONS",
    "OWN_IMAGES",
    "Normalization",
    "normalization_of",
    "parse_normalization",
]

LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in a grey value (ITU-R BT.601), as Pillow's mode L has them."""


class Normalization(NamedTuple):
    """What is subtracted from images in 0..1, and what they are divided by: one number per channel.

    Attributes:
        mean: The means of red, green and blue, or of the one grey channel.
        std: Their standard deviations.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def of_channels(self, channels: int) -> "Normalization":
        """The same for grey images, or for colour.

        Args:
            channels: 1 or 3. Of three numbers one becomes their mean, weighted by ``LUMA``: exact for the mean of the
                grey values, and for their std where the colours go up and down together. Of one three equal ones.
        """
        if channels == len(self.mean):
            return self
        if channels == 1:
            mean, std = (sum(a * b for a, b in zip(LUMA, part, strict=True)) for part in self)
            return Normalization((mean,), (std,))
        return Normalization(self.mean * channels, self.std * channels)

    def __str__(self) -> str:
        """``M,M,M/S,S,S``, as ``parse_normalization`` reads it."""
        return "/".join(",".join(f"{value:.4g}" for value in part) for part in self)


IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CIFAR10 = Normalization((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))

NORMALIZATIONS = {
    "imagenet": IMAGENET,
    "cifar10": CIFAR10,
    "cifar100": Normalization((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    "stl10": Normalization((0.4467, 0.4398, 0.4066), (0.2603, 0.2566, 0.2713)),
    "shapes": Normalization((0.495, 0.497, 0.507), (0.224, 0.229, 0.249)),
    "scenes": Normalization((0.493, 0.497, 0.501), (0.227, 0.233, 0.251)),
    "half": Normalization((0.5,) * 3, (0.5,) * 3),
    "none": Normalization((0.0,) * 3, (1.0,) * 3),
}
"""The published data sets' and ours; ``half`` takes 0..1 to -1..1, ``none`` leaves it."""


OWN_IMAGES = ("folder", "coco", "voc")
"""Names of data sets of the user's own images, which are normalised as ImageNet's, as is the custom."""


def normalization_of(spec: str) -> Normalization | None:
    """That of a data set by its name (``cifar10``, ``folder:photos``), which is ImageNet's for one's own images."""
    name = spec.partition(":")[0]
    return NORMALIZATIONS.get("imagenet" if name in OWN_IMAGES else name)


def parse_normalization(text: str) -> Normalization:
    """A name of ``NORMALIZATIONS``, or numbers: mean, a slash, std, each one number or one per channel.

    Raises:
        StripeError: It is neither, or the numbers are not of images in 0..1.

    Example:
        >>> parse_normalization("half") == parse_normalization("0.5/0.5")
        True
        >>> parse_normalization("0.48,0.45,0.4/0.2").std
        (0.2, 0.2, 0.2)
    """
    if text in NORMALIZATIONS:
        return NORMALIZATIONS[text]
    try:
        mean, std = (tuple(float(value) for value in part.split(",")) for part in text.split("/"))
    except ValueError:
        raise StripeError(
            f"{text!r} is no normalisation. Give {', '.join(NORMALIZATIONS)}, or mean and std of images in 0..1, as "
            "0.485,0.456,0.406/0.229,0.224,0.225."
        ) from None
    if not {len(mean), len(std)} <= {1, 3}:
        raise StripeError(
            f"{text!r} has {len(mean)} means and {len(std)} stds; one or three (R, G, B) of each are wanted."
        )
    if not all(math.isfinite(value) for value in (*mean, *std)) or min(std) <= 0:
        raise StripeError(f"{text!r}: mean and std have to be finite numbers, and each std above 0.")
    if max(*mean, *std) > 1:
        raise StripeError(f"{text!r} is not of images in 0..1: where mean and std are of 0..255, divide them by 255.")
    channels = max(len(mean), len(std), 3)
    return Normalization(mean * (channels // len(mean)), std * (channels // len(std)))
