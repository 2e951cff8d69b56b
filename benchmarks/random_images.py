"""Random images for the benchmarks, which are the same in each pass."""

from collections.abc import Iterator

import torch
from torch import Tensor


class RandomImages:
    """Batches of images (N, 3, H, W) between 0 and 1, with labels of 0.

    On the CPU each batch is made when it is needed, so that memory does not grow with the number of images. On a GPU
    all batches are there beforehand, as making and copying them would hide the time of the network.

    Args:
        num_images: Number of images.
        image_size: Height and width in pixels.
        batch_size: Number of images per batch; the last batch may have fewer.
        device: Device of the images.
    """

    def __init__(self, num_images: int, image_size: int, batch_size: int, device: torch.device | str = "cpu") -> None:
        self.num_images, self.image_size, self.batch_size = num_images, image_size, batch_size
        self.device = torch.device(device)
        self._kept = None if self.device.type == "cpu" else [(x.to(self.device), y) for x, y in self._made()]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self._made() if self._kept is None else iter(self._kept)

    def _made(self) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(0)
        for start in range(0, self.num_images, self.batch_size):
            size = min(self.batch_size, self.num_images - start)
            yield torch.rand(size, 3, self.image_size, self.image_size, generator=generator), torch.zeros(size).long()
