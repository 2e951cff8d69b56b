"""One pass over one array of a capture: every value is read once, whatever is computed of it."""

from dataclasses import dataclass
from typing import Any, Self
from uuid import uuid4

import numpy as np
import xarray as xr
from dask.delayed import Delayed, delayed
from numpy.typing import NDArray

from stripe.analysis.accumulate import Agreement, Moments, Movement

__all__ = ["Summary", "summarize", "summarize_block"]

# Bytes of a chunk: several a thread fit in memory, and (below malloc's 32 MiB) its pages are reused by the next one.
CHUNK_BYTES = 16 * 2**20
# Values that are worked on together: a few such arrays fit a processor's cache, and threads seldom meet in Python.
BLOCK_VALUES = 2**20
# Rows that are summed in float32 at a time: more would add up their rounding.
MAX_ROWS = 256
# Summaries that are merged at a time: few, for one may be as large as a chunk where there are few images in it.
MERGE_WIDTH = 4


@dataclass
class Summary:
    """What is known of an array ``(epoch, image, feature)`` after some of its images.

    Attributes:
        moments: Mean and variance over the images.
        movement: Differences between epochs; None if not asked for.
        agreement: Correlation of maps; None if not asked for.
    """

    moments: Moments
    movement: Movement | None
    agreement: Agreement | None

    def merge(self, other: Self) -> Self:
        """Of the images of both."""
        return type(self)(
            self.moments.merge(other.moments),
            self.movement.merge(other.movement) if self.movement and other.movement else None,
            self.agreement.merge(other.agreement) if self.agreement and other.agreement else None,
        )


def summarize(values: xr.DataArray, tolerance: float | None = None, maps: bool = False) -> Delayed:
    """A lazy `Summary` of an array, for `dask.compute`.

    Args:
        values: ``(epoch, image, …)``; the further dimensions become one axis of features. What is not chunked by dask
            yet is read in chunks of a few images and all epochs, about 16 MiB each.
        tolerance: Tolerance of the differences between epochs; None leaves them out.
        maps: Whether to correlate the maps of the images.
    """
    values = values.transpose("epoch", "image", ...)
    images = values.sizes["image"]
    if values.chunks is None:
        image_bytes = max(values.nbytes // images, 1)
        token = uuid4().hex  # else dask hashes every value to name the chunks
        values = values.chunk({"image": max(CHUNK_BYTES // image_bytes, 1)}, token=token)
    # A difference needs both its epochs and a correlation the whole map in one chunk.
    whole = values.chunk({dim: -1 for dim in values.dims if dim != "image"})
    parts = [delayed(summarize_block)(part, tolerance, maps) for part in whole.data.to_delayed().ravel()]
    while len(parts) > 1:
        parts = [delayed(_merge)(parts[i : i + MERGE_WIDTH]) for i in range(0, len(parts), MERGE_WIDTH)]
    return parts[0]


def summarize_block(values: NDArray[np.floating[Any]], tolerance: float | None, maps: bool) -> Summary:
    """The `Summary` of an array in memory.

    Args:
        values: ``(epoch, image, …)``.
        tolerance: Tolerance of the differences between epochs; None leaves them out.
        maps: Whether to correlate the maps of the images.
    """
    epochs, images = values.shape[:2]
    values = values.reshape(epochs, images, -1)
    features = values.shape[2]
    precision = np.result_type(values.dtype, np.float32)
    moments = Moments.zeros(values[:, :3].astype(precision))
    movement = None if tolerance is None else Movement.zeros(epochs, features, tolerance)
    agreement = Agreement.zeros(epochs, features) if maps else None
    limit = max(1, min(MAX_ROWS, BLOCK_VALUES // features))
    some = -(-images // -(-images // limit))  # images at a time, evenly
    group = max(1, min(epochs, BLOCK_VALUES // (some * features)))
    scratch = np.empty((group, some, features), precision)
    with np.errstate(invalid="ignore", over="ignore"):  # values that are not finite are counted, not warned of
        for start in range(0, images, some):
            block = values[:, start : start + some]
            still = np.ones(block.shape[1:], bool)
            final = block[-1].astype(precision, copy=False)
            for last in range(epochs, 0, -group):  # backwards: settled is what never moves again
                first = max(0, last - group)
                rows = block[first : last + 1].astype(precision, copy=False)  # and the epoch after them
                now = rows[: last - first]
                moments.add(first, now, scratch[: len(now), : now.shape[1]])
                if agreement is not None:
                    agreement.add(first, now)
                if movement is not None and len(rows) > 1:
                    movement.add(first, rows, final, still, scratch[: len(rows) - 1, : now.shape[1]])
    return Summary(moments, movement, agreement)


def _merge(parts: list[Summary]) -> Summary:
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merge(part)
    return merged
