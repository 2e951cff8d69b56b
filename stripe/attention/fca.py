"""Frequency Channel Attention: squeeze-and-excitation that sees frequencies instead of the average.

Qin et al., "FcaNet: Frequency Channel Attention Networks", ICCV 2021, https://arxiv.org/abs/2012.11879. The frequencies
are those of its published code: "top16", the 16 that were best by themselves, and "low16", the 16 lowest.
"""

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stripe.attention.base import Attention, hidden_width
from stripe.attention.registry import register

__all__ = ["FCA", "FREQUENCIES", "filters"]

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
        chosen = torch.tensor(FREQUENCIES[frequencies])
        self.frequencies: Tensor
        self.register_buffer("frequencies", chosen, persistent=False)  # on the device, where filters are made of them
        self.group: Tensor
        self.register_buffer("group", torch.arange(channels) * len(chosen) // channels, persistent=False)

    def squeeze(self, x: Tensor) -> Tensor:
        """The coefficients s of maps (N, C, H, W), (N, C)."""
        height, width = x.shape[2:]
        weights = filters(height, width, self.frequencies, x.dtype)
        return (x * weights[self.group]).sum((2, 3))

    def gate(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) → v (N, C, 1, 1)."""
        return self.activation(self.fc2(F.relu(self.fc1(self.squeeze(x)))))[:, :, None, None]


def filters(height: int, width: int, frequencies: Tensor, dtype: torch.dtype) -> Tensor:
    """What a map is multiplied by, and then summed over positions, for the coefficient of each frequency.

    Args:
        height: H of the map.
        width: W of the map.
        frequencies: Half periods along height and width, (16, 2), as in ``FREQUENCIES``.
        dtype: Data type of the filters.

    Returns:
        The filters (16, H, W), on the device of the frequencies: products of cosines and, where the size is no multiple
        of 7, adaptive pooling.
    """
    counted = frequencies.to(torch.promote_types(dtype, torch.float32))
    of_rows, of_columns = _cosines(height, counted[:, 0]), _cosines(width, counted[:, 1])
    return (of_rows.T[:, :, None] * of_columns.T[:, None, :]).to(dtype)


def _cosines(size: int, counted: Tensor) -> Tensor:
    """One axis of the filters, (size, 16), of frequencies (16,)."""
    scale = max(1, size // GRID)
    grid = GRID * scale
    positions = torch.arange(grid, dtype=counted.dtype, device=counted.device) + 0.5
    cosines = torch.cos(math.pi * scale / grid * positions[:, None] * counted) / math.sqrt(grid)
    cosines = torch.where(counted == 0, cosines, cosines * math.sqrt(2))
    if size == grid:
        return cosines
    one_by_one = torch.eye(size, dtype=counted.dtype, device=counted.device)
    return F.adaptive_avg_pool1d(one_by_one[None], grid)[0] @ cosines
