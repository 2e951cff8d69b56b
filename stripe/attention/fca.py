"""Frequency Channel Attention: squeeze-and-excitation that sees frequencies instead of the average.

Qin et al., "FcaNet: Frequency Channel Attention Networks", ICCV 2021, https://arxiv.org/abs/2012.11879. The frequencies
are those of its published code: "top16", the 16 that were best by themselves, and "low16", the 16 lowest.
"""

import math
from functools import lru_cache
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stripe.attention.base import Attention, hidden_width
from stripe.attention.registry import register
from stripe.modes import transforming

__all__ = ["FCA", "FREQUENCIES", "filters", "groups"]

GRID = 7
"""Side of the smallest maps of an ImageNet network, on which the frequencies are counted."""

FREQUENCIES: dict[str, tuple[tuple[int, int], ...]] = {
    "top": (
        *((0, 0), (0, 1), (6, 0), (0, 5), (0, 2), (1, 0), (1, 2), (4, 0)),
        *((5, 0), (1, 6), (3, 0), (0, 4), (0, 6), (0, 3), (3, 5), (2, 2)),
    ),
    "low": (
        *((0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (2, 1), (1, 2)),
        *((2, 2), (0, 3), (3, 0), (4, 0), (0, 4), (1, 3), (3, 1), (0, 5)),
    ),
}
"""Half periods along height and width on a map of 7×7 positions, from 0 to 6."""


@register("fca", place=10)
class FCA(Attention):
    """Channel attention from one frequency of the cosine transform per channel, through two linear layers.

    ``v = σ(W₂ · relu(W₁ · s))`` without biases, with h = max(1, round(C / r)) hidden units. The channels are 16 groups
    in a row, and s is the coefficient of a group's frequency in the orthonormal two-dimensional DCT of a channel's map.

    Maps of 7×7 have the transform of this size. Larger ones have one of the largest multiple of 7, with the frequencies
    multiplied as often ("(2, 2) in 14×14 is identical to (1, 1) in 7×7"), and maps of another size are averaged to that
    by adaptive pooling. FcaNet fixes the size for each stage as it is for images of 224 pixels: 56, 28, 14 and 7. Here
    it comes from the map, which is the same for those images.

    Of a constant, only the frequency (0, 0) is not 0; it is 7·ψ, as on a map of 7×7. So v depends on ψ in the first
    group of channels alone.

    Parameters: 2·C·h.

    Args:
        channels: C, the number of channels of the maps. Where 16 is no divisor, the groups differ by one channel.
        reduction: r, how many times narrower the hidden layer is.
        frequencies: ``top`` or ``low``.

    Example:
        >>> import torch
        >>> FCA(64).gate(torch.randn(2, 64, 8, 8)).shape
        torch.Size([2, 64, 1, 1])
    """

    options: ClassVar = {"frequencies": "frequencies"}

    def __init__(self, channels: int, reduction: int = 16, frequencies: Literal["top", "low"] = "top") -> None:
        super().__init__()
        hidden = hidden_width(channels, reduction)
        self.fc1 = nn.Linear(channels, hidden, bias=False)
        self.fc2 = nn.Linear(hidden, channels, bias=False)
        self.frequencies = frequencies

    def squeeze(self, x: Tensor) -> Tensor:
        """The coefficients s of maps (N, C, H, W), (N, C)."""
        channels, height, width = (int(size) for size in x.shape[1:])
        make = _of_channels if torch.compiler.is_compiling() or transforming() else _kept
        weights = make(channels, height, width, self.frequencies, x.dtype, x.device)
        return (x * weights).sum((2, 3))

    def gate(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) → v (N, C, 1, 1)."""
        return self.activation(self.fc2(F.relu(self.fc1(self.squeeze(x)))))[:, :, None, None]


def _of_channels(
    channels: int, height: int, width: int, frequencies: str, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """The filter of each channel, (C, H, W)."""
    of_groups = filters(height, width, FREQUENCIES[frequencies])
    with torch.inference_mode(False):  # so that gradients can go through what they weigh later on
        return torch.as_tensor(of_groups[groups(channels)], dtype=dtype, device=device)


_kept = lru_cache(maxsize=16)(_of_channels)  # for a network asks for the same few in every pass


def groups(channels: int) -> npt.NDArray[np.int64]:
    """The group, from 0 to 15, of each channel, (C,)."""
    return np.arange(channels) * 16 // channels


def filters(height: int, width: int, frequencies: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """What a map is multiplied by, and then summed over positions, for the coefficient of each frequency.

    Args:
        height: H of the map.
        width: W of the map.
        frequencies: Half periods along height and width, (16, 2), as in ``FREQUENCIES``.

    Returns:
        The filters (16, H, W): products of cosines and, where the size is no multiple of 7, adaptive pooling.
    """
    of_rows, of_columns = (
        _cosines(size, counted) for size, counted in zip((height, width), np.asarray(frequencies).T, strict=True)
    )
    return of_rows[:, :, None] * of_columns[:, None, :]


def _cosines(size: int, counted: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """One axis of the filters, (16, size), of frequencies (16,)."""
    scale = max(1, size // GRID)
    grid = GRID * scale
    cosines = np.cos(math.pi * scale / grid * counted[:, None] * (np.arange(grid) + 0.5)) / math.sqrt(grid)
    cosines[counted > 0] *= math.sqrt(2)
    return cosines @ _pooling(size, grid)


def _pooling(size: int, grid: int) -> npt.NDArray[np.float64]:
    """Adaptive average pooling as a matrix, (grid, size): row g is the mean over ⌊g·size/grid⌋ … ⌈(g+1)·size/grid⌉."""
    matrix = np.zeros((grid, size))
    for row in range(grid):
        first, end = row * size // grid, -(-(row + 1) * size // grid)
        matrix[row, first:end] = 1 / (end - first)
    return matrix
