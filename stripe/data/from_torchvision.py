"""``cifar10``, ``cifar100``, ``stl10`` and ``imagenet``, read by torchvision."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import datasets

from stripe.data.base import Data
from stripe.data.files import FileImages
from stripe.data.folder import PHOTO_SIZE
from stripe.data.memory import MemorySplit
from stripe.data.normalization import NORMALIZATIONS
from stripe.data.registry import register
from stripe.data.size import ImageSize, write_size
from stripe.data.splits import MEMORY_LIMIT, make_split
from stripe.errors import StripeError

__all__ = ["load_imagenet", "load_small"]


@dataclass(frozen=True)
class _Small:
    """A data set that torchvision holds in memory: how to open its halves."""

    open: Callable[..., Any]
    halves: tuple[dict[str, Any], dict[str, Any]]
    size: int
    folder: str


_TRAIN_FLAG = ({"train": True}, {"train": False})
_SMALL = {
    "cifar10": _Small(datasets.CIFAR10, _TRAIN_FLAG, 32, "cifar-10-batches-py"),
    "cifar100": _Small(datasets.CIFAR100, _TRAIN_FLAG, 32, "cifar-100-python"),
    "stl10": _Small(datasets.STL10, ({"split": "train"}, {"split": "test"}), 96, "stl10_binary"),
}

IMAGENET_CROP = 0.875
"""The centre crop of ImageNet's evaluation protocol: 224 of 256 pixels."""


@register("cifar10", place=2)
@register("cifar100", place=3)
@register("stl10", place=4)
def load_small(*, name: str, root: Path, download: bool = False, image_size: ImageSize | None = None) -> Data:
    """A published data set that is held in memory.

    Args:
        name: ``cifar10``, ``cifar100`` or ``stl10``.
        root: The folder in which torchvision keeps data sets.
        download: Fetch what is missing.
        image_size: Height and width in pixels, or one number for square ones; the data set's own by default.

    Raises:
        StripeError: The data set is not there, is damaged, or cannot be downloaded.
    """
    known, root = _SMALL[name], root.absolute()
    try:
        # Testing comes first: it is the smaller half, and the download of the one is the other's, too.
        test, train = (known.open(root, download=download, **half) for half in reversed(known.halves))
    except (RuntimeError, OSError) as error:
        raise _missing(name, root, known.folder, download, error) from error
    image_size = image_size or known.size
    splits = {
        half: MemorySplit(
            _images(dataset.data),
            dataset.targets if hasattr(dataset, "targets") else dataset.labels,
            [f"{half}/{index:05d}" for index in range(len(dataset))],
            image_size,
        )
        for half, dataset in (("train", train), ("test", test))
    }
    return Data(
        spec=name,
        classes=tuple(test.classes),
        image_size=image_size,
        mean=NORMALIZATIONS[name].mean,
        std=NORMALIZATIONS[name].std,
        train=splits["train"],
        test=splits["test"],
        attrs={"spec": name, "image_size": write_size(image_size)},
    )


def _images(data: np.ndarray) -> Tensor:
    """uint8 ``(N, 3, H, W)`` from torchvision's array, in which CIFAR has its channels last."""
    channels_first = data if data.shape[1] == 3 else data.transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(channels_first))


def _missing(name: str, root: Path, folder: str, download: bool, error: Exception) -> StripeError:
    where = root / folder
    if download:
        return StripeError(f"{name} could not be downloaded to {where}: {error}")
    found = "is damaged or incomplete" if where.exists() else "was not found"
    return StripeError(
        f"{name} {found}: looked in {where}. Download it with download=True, "
        "or say where it lies with root= or the environment variable STRIPE_DATA."
    )


@register("imagenet", place=5)
def load_imagenet(*, root: Path, image_size: ImageSize | None = None, memory_limit: int = MEMORY_LIMIT) -> Data:
    """ImageNet, which may not be handed on, and so is not downloaded.

    Args:
        root: The folder in which torchvision keeps data sets.
        image_size: Height and width in pixels, or one number for square ones; 224 by default.
        memory_limit: Bytes up to which a split is held in memory.

    Raises:
        StripeError: The data set is not there, or is damaged.
    """
    root, size = root.absolute(), image_size or PHOTO_SIZE
    try:
        train, test = (datasets.ImageNet(root, split=half) for half in ("train", "val"))
    except (RuntimeError, OSError) as error:
        raise StripeError(
            f"ImageNet was not found in {root}: {error} It cannot be downloaded by a program: put "
            "ILSVRC2012_devkit_t12.tar.gz, ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar from image-net.org "
            "there. Where train/ and val/ of class folders exist already, use folder:PATH."
        ) from error

    def split(dataset: Any, *, training: bool) -> Any:
        paths = [str(Path(path).relative_to(root)) for path, _ in dataset.samples]
        images = FileImages(root, paths, size, varied=True, crop_fraction=IMAGENET_CROP)
        return make_split(images, dataset.targets, paths, size, training=training, memory_limit=memory_limit)

    names = [synonyms[0] for synonyms in test.classes]
    twice = {name for name, count in Counter(names).items() if count > 1}  # there are two cranes, and two maillots
    return Data(
        spec="imagenet",
        classes=tuple(
            f"{name} ({wnid})" if name in twice else name for name, wnid in zip(names, test.wnids, strict=True)
        ),
        image_size=size,
        mean=NORMALIZATIONS["imagenet"].mean,
        std=NORMALIZATIONS["imagenet"].std,
        train=split(train, training=True),
        test=split(test, training=False),
        attrs={"spec": "imagenet", "image_size": write_size(size)},
    )
