"""Spatial Pyramid Attention.

Guo et al., "SPANet: Spatial Pyramid Attention Network for Enhanced Image Recognition", ICME 2020.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stripe.attention.base import Attention, hidden_width
from stripe.attention.registry import register

__all__ = ["SPA"]

LEVELS = (1, 2, 4)  # cells a side of the pyramid's pools


@register("spa", place=6)
class SPA(Attention):
    """Channel attention from averages over 1×1, 2×2 and 4×4 cells, through a bottleneck of two linear layers.

    ``v = σ(W₂ · relu(W₁ · [P₁(x); P₂(x); P₄(x)]))`` without biases, P_k the adaptive average pool to k×k cells,
    flattened: 21·C numbers, and h = max(1, round(C / r)) hidden units. Every cell of a constant is that constant, so
    the pools replicate ψ.

    Parameters: 22·C·h. In ResNet164 (r = 16) that is 2,128,896 in all.

    Args:
        channels: C, the number of channels of the maps.
        reduction: r, how many times narrower than C the hidden layer is.

    Example:
        >>> import torch
        >>> SPA(64).gate(torch.randn(2, 64, 8, 8)).shape
        torch.Size([2, 64, 1, 1])
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = hidden_width(channels, reduction)
        cells = sum(level**2 for level in LEVELS)
        self.fc1 = nn.Linear(cells * channels, hidden, bias=False)
        self.fc2 = nn.Linear(hidden, channels, bias=False)

    def gate(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) → v (N, C, 1, 1)."""
        pyramid = torch.cat([F.adaptive_avg_pool2d(x, level).flatten(1) for level in LEVELS], dim=1)
        return self.activation(self.fc2(F.relu(self.fc1(pyramid))))[:, :, None, None]
