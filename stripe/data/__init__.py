"""Names → data sets: two splits of uint8 images, in memory or streamed.

A new data set is one more file here with a function that ``register`` decorates; see there.
"""

from typing import TYPE_CHECKING

from stripe.lazy import names_of

if TYPE_CHECKING:
    from stripe.data.annotated import AnnotatedSplit
    from stripe.data.augmentation import Augmentation
    from stripe.data.base import Batches, Data, Split
    from stripe.data.choose import choose_images
    from stripe.data.epoch import train_batches
    from stripe.data.normalization import Normalization, normalization_of, parse_normalization
    from stripe.data.registry import load, register
    from stripe.data.size import ImageSize, in_pixels, parse_size, sides, write_size

__all__ = [
    "AnnotatedSplit",
    "Augmentation",
    "Batches",
    "Data",
    "ImageSize",
    "Normalization",
    "Split",
    "choose_images",
    "in_pixels",
    "load",
    "normalization_of",
    "parse_normalization",
    "parse_size",
    "register",
    "sides",
    "train_batches",
    "write_size",
]

__getattr__ = names_of(
    __name__,
    base=("Batches", "Data", "Split"),
    choose=("choose_images",),
    registry=("load", "register"),
    normalization=("Normalization", "normalization_of", "parse_normalization"),
    size=("ImageSize", "in_pixels", "parse_size", "sides", "write_size"),
    annotated=("AnnotatedSplit",),
    augmentation=("Augmentation",),
    epoch=("train_batches",),
)
