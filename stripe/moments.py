"""Mean and variance of values that come in batches, without keeping them."""

import torch
from torch import Tensor

__all__ = ["Moments"]


class Moments:
    """Mean and population variance over the first axis, batch by batch (Chan, Golub and LeVeque, 1979).

    No difference of large squares is taken, so that little is lost to cancellation far from zero.

    Args:
        shape: The shape of one item.
        device: The device of the batches.
        dtype: The type of the sums.

    Attributes:
        count: The number of items so far.
        mean: Their mean, of the shape of an item.

    Example:
        >>> moments = Moments((2,), torch.device("cpu"))
        >>> moments.add(torch.tensor([[1.0, 0.0], [2.0, 0.0]]))
        >>> moments.add(torch.tensor([[3.0, 3.0]]))
        >>> moments.mean, moments.variance
        (tensor([2., 1.]), tensor([0.6667, 2.0000]))
    """

    def __init__(self, shape: tuple[int, ...], device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self.count = 0
        self.mean = torch.zeros(shape, device=device, dtype=dtype)
        self._squares = torch.zeros_like(self.mean)

    def add(self, batch: Tensor) -> None:
        """Take in further items, (N, \\*shape)."""
        variance, mean = torch.var_mean(batch, 0, correction=0)
        added, before = len(batch), self.count
        self.count += added
        difference = mean - self.mean
        self.mean += difference * (added / self.count)
        self._squares += variance * added + difference**2 * (before * added / self.count)

    @property
    def variance(self) -> Tensor:
        """Population variance, of the shape of an item."""
        return self._squares / self.count

    @property
    def std(self) -> Tensor:
        """Population standard deviation, of the shape of an item."""
        return self.variance.sqrt()
