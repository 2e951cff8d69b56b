"""Instance enhancement.

Liang et al., "Instance Enhancement Batch Normalization: An Adaptive Regulator of Batch Noise", AAAI 2020,
https://arxiv.org/abs/1908.04008, its enhancement as an attention module of its own (IE in the Stripe
Observation paper).
"""

import torch
from torch import Tensor, nn

from stripe.attention.base import SqueezeAttention
from stripe.attention.registry import register

__all__ = ["IE"]


@register("ie", place=4)
class IE(SqueezeAttention):
    """Channel attention from the global average, each channel by itself.

    ``v = σ(w ⊙ GAP(x) + b)``; w begins at 0 and b at −1, so v begins at σ(−1) ≈ 0.27 everywhere.

    Parameters: 2·C. In ResNet164 that is 16,128 in all.

    Args:
        channels: C, the number of channels of the maps.

    Example:
        >>> import torch
        >>> IE(64).gate(torch.randn(2, 64, 8, 8)).shape
        torch.Size([2, 64, 1, 1])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels))
        self.bias = nn.Parameter(torch.full((channels,), -1.0))

    def excite(self, squeezed: Tensor) -> Tensor:
        """Averages (N, C) → v (N, C)."""
        return self.activation(self.weight * squeezed + self.bias)
