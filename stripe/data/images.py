"""Where a split's images come from, and how many of them are read at once."""

import os
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torchvision.transforms.v2.functional as F
from torch import Tensor

from stripe.data.base import IntArray
from stripe.data.size import ImageSize, inscribed, sides
from stripe.progress import track

__all__ = ["Images", "cpu_count", "read_all", "resize"]


class Images(ABC):
    """Images by index, decoded or computed when they are asked for.

    Attributes:
        size: Height and width in pixels of what ``read`` returns.
        varied: The originals differ in size (photos): to train on them, crops are cut from the originals.
    """

    size: ImageSize
    varied: bool = False

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, indices: IntArray) -> Tensor:
        """These images, uint8 ``(n, 3, height, width)``, independent of which others are read with them."""

    def original(self, index: int) -> Tensor:
        """One image as large as it is, uint8 ``(3, height, width)``."""
        return self.read(np.array([index]))[0]

    def num_bytes(self) -> int:
        """Memory that all images take once they are decoded."""
        height, width = sides(self.size)
        return len(self) * 3 * height * width


def cpu_count() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def read_all(images: Images, indices: IntArray, description: str) -> Tensor:
    """Read many images on all cores, with a progress bar.

    Returns:
        uint8 ``(len(indices), 3, height, width)``.
    """
    height, width = sides(images.size)
    with torch.inference_mode(False):  # threads write into it, which an inference tensor forbids
        out = torch.empty((len(indices), 3, height, width), dtype=torch.uint8)
    # Small enough that intermediate values stay in the cache, large enough that a call's cost does not show.
    step = max(1, min(128, 2**17 // (height * width)))
    starts = range(0, len(indices), step)

    def read(start: int) -> None:
        rows = slice(start, start + step)
        # Copied by numpy: each of these threads would start torch's own threads for it.
        out.numpy()[rows] = images.read(indices[rows]).numpy()

    pool = ThreadPoolExecutor(cpu_count())
    try:
        for _ in track(pool.map(read, starts), description, total=len(starts)):
            pass
    finally:  # a corrupt image or Ctrl-C ends it now, not after all the others have been read
        pool.shutdown(cancel_futures=True)
    return out


def resize(images: Tensor, size: ImageSize) -> Tensor:
    """Images at another size (bilinear, antialiased); of other proportions the centre is cut out before.

    Args:
        images: uint8 ``(N, 3, H, W)``, on any device.
        size: Height and width of what comes out.
    """
    there = (images.shape[-2], images.shape[-1])
    if there == sides(size):
        return images
    height, width = sides(inscribed(size, there))
    top, left = (there[0] - height) // 2, (there[1] - width) // 2
    resized: Tensor = F.resize(images[..., top : top + height, left : left + width], list(sides(size)), antialias=True)
    return resized
