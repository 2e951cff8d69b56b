"""In memory or streamed: where a split's images live."""

import numpy.typing as npt

from stripe.data.base import Split
from stripe.data.images import Images
from stripe.data.memory import MemorySplit
from stripe.data.size import ImageSize
from stripe.data.streamed import StreamedSplit

__all__ = ["MEMORY_LIMIT", "make_split"]

MEMORY_LIMIT = 2 * 2**30
"""Bytes of decoded images up to which a split is held in memory."""


def make_split(
    images: Images,
    labels: npt.ArrayLike,
    paths: list[str],
    image_size: ImageSize,
    *,
    training: bool,
    memory_limit: int = MEMORY_LIMIT,
) -> Split:
    """In memory where the images fit, unless it is to train on photos: their crops are cut from the originals."""
    fits = images.num_bytes() <= memory_limit
    kind = MemorySplit if fits and not (training and images.varied) else StreamedSplit
    return kind(images, labels, paths, image_size)
