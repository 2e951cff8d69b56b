"""Mean and std of maps that come in batches, without keeping them."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["Moments", "distance_from_centre"]


class Moments:
    """Mean and population std over the first axis, batch by batch (Chan, Golub and LeVeque, 1979).

    Args:
        shape: Of one item.
        device: Where the batches are.
    """

    def __init__(self, shape: tuple[int, ...], device: torch.device) -> None:
        self.count = 0
        self.mean = torch.zeros(shape, device=device)
        self._squares = torch.zeros(shape, device=device)

    def add(self, batch: Tensor) -> None:
        """Add items (N, *shape)."""
        variance, mean = torch.var_mean(batch, 0, correction=0)
        added, before = len(batch), self.count
        self.count += added
        difference = mean - self.mean
        self.mean += difference * (added / self.count)
        self._squares += variance * added + difference**2 * (before * added / self.count)

    @property
    def std(self) -> Tensor:
        """Population standard deviation, of the shape of an item."""
        return (self._squares / self.count).sqrt()


def distance_from_centre(height: int, width: int) -> npt.NDArray[np.float64]:
    """Distance of every pixel's middle from the middle of the image, divided by its mean: (height, width)."""
    y, x = np.ogrid[:height, :width]
    distance: npt.NDArray[np.float64] = np.hypot(y - (height - 1) / 2, x - (width - 1) / 2)
    distance /= distance.mean()
    return distance
