"""Style-based Recalibration Module.

Lee, Kim and Nam, "SRM: A Style-based Recalibration Module for Convolutional Neural Networks", ICCV 2019,
https://arxiv.org/abs/1903.10829. The standard deviation is the population's (the published code takes
the sample's, which a map of one pixel does not have).
"""

import math

import torch
from torch import Tensor, nn

from stripe.attention.base import Attention
from stripe.attention.registry import register

__all__ = ["SRM"]

EPS = 1e-5  # added to the variance before its root is taken


@register("srm", place=5)
class SRM(Attention):
    """Channel attention from mean and standard deviation, each channel by itself, with batch normalisation.

    ``v = σ(BN(w₁ ⊙ μ + w₂ ⊙ s))`` with ``μ = GAP(x)`` and ``s = √(Var_{h,w}(x) + 1e-5)``; w begins at 0.

    Of a constant, s is √1e-5, and BN takes the fixed statistics mean 0 and variance 1: those of a "batch" of one
    would erase ψ.

    Parameters: 4·C, those of BN included. In ResNet164 that is 32,256 in all.

    Args:
        channels: C, the number of channels of the maps.

    Example:
        >>> import torch
        >>> SRM(64).gate(torch.randn(2, 64, 8, 8)).shape
        torch.Size([2, 64, 1, 1])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.cfc = nn.Parameter(torch.zeros(channels, 2))  # "channel-wise fully connected": w₁, w₂
        self.bn = nn.BatchNorm1d(channels)

    def gate(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) → v (N, C, 1, 1); in training mode N must be at least 2."""
        variance, mean = torch.var_mean(x, (2, 3), correction=0)
        style = self.cfc[:, 0] * mean + self.cfc[:, 1] * (variance + EPS).sqrt()
        return self.activation(self.bn(style))[:, :, None, None]

    def constant(self, psi: Tensor) -> Tensor:
        """ψ (C,) → v (C,)."""
        style = self.cfc[:, 0] * psi + self.cfc[:, 1] * math.sqrt(EPS)
        return self.activation(style / math.sqrt(1 + self.bn.eps) * self.bn.weight + self.bn.bias)
