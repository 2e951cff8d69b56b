"""Statistics of a site gathered block by block: mergeable, so that blocks may be computed anywhere, in any order.

Three accumulators, each fed with the values of a few images at some consecutive epochs, ``rows (epochs, images,
features)``, and the index of the first of these epochs: `Moments`, `Movement` and `Agreement`. They compute what
`channel_std`, `epoch_diff`, `settled_fraction` and `map_correlation` define, from blocks that fit the processor's
cache, in the precision of the file within a block (float32 at least) and in float64 between blocks. ``scratch``, of
the shape of ``rows``, is overwritten: memory that is used again is in the cache.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["Agreement", "Moments", "Movement"]

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Rows = NDArray[np.floating[Any]]


@dataclass
class Moments:
    """Sums from which follow mean and variance over the images.

    Sums of deviations from a typical one of the values: small where the std is small, so that nothing is lost to
    cancellation, and exactly 0 where nothing varies. A value that is NaN or infinite makes its channel's sums NaN.

    Attributes:
        shift: ``(epoch, feature)`` what the deviations are from.
        count: ``(epoch,)`` images so far.
        total: ``(epoch, feature)`` sum of the deviations.
        squares: ``(epoch, feature)`` sum of their squares.
        nonfinite: ``(epoch,)`` values that were NaN or infinite.
    """

    shift: Rows
    count: Counts
    total: Floats
    squares: Floats
    nonfinite: Counts

    @classmethod
    def zeros(cls, some: Rows) -> Self:
        """Of no image yet; ``some (epoch, image, feature)`` are a few of those that will come."""
        epochs = len(some)
        # The middle one of three: any single one may lie far from all others.
        a, b, c = (some[:, i % some.shape[1]] for i in range(3))
        middle = np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c))
        shift = np.where(np.isfinite(middle), middle, middle.dtype.type(0))
        return cls(shift, _counts(epochs), np.zeros(shift.shape), np.zeros(shift.shape), _counts(epochs))

    def add(self, first: int, rows: Rows, scratch: Rows) -> None:
        """Take in further images."""
        epochs = slice(first, first + len(rows))
        deviation = np.subtract(rows, self.shift[epochs, None], out=scratch)
        total = deviation.sum(axis=1)
        finite = np.isfinite(total)
        if not finite.all():
            self.nonfinite[epochs] += np.count_nonzero(~np.isfinite(rows), axis=(1, 2))
            total[~finite] = np.nan
        self.count[epochs] += rows.shape[1]
        self.total[epochs] += total
        self.squares[epochs] += np.einsum("eif,eif->ef", deviation, deviation)

    def merge(self, other: Self) -> Self:
        """Of the images of both."""
        count = other.count[:, None]
        moved = other.shift.astype(np.float64) - self.shift  # its deviations become deviations from our shift
        return type(self)(
            self.shift,
            self.count + other.count,
            self.total + other.total + count * moved,
            self.squares + other.squares + 2 * moved * other.total + count * moved**2,
            self.nonfinite + other.nonfinite,
        )

    @property
    def mean(self) -> Floats:
        """``(epoch, feature)`` mean over the images; NaN where a value was not finite."""
        return self.shift + self.total / self.count[:, None]

    @property
    def variance(self) -> Floats:
        """``(epoch, feature)`` population variance over the images; NaN where a value was not finite."""
        count = self.count[:, None]
        # Rounding can leave a variance a hair below zero.
        return np.maximum(self.squares / count - (self.total / count) ** 2, 0)


@dataclass
class Movement:
    """Differences from epoch to epoch, and the values that have settled.

    Attributes:
        tolerance: The largest distance from the last epoch's value that counts as settled.
        total: ``(epoch, feature)`` sum over the images of the difference to the epoch before; 0 in the first epoch.
        largest: ``(epoch, feature)`` the largest of them.
        settled: ``(epoch,)`` values that from this epoch on stay within ``tolerance`` of that of the last epoch.
    """

    tolerance: float
    total: Floats
    largest: Floats
    settled: Counts

    @classmethod
    def zeros(cls, epochs: int, features: int, tolerance: float) -> Self:
        """Of no image yet."""
        return cls(tolerance, np.zeros((epochs, features)), np.zeros((epochs, features)), _counts(epochs))

    def add(self, first: int, rows: Rows, final: Rows, still: NDArray[np.bool_], scratch: Rows) -> None:
        """Take in further images; of the same images, later epochs come before earlier ones.

        Args:
            first: Index of the first epoch of ``rows``.
            rows: ``(epochs, images, features)`` values; the last epoch is the first one of the call before.
            final: ``(images, features)`` values of the last epoch of all.
            still: ``(images, features)`` whether no epoch after those of ``rows`` is more than ``tolerance`` away from
                the last one; updated.
            scratch: One epoch less than ``rows``; overwritten.
        """
        difference = np.abs(np.subtract(rows[1:], rows[:-1], out=scratch), out=scratch)
        later = slice(first + 1, first + len(rows))
        self.total[later] += difference.sum(axis=1)
        np.maximum(self.largest[later], difference.max(axis=1), out=self.largest[later])
        if not still.any():
            return
        within = np.abs(np.subtract(rows[:-1], final, out=scratch), out=scratch) <= self.tolerance
        for epoch in reversed(range(len(within))):
            still &= within[epoch]
            self.settled[first + epoch] += np.count_nonzero(still)

    def merge(self, other: Self) -> Self:
        """Of the images of both."""
        return type(self)(
            self.tolerance,
            self.total + other.total,
            np.maximum(self.largest, other.largest),
            self.settled + other.settled,
        )


@dataclass
class Agreement:
    """Sum of the standardised attention maps, from which follows their mean pairwise correlation.

    Attributes:
        count: ``(epoch,)`` maps so far that vary over their positions and are finite.
        total: ``(epoch, position)`` sum of the maps, each with mean 0 and length 1.
    """

    count: Counts
    total: Floats

    @classmethod
    def zeros(cls, epochs: int, features: int) -> Self:
        """Of no image yet."""
        return cls(_counts(epochs), np.zeros((epochs, features)))

    def add(self, first: int, rows: Rows) -> None:
        """Take in further maps; the features are positions."""
        maps = rows - rows[..., :1]  # makes constant maps exactly 0
        maps -= maps.mean(axis=2, keepdims=True)
        length = np.sqrt(np.einsum("eip,eip->ei", maps, maps))
        usable = (length > 0) & np.isfinite(length)
        if not usable.all():
            maps[~usable], length[~usable] = 0, 1
        epochs = slice(first, first + len(rows))
        self.count[epochs] += np.count_nonzero(usable, axis=1)
        self.total[epochs] += np.einsum("ei,eip->ep", 1 / length, maps)

    def merge(self, other: Self) -> Self:
        """Of the images of both."""
        return type(self)(self.count + other.count, self.total + other.total)

    @property
    def correlation(self) -> Floats:
        """``(epoch,)`` mean Pearson correlation over all pairs of maps; NaN where there is no pair."""
        pairs = self.count * (self.count - 1)
        squared = (self.total**2).sum(axis=1)
        correlation: Floats = np.divide(squared - self.count, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
        return correlation


def _counts(epochs: int) -> Counts:
    return np.zeros(epochs, np.int64)
