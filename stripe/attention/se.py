"""Squeeze-and-Excitation.

Hu, Shen and Sun, "Squeeze-and-Excitation Networks", CVPR 2018, https://arxiv.org/abs/1709.01507, equations
2–4.
"""

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from stripe.attention.base import SqueezeAttention, hidden_width
from stripe.attention.registry import register

__all__ = ["SE"]


@register("se", place=0)
class SE(SqueezeAttention):
    """Channel attention from the global average, through a bottleneck of two linear layers.

    ``v = σ(W₂ · relu(W₁ · GAP(x) + b₁) + b₂)``, with h = max(1, round(C / r)) hidden units. Some published code has no
    biases (``se,bias=no``): the 2.51 million parameters that ECA-Net's and SPSA's tables give for ResNet-50 are those.

    Parameters: 2·C·h + h + C. In ResNet164 (r = 16) that is 202,104 in all.

    Args:
        channels: C, the number of channels of the maps.
        reduction: r, how many times narrower the hidden layer is.
        bias: Whether there are b₁ and b₂.

    Example:
        >>> import torch
        >>> SE(64).gate(torch.randn(2, 64, 8, 8)).shape
        torch.Size([2, 64, 1, 1])
    """

    options: ClassVar = {"bias": "bias"}

    def __init__(self, channels: int, reduction: int = 16, bias: bool = True) -> None:
        super().__init__()
        hidden = hidden_width(channels, reduction)
        self.fc1 = nn.Linear(channels, hidden, bias=bias)
        self.fc2 = nn.Linear(hidden, channels, bias=bias)

    def excite(self, squeezed: Tensor) -> Tensor:
        """Averages (N, C) → v (N, C)."""
        return self.activation(self.fc2(F.relu(self.fc1(squeezed))))
