"""The image bootstrap of a site's numbers: all replicates from one matrix product.

A replicate draws the images anew, with replacement. All that it needs to know of that is how often it drew each image,
and every number of a site follows from sums over images with these counts as weights. So the replicates of a site are
one product, counts (replicates, images) times values (images, columns), taken in blocks of columns that fit in memory.

The first row of the counts is 1 throughout: the sample itself, whose numbers are the estimates. A variance within a
replicate is low by 1/N, and means of channels differ by what chance adds; replicates are recentred for that, or their
quantiles would lie beside the estimate where there are few images.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["NUMBERS", "Sample", "draw_counts", "replicates"]

Floats = NDArray[np.float64]

NUMBERS = (
    *("channel_share", "image_share", "interaction_share", "class_share", "stripe_index"),
    *("constant_error", "scalar_error", "output_error", "scalar_output_error"),
)
"""What ``replicates`` gives, by name."""

# A variance below this share of the mean square is rounding: float32 has steps of 6e-8.
ROUNDING = 1e-20


def draw_counts(images: int, resamples: int, seed: int) -> NDArray[np.float32]:
    """How often each replicate draws each image.

    Returns:
        ``(1 + resamples, images)``; the first row is 1 throughout, the others sum up to ``images``.
    """
    drawn = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=resamples)
    return np.concatenate([np.ones((1, images)), drawn]).astype(np.float32)


@dataclass
class Sample:
    """Sums over the columns (channels, positions …) of a site, as its blocks of columns come in.

    Attributes:
        counts: What ``draw_counts`` gives.
        members: ``(images,)`` number of the class of each image, from 0; None where classes are unknown or of no use.
        residual: Whether the map is multiplied by 1 + v.
        columns: How many there were so far.
        of_images: Name of a sum → ``(images,)`` it of each image, over the columns.
        of_replicates: Name of a sum → ``(replicates,)`` it of each replicate, over the columns.
    """

    counts: NDArray[np.float32]
    members: NDArray[np.int64] | None = None
    residual: bool = False
    columns: int = 0
    of_images: dict[str, Floats] = field(default_factory=dict)
    of_replicates: dict[str, Floats] = field(default_factory=dict)
    _shift: float = 0.0
    _unit: float = 0.0

    def add(self, values: Floats, size: Floats | None) -> None:
        """Take in further columns.

        Args:
            values: ``(images, columns)`` attention, finite.
            size: Of the same shape: the root mean square of the map; None where it is not known.
        """
        images, width = values.shape
        means = values.mean(axis=0)
        deviation = values - means
        deviation[:, (values == values[0]).all(axis=0)] = 0.0  # no rounding of the mean where nothing varies
        if not self.columns:
            self._shift = float(means.mean())  # that of all is not known yet; near it nothing is lost to cancellation
        self.columns += width
        self._sum_images("deviation", deviation)
        self._sum_images("deviation²", deviation**2)
        self._sum_images("v", values)
        self._sum_images("v²", values**2)
        if size is None:
            moved = self.counts @ deviation.astype(np.float32) / images
        else:
            self._unit = self._unit or float(size.max())
            weight = (size / (self._unit or 1.0)) ** 2
            gate = values + float(self.residual)
            self._sum_images("w·deviation²", weight * deviation**2)
            self._sum_images("w", weight)
            self._sum_images("w·g", weight * gate)
            self._sum_images("w·g²", weight * gate**2)
            together = np.concatenate([deviation, weight * deviation, weight], axis=1, dtype=np.float32)
            moved, crossed, weighed = np.split(self.counts @ together, 3, axis=1)
            moved = moved / images
            self._sum_replicates("cross", moved * (moved * weighed - 2 * crossed))
        level = moved + (means - self._shift).astype(np.float32)
        self._sum_replicates("level", level)
        self._sum_replicates("level²", level**2)
        self._sum_replicates("moved²", moved**2)
        if self.members is not None:
            for number in range(self.members.max() + 1):
                own = self.members == number
                deviation[own] -= deviation[own].mean(axis=0)
            self._sum_images("deviation from the class²", deviation**2)

    def over_images(self, name: str) -> Floats:
        """``(replicates,)`` a sum over the columns, summed over the images of each replicate."""
        return self.counts.astype(np.float64) @ self.of_images[name]

    def _sum_images(self, name: str, values: Floats) -> None:
        self.of_images[name] = self.of_images.get(name, 0.0) + values.sum(axis=1)

    def _sum_replicates(self, name: str, values: NDArray[np.float32]) -> None:
        self.of_replicates[name] = self.of_replicates.get(name, 0.0) + values.sum(axis=1, dtype=np.float64)


def replicates(
    blocks: Iterable[tuple[Floats, Floats | None]],
    counts: NDArray[np.float32],
    members: NDArray[np.int64] | None = None,
    residual: bool = False,
) -> tuple[dict[str, Floats], list[str]]:
    """The numbers of a site, of the sample and of each replicate.

    Args:
        blocks: ``(images, columns)`` of attention, and of the root mean square of the map or None, block by block.
        counts: What ``draw_counts`` gives.
        members: ``(images,)`` number of the class of each image, from 0; None leaves ``class_share`` out.
        residual: Whether the map is multiplied by 1 + v.

    Returns:
        Each of ``NUMBERS`` → ``(1 + resamples,)``, the estimate first, NaN where it is not defined; and the variance
        components whose estimate is negative and was taken as 0.
    """
    images = counts.shape[1]
    sample = Sample(counts, members, residual)
    for values, size in blocks:
        if values.shape[1]:
            sample.add(values, size)
    found = dict.fromkeys(NUMBERS, np.full(len(counts), np.nan))
    if not sample.columns or images < 2:
        return found, []
    with np.errstate(invalid="ignore", divide="ignore"):
        shares, negative = _shares(sample)
        found |= shares | _errors(sample)
        if sample.members is not None:
            found["class_share"] = _class_share(sample)
    return found, negative


def _within(sample: Sample) -> Floats:
    """(replicates,) mean over the columns of the population variance over the images."""
    images = sample.counts.shape[1]
    summed = sample.over_images("deviation²") - images * sample.of_replicates["moved²"]
    within: Floats = np.maximum(summed / (images * sample.columns), 0.0)
    return within


def _again(sample: Sample) -> Floats:
    """(replicates,) what makes up for the variance in a replicate being low once more."""
    images = sample.counts.shape[1]
    factor = np.full(len(sample.counts), images / (images - 1))
    factor[0] = 1.0
    return factor


def _shares(sample: Sample) -> tuple[dict[str, Floats], list[str]]:
    images, columns = sample.counts.shape[1], sample.columns
    within, again, unbiased = _within(sample), _again(sample), images / (images - 1)
    level, squares = (sample.of_replicates[name] / columns for name in ("level", "level²"))
    between = squares - level**2
    between[between < ROUNDING * sample.of_images["v²"].sum() / (images * columns)] = 0.0
    row = sample.of_images["deviation"] / columns
    counts = sample.counts.astype(np.float64)
    rows = counts @ row**2 / images - (counts @ row / images) ** 2
    rest = within - rows  # of channel and image together
    rest[rest < 1e-9 * within] = 0.0  # rounding of float32 in the sums of the replicates
    by_chance = np.where(np.arange(len(counts)) > 0, rest[0] / images, 0.0)
    spread = np.maximum(between - by_chance, 0.0)
    index = spread / (spread + within * again)
    found = {"stripe_index": index if columns > 1 else np.full(len(counts), np.nan)}
    if columns < 2:
        return found, []
    freedom = columns / (columns - 1)
    interaction = rest * unbiased * freedom
    image = rows * unbiased * again - interaction * again / columns
    channel = between * freedom - interaction / images - by_chance * unbiased * freedom
    components = {"channel": channel, "image": image, "interaction": interaction * again}
    kept = {name: np.maximum(component, 0.0) for name, component in components.items()}
    total = kept["channel"] + kept["image"] + kept["interaction"]
    found |= {f"{name}_share": component / total for name, component in kept.items()}
    return found, [name for name, component in components.items() if component[0] < 0]


def _errors(sample: Sample) -> dict[str, Floats]:
    images, columns = sample.counts.shape[1], sample.columns
    unbiased = images / (images - 1) * _again(sample)
    squares, mean = sample.over_images("v²"), sample.over_images("v") / (images * columns)
    off = _within(sample) * images * columns
    beside = squares - images * columns * mean**2
    nothing = squares == 0
    found = {
        "constant_error": np.where(nothing, 0.0, np.sqrt(unbiased * off / squares)),
        "scalar_error": np.sqrt(np.maximum(beside, 0.0) / squares),
    }
    if "w" in sample.of_images:
        size, mean = sample.over_images("w·g²"), mean + float(sample.residual)
        off = sample.over_images("w·deviation²") + sample.of_replicates["cross"]
        beside = size - 2 * mean * sample.over_images("w·g") + mean**2 * sample.over_images("w")
        found |= {
            "output_error": np.sqrt(unbiased * np.maximum(off, 0.0) / size),
            "scalar_output_error": np.sqrt(np.maximum(beside, 0.0) / size),
        }
    return found


def _class_share(sample: Sample) -> Floats:
    """ε²; see ``stripe.analysis.class_share``.

    The means of the classes stay those of the sample, which is as exact to first order: a replicate that holds an image
    several times would take what that image has in common with itself for a matter of the class.
    """
    assert sample.members is not None
    images, classes = sample.counts.shape[1], int(sample.members.max()) + 1
    rest, total = sample.over_images("deviation from the class²"), sample.over_images("deviation²")
    ratio = rest / (images - classes) / (total / (images - 1))
    share: Floats = np.clip(1 - ratio, 0.0, 1.0)
    return share
