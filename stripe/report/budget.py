"""How much of a large capture fits on a page: which epochs and images, and means of how many channels.

Images are left out, not averaged: a mean over images would make any attention look like a constant. Channels are
averaged in groups of neighbours (positions of a map in squares). Statistics over images (std, differences between
epochs) are computed of all values before, so that thinning never changes them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["BUDGET", "Cut", "Plan", "SiteShape", "block_mean", "plan"]

BUDGET = 6_000_000
"""Bytes of all quantised values. As base64, beside 4.8 MB of plotly.js and the text, they make a page below 15 MB."""

TEXT = 2_500
"""Bytes of the budget that each site takes for its text, ranges and row in the table."""

SOME_EPOCHS = 12
"""The number of epochs that are shown where there are too many values for all of them."""

SOME_DIFFERENCES = 64
"""The number of differences between epochs that are shown where there are too many values for all of them."""


@dataclass(frozen=True)
class SiteShape:
    """The sizes of a site.

    Attributes:
        images: The number of images.
        features: Height and width of a map, or the one number of channels.
    """

    images: int
    features: tuple[int, ...]


@dataclass(frozen=True)
class Cut:
    """What is shown of a site.

    Attributes:
        step: One image in so many is shown.
        group: The number of neighbouring channels that are averaged; for maps the side of the square of positions.
    """

    step: int = 1
    group: int = 1


@dataclass(frozen=True)
class Plan:
    """What is shown of a capture.

    Attributes:
        epochs: Positions of the epochs whose values are shown.
        differences: The number of consecutive differences between epochs that are averaged.
        cuts: One for each site.
        bits: The size of a quantised attention value, in bits.
    """

    epochs: npt.NDArray[np.int64]
    differences: int
    cuts: tuple[Cut, ...]
    bits: Literal[8, 16]

    @property
    def thinned(self) -> bool:
        """Whether anything is left out or averaged."""
        return self.bits == 8


def plan(epochs: int, sites: Sequence[SiteShape], budget: int = BUDGET) -> Plan:
    """Choose what is shown so that it fits.

    That is every value in 16 bits where they fit. Otherwise values have 8 bits, 12 epochs are evenly spread from the
    first to the last, and each site gets an equal share of the room, of which small sites leave what they don't need
    to the others.

    Args:
        epochs: The number of captured epochs.
        sites: The sizes of the sites.
        budget: The room for all values, in bytes.
    """
    budget -= TEXT * len(sites)
    everything = Plan(np.arange(epochs), 1, (Cut(),) * len(sites), 16)
    if sum(_bytes(site, Cut(), epochs, epochs - 1, 2) for site in sites) <= budget:
        return everything
    shown = np.unique(np.linspace(0, epochs - 1, min(epochs, SOME_EPOCHS)).round().astype(np.int64))
    averaged = max(1, math.ceil((epochs - 1) / SOME_DIFFERENCES))
    differences = math.ceil((epochs - 1) / averaged)
    share = _share([_bytes(site, Cut(), len(shown), differences, 1) for site in sites], budget)
    cuts = tuple(_cut(site, len(shown), differences, share) for site in sites)
    return Plan(shown, averaged, cuts, 8)


def block_mean(values: npt.NDArray[np.floating], group: int, axes: Sequence[int]) -> npt.NDArray[np.floating]:
    """Average neighbouring values.

    Args:
        values: Any shape.
        group: The number of neighbours along each of the axes; the last block may have fewer.
        axes: The axes along which neighbours are averaged.

    Returns:
        An array of the same axes, of which those that were averaged are ⌈n / group⌉ long. The mean of a block with a
        NaN or infinite value is not finite.

    Example:
        >>> block_mean(np.array([1.0, 3.0, 5.0]), 2, [0]).tolist()
        [2.0, 5.0]
    """
    if group == 1:
        return values
    for axis in axes:
        starts = np.arange(0, values.shape[axis], group)
        counts = np.diff([*starts, values.shape[axis]])
        total = np.add.reduceat(values, starts, axis=axis)
        values = total / np.expand_dims(counts, [i for i in range(values.ndim) if i != axis])
    return values


def _cut(site: SiteShape, epochs: int, differences: int, share: float) -> Cut:
    """The finest cut that fits, with about as many images as channels."""
    cut = Cut()
    while _bytes(site, cut, epochs, differences, 1) > share:
        rows, columns = _rows(site, cut), _columns(site, cut)
        if rows == columns == 1:
            break
        cut = Cut(cut.step + 1, cut.group) if rows >= columns else Cut(cut.step, cut.group + 1)
    return cut


def _share(sizes: Sequence[int], budget: float) -> float:
    """The size above which sites are cut, so that all together fit."""
    left = len(sizes)
    for size in sorted(sizes):
        if size > budget / left:
            return budget / left
        budget -= size
        left -= 1
    return math.inf


def _bytes(site: SiteShape, cut: Cut, epochs: int, differences: int, size: int) -> int:
    """Values of every epoch, and in 16 bits two statistics of every epoch and the differences."""
    return _columns(site, cut) * (epochs * _rows(site, cut) * size + 2 * (2 * epochs + differences))


def _rows(site: SiteShape, cut: Cut) -> int:
    return math.ceil(site.images / cut.step)


def _columns(site: SiteShape, cut: Cut) -> int:
    return math.prod(math.ceil(size / cut.group) for size in site.features)
