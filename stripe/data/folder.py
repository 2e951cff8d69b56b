"""``folder:PATH``: the user's own images, one folder a class."""

import hashlib
import os
from pathlib import Path

import numpy as np

from stripe.data.base import Data, Split
from stripe.data.classfolders import Files, find_splits
from stripe.data.files import FileImages, common_size
from stripe.data.splits import MEMORY_LIMIT, make_split
from stripe.errors import StripeError

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "PHOTO_SIZE", "load_folder"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

PHOTO_SIZE = 224
"""Pixels of a photo, where the user does not say."""

SMALL = 128
"""Images that are all of one size with a short side up to this keep their size."""

SAMPLE = 200
"""The headers that are read to see whether all images are of one size."""


def load_folder(path: Path, *, image_size: int | None = None, memory_limit: int = MEMORY_LIMIT) -> Data:
    """Class folders of images: ``PATH/<class>/…`` or ``PATH/train/<class>/…`` and ``PATH/test|val/<class>/…``.

    A class's images may lie in folders below it. Names that start with a dot are left out. Without a split,
    one image in five of each class is for testing, and at least one: those whose names have the smallest
    SHA-256, so that the same files are held out on every machine, and few change sides when files are added.

    Images keep their size where all have the same, and it is small (a short side of up to 128 pixels; the
    headers of 200 images decide). Others are scaled to ``image_size``, 224 by default: short side, then centre crop.

    Args:
        path: The folder.
        image_size: Height and width in pixels.
        memory_limit: Bytes up to which a split is decoded into memory.

    Raises:
        StripeError: No such folder, no images, fewer than two classes, a class without images, or ``train``
            and ``test`` of different classes.
    """
    path = path.expanduser().resolve()
    if not path.is_dir():
        raise StripeError(f"There is no folder {path}. folder:PATH needs a folder that holds one folder a class.")
    classes, train, test = find_splits(path)
    every = [name for files in (*train, *test) for name in files]
    evenly = np.linspace(0, len(every) - 1, min(SAMPLE, len(every))).astype(int)
    common = common_size(path, [every[i] for i in evenly])
    stored = min(common) if common and min(common) <= SMALL else None
    image_size = image_size or stored or PHOTO_SIZE

    def split(files: Files, *, training: bool) -> Split:
        labels = np.repeat(np.arange(len(files)), [len(names) for names in files])
        names = [name for names in files for name in names]
        images = FileImages(path, names, min(stored or image_size, image_size), varied=stored is None)
        return make_split(images, labels, names, image_size, training=training, memory_limit=memory_limit)

    return Data(
        spec=f"folder:{path}",
        classes=classes,
        image_size=image_size,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        train=split(train, training=True),
        test=split(test, training=False),
        # Not the whole path: the images are the same wherever the folder lies.
        attrs={"spec": f"folder:{path.name}", "image_size": image_size, "files": _digest(train, test)},
    )


def _digest(train: Files, test: Files) -> str:
    text = "\n\n".join("\n".join(name for names in files for name in names) for files in (train, test))
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:16]
