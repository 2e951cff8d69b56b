"""``folder:PATH``: the user's own images, one folder for each class."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stripe.data.annotated import AnnotatedImages, AnnotatedSplit
from stripe.data.augmentation import Target
from stripe.data.base import Data, Split
from stripe.data.classfolders import Files, find_images
from stripe.data.files import FileImages, common_size, digest_of
from stripe.data.images import Images
from stripe.data.normalization import IMAGENET
from stripe.data.registry import register
from stripe.data.size import ImageSize, inscribed, sides, write_size
from stripe.data.splits import MEMORY_LIMIT, make_split
from stripe.errors import StripeError

__all__ = ["PHOTO_SIZE", "load_folder"]

PHOTO_SIZE = 224
"""Pixels of a photo, where the user does not say."""

SMALL = 128
"""Images that are all of one size with a short side up to this keep their size."""

SAMPLE = 200
"""The headers that are read to see whether all images are of one size."""


@register("folder:PATH", place=1)
def load_folder(
    *,
    rest: str,
    image_size: ImageSize | None = None,
    memory_limit: int = MEMORY_LIMIT,
    own_sizes: bool = False,
) -> Data:
    """Images in class folders, ``PATH/<class>/…`` or ``PATH/train/<class>/…`` and ``PATH/test/<class>/…``, or without.

    The halves may be called ``train`` or ``training``, and ``test``, ``testing``, ``val``, ``valid`` or ``validation``,
    in any capitalisation. A class's images may lie in folders below it, and links to folders are followed. Read is what
    Pillow reads; hidden files are passed over, and what else is left out is logged. Without a split, one image in five
    of each class is for testing, and at least one: those whose names have the smallest SHA-256, so that the same files
    are held out on every machine, and few change sides when files are added.

    Images that lie in no class folder, or in the only one, have no classes and the label -1. Of these, too, one in five
    is for testing; ``everything`` holds all of them.

    Images keep their size where all have the same, and it is small (a short side of up to 128 pixels; the
    headers of 200 images decide), and are square then: their centre. Others are scaled until they just cover
    ``image_size``, 224 by default, and their centre is cut out. Nothing is distorted.

    Args:
        rest: The path of the folder.
        image_size: Height and width in pixels, or one number for square ones.
        memory_limit: Bytes up to which a split is decoded into memory.
        own_sizes: Whether every image keeps its own size, where no ``image_size`` is given. Batches are then lists of
            images, without the classes, as of ``stripe.data.annotated.AnnotatedSplit``.

    Raises:
        StripeError: No such folder, one that cannot be listed, no images, a class without images, or ``train`` and
            ``test`` of different classes.
    """
    path = Path(rest).expanduser().resolve()
    if not path.is_dir():
        raise StripeError(
            f"There is no folder {path}. folder:PATH needs a folder of images, or one that holds one folder a class."
        )
    found = find_images(path)
    every = [name for files in (*found.train, *found.test) for name in files]
    evenly = np.linspace(0, len(every) - 1, min(SAMPLE, len(every))).astype(int)
    common = common_size(path, [every[i] for i in evenly])
    stored = common[::-1] if common and min(common) <= SMALL else None
    own = own_sizes and image_size is None
    image_size = image_size or (min(stored) if stored else PHOTO_SIZE)
    held = image_size
    if stored and any(wanted > there for wanted, there in zip(sides(image_size), stored, strict=True)):
        held = inscribed(image_size, stored)  # enlarged only when they come out

    def split(files: Files, *, training: bool) -> Split:
        numbers = np.arange(len(files)) if found.labelled else [-1]
        labels = np.repeat(numbers, [len(names) for names in files])
        names = [name for names in files for name in names]
        images = FileImages(path, names, held, varied=own or stored is None)
        if own:
            return AnnotatedSplit(Photos(images, names), ())
        return make_split(images, labels, names, image_size, training=training, memory_limit=memory_limit)

    train, test = split(found.train, training=True), split(found.test, training=False)
    everything, files = None, (found.train, found.test)
    if not found.halves:
        both = [sorted({*kept, *held}) for kept, held in zip(found.train, found.test, strict=True)]
        everything = split(both, training=False)
        if not found.labelled:
            files = (both, both)  # as of captures made when nothing was held out of such images: these are the same
    return Data(
        spec=f"folder:{path}",
        classes=found.classes,
        image_size=None if own else image_size,
        mean=IMAGENET.mean,
        std=IMAGENET.std,
        train=train,
        test=test,
        everything=everything,
        # Not the whole path: the images are the same wherever the folder lies.
        attrs={
            "spec": f"folder:{path.name}",
            "image_size": write_size(None if own else image_size),
            "files": digest_of(*([name for names in half for name in names] for half in files)),
        },
    )


class Photos(AnnotatedImages):
    """Images as large as they are, without annotations.

    Args:
        images: What decodes them.
        paths: A name for every image.
    """

    def __init__(self, images: Images, paths: list[str]) -> None:
        self.paths = paths
        self._images = images

    def read(self, index: int, kinds: Sequence[str]) -> tuple[Tensor, Target]:
        """See ``AnnotatedImages.read``."""
        return self._images.original(index), {"image_id": torch.tensor(index)}
